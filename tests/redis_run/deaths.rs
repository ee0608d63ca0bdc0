//! vaultlock's own processes are killed and frozen: the job dies with its lease, and only then the next one starts.

use std::time::Duration;

use nix::sys::signal::Signal::{self, SIGCONT, SIGKILL, SIGSTOP};

use crate::log::{lapse, now};
use crate::stage::{Done, Running, Stage, send, stays};
use crate::support::redis::Server;

const TTL: Duration = Duration::from_secs(2);

/// Strikes the holder, and waits for the next job. The bounds are from the blow to the next start.
fn struck(what: &str, strike: impl Fn(&Running), earliest: f64, latest: f64) -> (Running, Stage, Server) {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    let cut = now();
    strike(&holder);
    let recovery = stage.wait_for_jobs(2) - cut;
    println!("    {what}: the next job {recovery:.2} s later (ttl 2 s)");
    stage.log().dead_in_time(0, cut, TTL);
    waiter.end().was_silent(0);
    stage.log().check(2);
    assert!((earliest..latest).contains(&recovery), "{what}: {recovery}");
    (holder, stage, server)
}

fn to_all(pids: &[i32], signal: Signal) {
    pids.iter().for_each(|pid| send(*pid, signal));
}

/// A beat before the blow may be almost old enough for the next one.
fn after_lapse() -> (f64, f64) {
    (lapse(TTL) - TTL.as_secs_f64() / 5.0 - 0.1, lapse(TTL) + 2.0)
}

fn was_lost(done: &Done, parts: &[&str]) {
    done.said_one_line(121, parts);
}

#[test]
fn the_sentry_is_killed_the_worker_ends_the_job_and_gives_the_lock_back() {
    let (holder, _stage, _server) = struck("sentry killed", |holder| send(holder.sentry(), SIGKILL), -0.05, 2.0);
    assert_eq!(holder.end().code, -9);
}

#[test]
fn the_worker_is_killed_the_sentry_ends_the_job_and_the_lease_runs_out() {
    let (earliest, latest) = after_lapse();
    let (holder, _stage, _server) = struck("worker killed", |holder| send(holder.worker(), SIGKILL), earliest, latest);
    was_lost(&holder.end(), &["vaultlock's worker process was killed, and the job with it"]);
}

#[test]
fn both_are_killed_and_the_job_dies_with_them() {
    let (earliest, latest) = after_lapse();
    let (holder, _stage, _server) = struck("both killed", |holder| to_all(&holder.both(), SIGKILL), earliest, latest);
    assert_eq!(holder.end().code, -9);
}

#[test]
fn the_worker_is_frozen_and_the_sentry_ends_the_job_inside_its_lease() {
    let (earliest, latest) = after_lapse();
    let (holder, _stage, _server) = struck("worker frozen", |holder| send(holder.worker(), SIGSTOP), earliest, latest);
    was_lost(&holder.end(), &["the lease was lost (vaultlock was stopped or starved): the job was killed"]);
}

#[test]
fn both_are_frozen_and_the_kernel_ends_the_job_inside_its_lease() {
    let (earliest, latest) = after_lapse();
    let (holder, _stage, _server) = struck("both frozen", |holder| to_all(&holder.both(), SIGSTOP), earliest, latest);
    send(holder.sentry(), SIGCONT);
    assert_eq!(holder.end().code, 121);
}

#[test]
fn the_sentry_alone_is_frozen_and_the_job_goes_on_under_its_lock() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "1s"], &[]);
    let waiter = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    send(holder.sentry(), SIGSTOP);
    stays("the first job alone", Duration::from_secs_f64(lapse(Duration::from_secs(1)) * 2.0), || stage.log().jobs.len() == 1);
    stage.let_go();
    stage.wait_for_jobs(2);
    send(holder.sentry(), SIGCONT);
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_freeze_shorter_than_the_lease_changes_nothing() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let both = holder.both();
    for _ in 0..3 {
        to_all(&both, SIGSTOP);
        stays("frozen", Duration::from_millis(400), || stage.log().jobs.len() == 1);
        to_all(&both, SIGCONT);
        stays("thawed", Duration::from_millis(700), || stage.log().jobs.len() == 1);
    }
    stage.let_go();
    holder.end().was_silent(0);
    stage.log().check(1);
}

#[test]
fn a_waiter_that_is_frozen_is_passed_and_one_that_is_killed_is_forgotten() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let frozen = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    let killed = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    let patient = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    let both = frozen.both();
    to_all(&both, SIGSTOP);
    to_all(&killed.both(), SIGKILL);
    assert_eq!(killed.end().code, -9);
    stage.let_go();
    holder.end().was_silent(0);
    let vacant = stage.log().jobs[0].last;
    let passed = stage.wait_for_jobs(2) - vacant;
    println!("    a frozen and a dead waiter passed in {passed:.2} s");
    assert!(passed < 4.0, "{passed}");
    patient.end().was_silent(0);
    to_all(&both, SIGCONT);
    let late = frozen.end();
    assert!(late.code == 0, "it queues again: {late:?}");
    stage.log().check(3);
}
