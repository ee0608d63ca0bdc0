//! One lock, few runs and many.

use std::time::{Duration, Instant};

use crate::stage::{Running, Stage, stays, wait_for};
use crate::support::postgres::{Bouncer, Postgres as Server};

#[test]
fn a_run_is_silent_and_ends_as_its_job_does_and_a_busy_lock_is_told() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    assert_eq!(stage.run(&[], &["echo", "hello"]).out, "hello\n");
    stage.run(&["--ttl", "1s"], &["sh", "-c", "exit 7"]).was_silent(7);
    stage.run(&[], &["/nowhere/to/be/found"]).said_one_line(127, &["command not found"]);
    let holder = stage.hold(&["--label", "build 7"], &[]);
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy", "held by build 7"]);
    stage.run(&["-w", "0.7"], &["true"]).said_one_line(75, &["x is busy"]);
    let status = stage.status("x");
    assert_eq!((status["waiting"].as_i64(), status["holders"][0]["label"].as_str()), (Some(0), Some("build 7")));
    let waiter = stage.wait_behind(&[], &["for", "5"]);
    crate::stage::send(waiter.sentry(), nix::sys::signal::SIGINT);
    waiter.end().was_silent(130);
    assert_eq!(stage.status("x")["waiting"], 0, "who is interrupted leaves the queue");
    stage.let_go();
    holder.end().was_silent(0);
    let done = stage.run(&[], &["sh", "-c", "$V run -n y -- echo inside; $V run -n x -- echo never"]);
    assert_eq!((done.code, done.out.as_str()), (125, ""), "its user is withheld, so a nested run must name a store");
    let holder = stage.run(&["--store", &format!("{}?max_ttl=3s", server.url().replace("postgres@", ""))], &["true"]);
    assert_eq!(holder.code, if nix::unistd::geteuid().is_root() { 125 } else { holder.code }, "{}", holder.err);
}

#[test]
fn a_lease_is_renewed_and_a_lock_that_is_given_back_is_taken_at_once_in_order() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "1s"], &[]);
    let mut waiters: Vec<Running> = (0..10).map(|_| stage.wait_behind(&[], &["for", "5"])).collect();
    let pids: Vec<u64> = waiters.iter().map(|waiter| waiter.sentry() as u64).collect();
    let queue: Vec<u64> = stage.status("x")["queue"].as_array().unwrap().iter().map(|one| one["pid"].as_u64().unwrap()).collect();
    assert_eq!(queue, pids, "first come, first served");
    stays("the waiters wait", Duration::from_secs(3), || !waiters[0].is_over() && stage.log().jobs.len() == 1);
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    let log = stage.log();
    log.check(11);
    let mut gaps: Vec<f64> = log.jobs.windows(2).map(|two| two[1].start - two[0].last).collect();
    gaps.sort_by(f64::total_cmp);
    println!("    from an end to the next start: {gaps:.2?} s");
    assert!(gaps[5] < 0.3, "{gaps:?}");
}

/// `many` in one queue, each of which counts one.
fn herd(stage: &Stage, many: usize) {
    stage.write("count", "0\n");
    let script = "read n < $F/count; echo $((n + 1)) > $F/count; echo $VAULTLOCK_FENCE >> $F/fences";
    let holder = stage.hold(&["--ttl", "30s"], &[]);
    let mut runs: Vec<Running> = Vec::new();
    // A server that forks for each of them must answer each within five seconds, other tests beside it or not.
    while runs.len() < many {
        let next = 25.min(many - runs.len());
        runs.extend((0..next).map(|_| stage.start(stage.command(&["run", "--ttl", "30s", "x", "-c", script]))));
        wait_for("their places", || stage.status("x")["waiting"] == runs.len());
    }
    let started = Instant::now();
    stage.let_go();
    holder.end().was_silent(0);
    for run in runs {
        run.end().was_silent(0);
    }
    println!("    {many} jobs one after the other: {:.2?}", started.elapsed());
    assert_eq!(stage.text("count"), format!("{many}\n"));
    let text = stage.text("fences");
    let fences: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(fences.len() == many && fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

#[test]
fn a_herd_of_two_hundred_each_count_one_and_none_is_lost() {
    let server = Server::with(&["fsync=off", "max_connections=230"]);
    herd(&Stage::on(format!("{}?fresh=true", server.url())), 200);
}

#[test]
fn a_herd_behind_a_pooler_needs_a_few_connections() {
    let server = Server::with(&["fsync=off", "max_connections=20"]);
    let bouncer = Bouncer::before(&server, "");
    herd(&Stage::on(format!("{}?fresh=true", bouncer.url())), 60);
}

#[test]
fn of_fifty_that_will_not_wait_one_runs_and_the_others_leave_at_once() {
    // Not even on a busy disk must anybody take a server that fifty ask at once for a silent one.
    let server = Server::with(&["fsync=off"]);
    let stage = Stage::on(format!("{}?fresh=true", server.url()));
    let script = "echo ran >> $F/ran; while [ ! -e $F/go ]; do sleep 0.02; done";
    let mut runs: Vec<Running> =
        (0..50).map(|_| stage.start(stage.command(&["run", "-n", "--ttl", "30s", "x", "-c", script]))).collect();
    wait_for("49 to leave", || runs.iter_mut().filter_map(|run| run.is_over().then_some(())).count() == 49);
    stage.let_go();
    let mut codes: Vec<i32> = runs.into_iter().map(|run| run.end().code).collect();
    codes.sort_unstable();
    assert_eq!((codes[0], codes[1], codes[49]), (0, 75, 75));
    assert_eq!(stage.text("ran"), "ran\n");
}

#[test]
fn a_holder_and_a_waiter_are_broken_and_say_why() {
    let server = Server::start();
    crate::stage::is_broken_with_its_reason(&Stage::new(&server.url()));
}
