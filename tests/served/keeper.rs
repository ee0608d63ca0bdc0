//! A script that holds a lock on a server: its keeper beats for it, and gives the lock back with it.

use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;

use crate::log::{lapse, now};
use crate::scene::scene;
use crate::stage::{Running, Stage, send, stays, wait_for};

/// A script that acquires x and becomes a logging job, once that has begun.
pub fn script(stage: &Stage, words: &str, job: &str) -> Running {
    let script = format!(
        "h=$($V acquire x {words} --while-pid $$) || exit; echo $h > $F/handle; \
         export VAULTLOCK_FENCE=$($V status x --json | sed -n 's/.*\"fence\": \\([0-9]*\\).*/\\1/p'); exec sh $F/job {job}"
    );
    let running = stage.start(stage.wrap("sh", &["-c", &script]));
    wait_for("the script's work", || !stage.log().jobs.is_empty());
    running
}

pub fn handle(stage: &Stage) -> String {
    stage.text("handle").trim_end().to_owned()
}

#[test]
fn a_keeper_beats_for_its_script_and_gives_the_lock_back_with_it() {
    let (_server, stage) = scene();
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
    let (_server, stage) = scene();
    let _script = script(&stage, "y", "");
    stage.say(&["release", &handle(&stage)]).was_silent(0);
    for name in ["x", "y"] {
        assert_eq!(stage.status(name)["holders"], serde_json::json!([]), "{name}");
    }
}
