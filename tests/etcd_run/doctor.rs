//! `vaultlock doctor` on an etcd cluster that is whole, and on one that lost a member.

use crate::stage::Stage;
use crate::support::etcd::Etcd;

#[test]
fn a_member_that_is_down_is_named() {
    let mut server = Etcd::three();
    let stage = Stage::on(server.url());
    let done = stage.say(&["doctor"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    for part in ["3 of the 3 members", "keeps the whole promise", "may read and write below vaultlock/"] {
        assert!(done.out.contains(part), "{part:?} is missing in {}", done.out);
    }
    let left = server.tell(&["get", "--prefix", "--keys-only", "vaultlock/"]);
    assert_eq!(left.trim(), "vaultlock/.store", "it leaves what a first use leaves");
    let down = (server.leader() + 1) % 3;
    server.kill_member(down);
    let done = stage.say(&["doctor"]);
    assert_eq!(done.code, 1, "{}", done.out);
    let named = format!("127.0.0.1:{} does not", server.ports()[down]);
    assert!(done.out.contains("2 of the 3 members") && done.out.contains(&named), "{named} is missing in {}", done.out);
}
