//! A server that refuses INFO, as some managed ones do: only by the caller's word, and what can still be seen.

use crate::stage::Stage;
use crate::support::redis::Server;

#[test]
fn a_server_without_info_is_used_by_the_callers_word_alone() {
    let server = Server::start();
    let acl = vaultlock::store::redis::ACL.replace("+info ", "");
    let words: Vec<&str> = ["ACL", "SETUSER", "blind", "on", ">pw", "resetkeys", "resetchannels", "-@all"]
        .into_iter()
        .chain(acl.split_whitespace())
        .collect();
    assert_eq!(server.ask(&words), "OK");
    let url = server.url().replace("://", "://blind:pw@");
    let refused = Stage::on(format!("{url}?max_ttl=2s&fresh=true"));
    refused.run(&["-n"], &["true"]).said_one_line(125, &["noinfo=true", "vaultlock(7)"]);
    let stage = Stage::on(format!("{url}?max_ttl=2s&noinfo=true"));
    let first = stage.run(&["-v"], &["true"]);
    assert!(first.code == 0 && first.err.contains("may have forgotten a holder"), "its first use waits: {first:?}");
    stage.run(&["-n"], &["true"]).was_silent(0);
    let doctor = stage.say(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("it refuses INFO"), "{doctor:?}");
    let holder = stage.hold(&[], &[]);
    server.tell(&["FLUSHALL"]);
    let lost = holder.end();
    assert!(lost.code == 121 && lost.err.contains("knows it no more"), "{lost:?}");
    stage.log().check(1);
}
