//! A script that holds a lock on a server: its keeper beats for it, and it is dead before the next one can have the lock.

use std::time::Duration;

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};

use crate::log::{lapse, now};
use crate::stage::{Running, Stage, send, send_all, stays, wait_for};
use crate::support::redis::Server;
use crate::support::running::{is_alive, keeper_of};

const TTL: Duration = Duration::from_secs(2);

/// A script that acquires x and becomes a logging job, once that has begun.
fn script(stage: &Stage, words: &str, job: &str) -> Running {
    let script = format!(
        "h=$($V acquire x {words} --while-pid $$) || exit; echo $h > $F/handle; \
         export VAULTLOCK_FENCE=$($V status x --json | sed -n 's/.*\"fence\": \\([0-9]*\\).*/\\1/p'); exec sh $F/job {job}"
    );
    let running = stage.start(stage.wrap("sh", &["-c", &script]));
    wait_for("the script's work", || !stage.log().jobs.is_empty());
    running
}

fn handle(stage: &Stage) -> String {
    stage.text("handle").trim_end().to_owned()
}

#[test]
fn a_keeper_beats_for_its_script_and_gives_the_lock_back_with_it() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let script = script(&stage, "--ttl 1s", "");
    let waiter = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    stays("the script alone", Duration::from_secs_f64(lapse(Duration::from_secs(1)) + 0.5), || stage.log().jobs.len() == 1);
    stage.say(&["check", &handle(&stage)]).was_silent(0);
    send(script.sentry(), SIGKILL);
    let killed = now();
    let took = stage.wait_for_jobs(2) - killed;
    assert!(took < 1.0, "it was given back, and had not to lapse: {took}");
    waiter.end().was_silent(0);
    assert_eq!(stage.say(&["release", &handle(&stage)]).code, 121);
    stage.log().check(2);
}

#[test]
fn release_returns_when_the_server_has_it_back() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let _script = script(&stage, "y", "");
    stage.say(&["release", &handle(&stage)]).was_silent(0);
    for name in ["x", "y"] {
        assert_eq!(stage.status(name)["holders"], serde_json::json!([]), "{name}");
    }
}

#[test]
fn a_script_whose_keeper_is_killed_or_frozen_is_dead_inside_its_lease() {
    for (signal, struck) in [(SIGKILL, &[1][..]), (SIGKILL, &[0, 1]), (SIGSTOP, &[1]), (SIGSTOP, &[0, 1])] {
        let server = Server::start();
        let stage = Stage::new(&server.url());
        let script = script(&stage, "--ttl 2s", "stubborn");
        let keeper = keeper_of(script.sentry()).unwrap();
        let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
        let cut = now();
        send_all(&struck.iter().map(|at| keeper[*at]).collect::<Vec<_>>(), signal);
        stage.wait_for_jobs(2);
        stage.log().dead_in_time(0, cut, TTL);
        waiter.end().was_silent(0);
        assert_eq!(script.end().code, -9);
        send_all(&keeper[..1], SIGKILL);
        stage.log().check(2);
    }
}

#[test]
fn a_server_that_freezes_ends_the_script_by_term_and_by_kill_before_the_next_one_starts() {
    for (job, code) in [("", -15), ("stubborn", -9)] {
        let server = Server::start();
        let stage = Stage::new(&server.url());
        let script = script(&stage, "--ttl 2s", job);
        let keeper = keeper_of(script.sentry()).unwrap();
        let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
        let cut = now();
        server.freeze();
        assert_eq!(script.end().code, code);
        stage.log().dead_in_time(0, cut, TTL);
        assert_eq!(stage.say(&["check", &handle(&stage)]).code, 121);
        server.thaw();
        stage.wait_for_jobs(2);
        waiter.end().was_silent(0);
        stage.log().check(2);
        wait_for("the keeper's end", || !keeper.iter().any(|pid| is_alive(*pid)));
    }
}
