//! One lock, a few runs: what scripts rely on.

use std::time::{Duration, Instant};

use crate::stage::{Stage, stays, wait_for};
use crate::support::redis::Server;

#[test]
fn a_run_is_silent_and_ends_as_its_job_does() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let hello = stage.run(&[], &["echo", "hello"]);
    hello.was_silent(0);
    assert_eq!(hello.out, "hello\n");
    stage.run(&["--ttl", "1s"], &["sh", "-c", "exit 7"]).was_silent(7);
    stage.run(&[], &["sh", "-c", "kill -9 $$"]).was_silent(137);
    stage.run(&[], &["/nowhere/to/be/found"]).said_one_line(127, &["command not found"]);
    stage.write("data", "no program\n");
    stage.run(&[], &[stage.file("data").to_str().unwrap()]).said_one_line(126, &["cannot be executed"]);
    assert_eq!(stage.run(&["-n"], &["echo", "still free"]).out, "still free\n");
}

#[test]
fn the_job_is_told_its_lock_its_fence_and_its_session() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let script = "$V status x --json; echo $VAULTLOCK_FENCE $VAULTLOCK_SESSION $VAULTLOCK_NAME";
    let done = stage.run(&["--label", "nightly"], &["sh", "-c", script]);
    done.was_silent(0);
    let (json, told) = done.out.trim_end().rsplit_once('\n').unwrap();
    let status: serde_json::Value = serde_json::from_str(json).unwrap();
    let holder = &status["holders"][0];
    let session = holder["session"].as_str().unwrap();
    assert_eq!(told, format!("{} {session} x", holder["fence"]));
    assert_eq!(holder["label"], "nightly");
}

#[test]
fn a_busy_lock_is_told_by_its_code_at_once_or_when_patience_ends() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--label", "the holder"], &[]);
    let started = Instant::now();
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy", "held by the holder"]);
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    stage.run(&["-n", "-E", "9"], &["true"]).said_one_line(9, &["x is busy"]);
    let started = Instant::now();
    stage.run(&["-w", "0.7"], &["true"]).said_one_line(75, &["x is busy"]);
    let waited = started.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_millis(1500)).contains(&waited), "{waited:?}");
    assert_eq!(stage.status("x")["waiting"], 0, "who gives up leaves the queue");
    let waiter = stage.wait_behind(&["-w", "10"], &[]);
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn status_shows_who_holds_and_who_waits() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    assert_eq!(stage.say(&["status", "x"]).out, "x: free\n");
    let holder = stage.hold(&["--label", "build 7"], &[]);
    let waiter = stage.wait_behind(&["--label", "build 8"], &[]);
    let status = stage.status("x");
    let held = &status["holders"][0];
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!((held["label"].as_str(), held["host"].as_str()), (Some("build 7"), Some(host.as_str())));
    assert_eq!(held["pid"].as_i64(), Some(i64::from(holder.sentry())));
    assert_eq!(held["fence"].as_u64(), Some(stage.log().jobs[0].fence));
    assert!(held["since"].as_str().unwrap().ends_with('Z'));
    let left = held["expires_in"].as_f64().unwrap();
    assert!((1.0..=3.0).contains(&left), "{left}");
    let queued = &status["queue"][0];
    assert_eq!((queued["label"].as_str(), queued["position"].as_i64()), (Some("build 8"), Some(1)));
    assert_eq!(queued["pid"].as_i64(), Some(i64::from(waiter.sentry())));
    assert_eq!((status["waiting"].as_i64(), status["name"].as_str()), (Some(1), Some("x")));
    let text = stage.say(&["status"]).out;
    for part in ["x: held, 1 waiting\n", "held    build 7", &host, "1.   build 8", "waits for", "lease ends in"] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    let all: serde_json::Value = serde_json::from_str(&stage.say(&["status", "--json"]).out).unwrap();
    assert_eq!(all[0]["name"], "x");
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    assert_eq!(stage.say(&["status"]).out, "x: free\n");
}

#[test]
fn a_lock_that_is_given_back_is_taken_within_200_ms() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let runs: Vec<_> =
        (0..8).map(|n| if n == 0 { stage.hold(&[], &["for", "50"]) } else { stage.wait_behind(&[], &["for", "5"]) }).collect();
    for run in runs {
        run.end().was_silent(0);
    }
    let log = stage.log();
    log.check(8);
    let mut gaps: Vec<f64> = log.jobs.windows(2).map(|two| two[1].start - two[0].last).collect();
    gaps.sort_by(f64::total_cmp);
    println!("    from an end to the next start: {gaps:.2?} s");
    assert!(gaps[5] < 0.2, "{gaps:?}");
}

#[test]
fn a_waiter_that_is_interrupted_leaves_the_queue() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    for (signal, code) in [(nix::sys::signal::SIGINT, 130), (nix::sys::signal::SIGTERM, 143)] {
        let waiter = stage.wait_behind(&[], &[]);
        let started = Instant::now();
        crate::stage::send(waiter.sentry(), signal);
        waiter.end().was_silent(code);
        assert!(started.elapsed() < Duration::from_millis(900));
        assert_eq!(stage.status("x")["waiting"], 0);
    }
    stage.let_go();
    holder.end().was_silent(0);
}

#[test]
fn a_lease_is_renewed_for_as_long_as_the_job_takes() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "1s"], &[]);
    let mut waiter = stage.wait_behind(&[], &[]);
    stays("the waiter waits", Duration::from_secs(3), || !waiter.is_over() && stage.log().jobs.len() == 1);
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn waiting_is_silent_without_a_terminal_and_names_the_holder_with_v() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--label", "https://ci/7"], &[]);
    let (silent, telling) = (stage.wait_behind(&[], &[]), stage.wait_behind(&["-v"], &[]));
    wait_for("a word", || telling.err().contains("held by https://ci/7"));
    assert_eq!(silent.err(), "");
    let quiet = stage.run(&["-q", "-n"], &["true"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (75, ""));
    stage.let_go();
    for run in [holder, silent] {
        run.end().was_silent(0);
    }
    assert_eq!(telling.end().code, 0);
}
