//! What users of sentinels type and get.

use crate::stage::{Stage, wait_for};
use crate::support::redis::Server;
use crate::support::sentinel::Sentinels;

#[test]
fn sentinels_are_asked_and_what_is_wrong_with_them_is_told() {
    let mut set = Sentinels::with(&["--requirepass", "s3cr3t", "--masterauth", "s3cr3t"], &["sentinel auth-pass main s3cr3t"]);
    let url = set.url().replace("://", "://:s3cr3t@");
    let stage = Stage::on(format!("{url}?max_ttl=3s&fresh=true"));
    let done = stage.run(&[], &["sh", "-c", "echo $VAULTLOCK_STORE"]);
    done.was_silent(0);
    assert_eq!(done.out.trim(), format!("{}?fresh=true&max_ttl=3000ms", set.url()));
    let doctor = stage.say(&["doctor"]);
    assert!(doctor.out.contains("all of them answer, and a beat counts only while 2 of these 3 name"), "{doctor:?}");
    assert!(doctor.out.contains("min-replicas-to-write 1"), "{doctor:?}");
    let on = |url: String| {
        let other = Stage::on(url);
        other.run(&["-n"], &["true"])
    };
    on(format!("{url}x?max_ttl=3s")).said_one_line(125, &["know no primary \"mainx\"", "sentinel monitor"]);
    on(format!("{}?max_ttl=3s", set.url())).said_one_line(125, &["wants a password", "REDISCLI_AUTH"]);
    let server = Server::start();
    on(format!("redis+sentinel://127.0.0.1:{}/main?max_ttl=3s", server.port)).said_one_line(125, &["is no sentinel", "26379"]);
    // One may be missing, two may not.
    set.kill_sentinel(0);
    stage.run(&[], &["true"]).was_silent(0);
    set.kill_sentinel(1);
    stage.run(&["-n"], &["true"]).said_one_line(125, &["fewer than 2 of the 3 sentinels tell where the primary is"]);
    set.start_sentinel_again(1);
    wait_for("enough sentinels", || stage.run(&["-n"], &["true"]).code == 0);
}

#[test]
fn sentinels_with_a_password_of_their_own_get_it_from_a_file() {
    let set = Sentinels::with(&[], &["requirepass eyes", "sentinel sentinel-pass eyes"]);
    let stage = Stage::on(format!("{}?max_ttl=3s&fresh=true", set.url()));
    stage.run(&["-n"], &["true"]).said_one_line(125, &["wants a password", "sentinel_password_file="]);
    stage.write("password", "eyes\n");
    let with = format!("{}&sentinel_password_file={}", stage.url(), stage.file("password").display());
    Stage::on(with.clone()).run(&["-n"], &["true"]).was_silent(0);
    stage.write("password", "wrong\n");
    let done = Stage::on(with).run(&["-n"], &["true"]);
    assert!(done.code == 125 && !done.err.contains("wrong\n"), "{done:?}");
}
