//! What the proof's peers run on: an etcd that can be killed, frozen and restarted.

pub mod support;

use support::etcd::Etcd;

fn get(server: &Etcd) -> Option<String> {
    let said = server.ctl(&["--command-timeout=1s", "get", "--print-value-only", "x"]).output().unwrap();
    said.status.success().then(|| String::from_utf8(said.stdout).unwrap().trim_end().to_owned())
}

#[test]
fn an_etcd_keeps_its_data_through_a_kill_and_answers_nobody_while_it_is_frozen() {
    let mut server = Etcd::start();
    assert_eq!(get(&server).as_deref(), Some(""));
    assert!(server.ctl(&["put", "x", "kept"]).output().unwrap().status.success());
    server.freeze();
    assert_eq!(get(&server), None);
    server.thaw();
    assert_eq!(get(&server).as_deref(), Some("kept"));
    server.kill();
    assert_eq!(get(&server), None);
    server.start_again();
    assert_eq!(get(&server).as_deref(), Some("kept"));
    let other = Etcd::start();
    assert_eq!(get(&other).as_deref(), Some(""), "each has its own data");
}
