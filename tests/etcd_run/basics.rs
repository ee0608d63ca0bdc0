//! One lock, a few runs: what scripts rely on.

use std::time::{Duration, Instant};

use crate::log::lapse;
use crate::scene::scene_of;
use crate::stage::{Stage, stays, wait_for};
use crate::support::etcd::Etcd;
use crate::support::proxy::Proxy;
use crate::support::verdict::CANARY;

pub const MOST: Duration = Duration::from_secs(3);

/// With leases that outlast an election.
pub fn scene() -> (Etcd, Stage) {
    scene_of(MOST)
}

#[test]
fn a_run_is_silent_and_ends_as_its_job_does() {
    let (_server, stage) = scene();
    let hello = stage.run(&[], &["echo", "hello"]);
    hello.was_silent(0);
    assert_eq!(hello.out, "hello\n");
    stage.run(&["--ttl", "1s"], &["sh", "-c", "exit 7"]).was_silent(7);
    stage.run(&[], &["sh", "-c", "kill -9 $$"]).was_silent(137);
    stage.run(&[], &["/nowhere/to/be/found"]).said_one_line(127, &["command not found"]);
    assert_eq!(stage.run(&["-n"], &["echo", "still free"]).out, "still free\n");
    let done = stage.run(&[], &["sh", "-c", "$V run -n y -- echo inside; $V run -n x -- echo never"]);
    assert_eq!((done.code, done.out.as_str()), (64, "inside\n"));
}

#[test]
fn a_first_use_waits_once_until_nobody_can_hold_from_before() {
    let server = Etcd::start();
    let stage = Stage::on(format!("{}?max_ttl=1s", server.url()));
    let started = Instant::now();
    let done = stage.run(&["-v", "--ttl", "1s"], &["true"]);
    assert!(done.code == 0 && done.err.contains("may have forgotten a holder"), "{}", done.err);
    assert!(!done.err.contains("fresh="), "{}", done.err);
    let waited = started.elapsed().as_secs_f64();
    let most = lapse(Duration::from_secs(1));
    println!("    first use of a new cluster: {waited:.2} s (max_ttl 1 s)");
    assert!((most..most + 4.0).contains(&waited), "{waited}");
    stage.run(&["-n", "--ttl", "1s"], &["true"]).was_silent(0);
}

#[test]
fn a_busy_lock_is_told_by_its_code_at_once_or_when_patience_ends() {
    let (_server, stage) = scene();
    let holder = stage.hold(&["--label", "the holder"], &[]);
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy", "held by the holder"]);
    let started = Instant::now();
    stage.run(&["-w", "0.7"], &["true"]).said_one_line(75, &["x is busy"]);
    let waited = started.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_millis(2500)).contains(&waited), "{waited:?}");
    assert_eq!(stage.status("x")["waiting"], 0, "who gives up leaves the queue");
    let waiter = stage.wait_behind(&["--label", "next"], &[]);
    let status = stage.status("x");
    assert_eq!((&status["holders"][0]["label"], &status["queue"][0]["label"]), (&"the holder".into(), &"next".into()));
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_lease_is_renewed_for_as_long_as_the_job_takes() {
    let (_server, stage) = scene();
    // A disk may hold etcd up for longer than a job with a ttl of a second can live without a beat.
    let holder = stage.hold(&["--ttl", "3s"], &[]);
    let mut waiter = stage.wait_behind(&["--ttl", "3s"], &[]);
    stays("the waiter waits", Duration::from_secs(9), || !waiter.is_over() && stage.log().jobs.len() == 1);
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_free_lock_costs_one_connection_and_three_requests() {
    let server = Etcd::start();
    let url = server.settled(MOST);
    let proxy = Proxy::before(server.port);
    let stage = Stage::on(url.replace(&server.port.to_string(), &proxy.port.to_string()));
    stage.run(&[], &["true"]).was_silent(0);
    let (lines, requests) = (proxy.opened(), proxy.requests());
    stage.run(&[], &["true"]).was_silent(0);
    assert_eq!((proxy.opened() - lines, proxy.requests() - requests), (1, 3), "a look, the entry, the release");
}

#[test]
fn priorities_readers_and_slots_are_what_they_are_elsewhere() {
    let (_server, stage) = scene();
    let holder = stage.hold(&[], &[]);
    let script = "echo $0 >> $F/order";
    let queued = |options: &[&str], name: &str| {
        let before = stage.status("x")["waiting"].as_u64().unwrap();
        let words = [&["run"], options, &["x", "--", "sh", "-c", script, name]].concat();
        let run = stage.start(stage.command(&words));
        wait_for("its place", || stage.status("x")["waiting"] == before + 1);
        run
    };
    let runs = [queued(&[], "plain"), queued(&["--priority", "-1"], "low"), queued(&["--priority", "5"], "high")];
    stage.let_go();
    holder.end().was_silent(0);
    for run in runs {
        run.end().was_silent(0);
    }
    assert_eq!(stage.text("order"), "high\nplain\nlow\n");
    for options in [&["-s"][..], &["-j", "3"]] {
        let script = "echo >> $F/together; while [ $(wc -l < $F/together) -lt 3 ]; do sleep 0.01; done";
        let words = [&["run"], options, &["y", "-c", script]].concat();
        let runs: Vec<_> = (0..3).map(|_| stage.start(stage.command(&words))).collect();
        for run in runs {
            run.end().was_silent(0);
        }
        stage.write("together", "");
    }
}

#[test]
fn a_password_shows_nowhere() {
    let server = Etcd::start();
    let url = server.settled(MOST);
    server.tell(&["user", "add", &format!("root:{CANARY}")]);
    server.tell(&["auth", "enable"]);
    let stage = Stage::on(url.replace("etcd://", &format!("etcd://root:{CANARY}@")));
    let holder = stage.hold(&["-v"], &[]);
    let waiter = stage.wait_behind(&["-v"], &[]);
    let mut texts: Vec<String> = vec![stage.say(&["status", "--json"]).out];
    for pid in stage.alive() {
        texts.push(String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned());
    }
    let job = std::fs::read(format!("/proc/{}/environ", holder.job())).unwrap();
    let job = String::from_utf8_lossy(&job).into_owned();
    assert!(job.contains(&format!("VAULTLOCK_STORE=etcd://127.0.0.1:{}?", server.port)), "{job}");
    texts.push(job);
    stage.let_go();
    for run in [holder, waiter] {
        let done = run.end();
        assert_eq!(done.code, 0, "{}", done.err);
        texts.extend([done.err, done.out]);
    }
    let wrong = Stage::on(stage.url().replace("root:", "wrong:")).run(&["--ttl", "1s", "-v"], &["echo", "ran"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (125, ""));
    texts.push(wrong.err);
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[test]
fn a_holder_and_a_waiter_are_broken_and_say_why() {
    let (_server, stage) = scene();
    crate::stage::is_broken_with_its_reason(&stage);
}
