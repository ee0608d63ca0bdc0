//! One lock, a few runs and many: what scripts rely on.

use std::time::{Duration, Instant};

use crate::log::lapse;
use crate::scene::scene;
use crate::stage::{Stage, stays};
use crate::support::proxy::Proxy;
use crate::support::verdict::CANARY;
use crate::support::zookeeper::{ZooKeeper, settle};

#[test]
fn a_run_is_silent_and_ends_as_its_job_does() {
    let (_server, stage) = scene();
    let hello = stage.run(&[], &["echo", "hello"]);
    hello.was_silent(0);
    assert_eq!(hello.out, "hello\n");
    stage.run(&["--ttl", "1s"], &["sh", "-c", "exit 7"]).was_silent(7);
    assert_eq!(stage.run(&["-n"], &["echo", "still free"]).out, "still free\n");
    let done = stage.run(&[], &["sh", "-c", "$V run -n y -- echo inside; $V run -n x -- echo never"]);
    assert_eq!((done.code, done.out.as_str()), (64, "inside\n"));
}

#[test]
fn a_first_use_waits_once_until_nobody_can_hold_from_before() {
    let server = ZooKeeper::shared();
    let stage = Stage::on(format!("{}?max_ttl=1s", server.url()));
    let started = Instant::now();
    let done = stage.run(&["-v", "--ttl", "1s"], &["true"]);
    assert!(done.code == 0 && done.err.contains("may have forgotten a holder"), "{}", done.err);
    assert!(!done.err.contains("fresh="), "{}", done.err);
    let (waited, most) = (started.elapsed().as_secs_f64(), lapse(Duration::from_secs(1)));
    assert!((most..most + 4.0).contains(&waited), "{waited}");
    stage.run(&["-n", "--ttl", "1s"], &["true"]).was_silent(0);
}

#[test]
fn a_lease_is_renewed_and_a_busy_lock_is_told_by_its_code() {
    let (_server, stage) = scene();
    let holder = stage.hold(&["--ttl", "2s", "--label", "the holder"], &[]);
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy", "held by the holder"]);
    stage.run(&["-w", "0.7"], &["true"]).said_one_line(75, &["x is busy"]);
    assert_eq!(stage.status("x")["waiting"], 0, "who gives up leaves the queue");
    let mut waiter = stage.wait_behind(&["--ttl", "2s"], &[]);
    stays("the waiter waits", Duration::from_secs(5), || !waiter.is_over() && stage.log().jobs.len() == 1);
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_free_lock_costs_one_connection() {
    let server = ZooKeeper::shared();
    let url = server.settled(Duration::from_secs(3));
    let proxy = Proxy::before(server.ports()[0]);
    let stage = Stage::on(url.replace(&server.ports()[0].to_string(), &proxy.port.to_string()));
    stage.run(&[], &["true"]).was_silent(0);
    let lines = proxy.opened();
    stage.run(&[], &["true"]).was_silent(0);
    assert_eq!(proxy.opened() - lines, 1);
}

#[test]
fn what_a_user_makes_is_that_users_and_the_password_shows_nowhere() {
    let server = ZooKeeper::shared();
    let most = Duration::from_secs(3);
    let open = server.url();
    let url = open.replace("zk://", &format!("zk://me:{CANARY}@"));
    settle(&url, most);
    let stage = Stage::on(format!("{url}?max_ttl=3s"));
    let holder = stage.hold(&["-v"], &[]);
    let waiter = stage.wait_behind(&["-v"], &[]);
    let mut texts: Vec<String> = vec![stage.say(&["status", "--json"]).out];
    for pid in stage.alive() {
        texts.push(String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned());
    }
    stage.let_go();
    for run in [holder, waiter] {
        let done = run.end();
        assert_eq!(done.code, 0, "{}", done.err);
        texts.extend([done.err, done.out]);
    }
    for (url, part) in [
        (stage.url().replace("me:", "other:"), "does not let this user and password"),
        (format!("{open}?max_ttl=3s"), "put user and password into the store URL"),
    ] {
        let done = Stage::on(url).run(&["--ttl", "1s"], &["echo", "ran"]);
        assert!(done.code == 125 && done.out.is_empty() && done.err.contains(part), "{}", done.err);
        texts.push(done.err);
    }
    texts.iter().for_each(|text| assert!(!text.contains(CANARY), "{text}"));
}

#[test]
fn a_holder_and_a_waiter_are_broken_and_say_why() {
    let (_server, stage) = scene();
    crate::stage::is_broken_with_its_reason(&stage);
}
