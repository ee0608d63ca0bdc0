//! vaultlock's own processes are killed and frozen, and its line fails: the job dies with its lease, and only then the next one
//! starts.

use std::time::Duration;

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};

use crate::basics::{MOST, scene};
use crate::log::{lapse, now};
use crate::stage::{Running, Stage, send, send_all, stays, wait_for};
use crate::support::etcd::Etcd;
use crate::support::proxy::{Proxy, Way};

const TTL: Duration = Duration::from_secs(2);

/// Strikes the holder, and waits for the next job. The bounds are from the blow to the next start.
fn struck(what: &str, strike: impl Fn(&Running), earliest: f64, latest: f64) -> (Running, Stage, Etcd) {
    let (server, stage) = scene();
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
    send(holder.sentry(), SIGCONT);
    (holder, stage, server)
}

/// A beat before the blow may be almost old enough for the next one.
fn after_lapse() -> (f64, f64) {
    (lapse(TTL) - TTL.as_secs_f64() / 5.0 - 0.1, lapse(TTL) + 2.5)
}

#[test]
fn the_sentry_is_killed_the_worker_ends_the_job_and_gives_the_lock_back() {
    let (holder, _stage, _server) = struck("sentry killed", |holder| send(holder.sentry(), SIGKILL), -0.05, 2.5);
    assert_eq!(holder.end().code, -9);
}

#[test]
fn the_worker_is_killed_the_sentry_ends_the_job_and_the_lease_runs_out() {
    let (earliest, latest) = after_lapse();
    let (holder, _stage, _server) = struck("worker killed", |holder| send(holder.worker(), SIGKILL), earliest, latest);
    holder.end().said_one_line(121, &["vaultlock's worker process was killed, and the job with it"]);
}

#[test]
fn both_are_killed_or_frozen_and_the_job_dies_inside_its_lease() {
    let (earliest, latest) = after_lapse();
    struck("both killed", |holder| send_all(&holder.both(), SIGKILL), earliest, latest);
    let (holder, _stage, _server) = struck("both frozen", |holder| send_all(&holder.both(), SIGSTOP), earliest, latest);
    assert_eq!(holder.end().code, 121);
}

#[test]
fn a_waiter_that_is_frozen_is_passed_and_one_that_is_killed_is_forgotten() {
    let (_server, stage) = scene();
    let holder = stage.hold(&[], &[]);
    let frozen = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    let killed = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    let patient = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    let both = frozen.both();
    send_all(&both, SIGSTOP);
    send_all(&killed.both(), SIGKILL);
    killed.end();
    stage.let_go();
    holder.end().was_silent(0);
    let vacant = stage.log().jobs[0].last;
    let passed = stage.wait_for_jobs(2) - vacant;
    println!("    a frozen and a dead waiter passed in {passed:.2} s");
    assert!(passed < 5.0, "{passed}");
    patient.end().was_silent(0);
    send_all(&both, SIGCONT);
    assert_eq!(frozen.end().code, 0, "it queues again");
    stage.log().check(3);
}

/// A holder behind the proxy and a waiter beside it.
fn behind_a_proxy() -> (Etcd, Proxy, Stage, String) {
    let server = Etcd::start();
    let direct = server.settled(MOST);
    let proxy = Proxy::before(server.port);
    let stage = Stage::on(direct.replace(&server.port.to_string(), &proxy.port.to_string()));
    (server, proxy, stage, direct)
}

/// The line fails for good: the job ends inside its lease, then the next one starts.
fn lost_by(what: &str, fail: impl Fn(&Proxy), mend: impl Fn(&Proxy)) {
    let (_server, proxy, stage, direct) = behind_a_proxy();
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.queue(&["--store", &direct, "--ttl", "2s"], &["for", "20"]);
    wait_for("a waiter", || stage.status("x")["waiting"] == 1);
    let cut = now();
    fail(&proxy);
    let recovery = stage.wait_for_jobs(2) - cut;
    println!("    {what}: the next job {recovery:.2} s later (ttl 2 s)");
    // What comes late now finds another holder, and must leave it alone.
    mend(&proxy);
    stage.log().dead_in_time(0, cut, TTL);
    holder.end().said_one_line(121, &["lost x: ", "stopping the job"]);
    waiter.end().was_silent(0);
    stage.log().check(2);
    assert!(recovery < lapse(TTL) + 2.5, "{recovery}");
}

#[test]
fn a_line_that_fails_for_good_ends_the_job_inside_its_lease() {
    lost_by("requests lost", |proxy| proxy.to_server(Way::Swallow), |proxy| proxy.to_server(Way::Pass));
    // Beats arrive and are never acknowledged.
    lost_by("answers lost", |proxy| proxy.to_client(Way::Swallow), |proxy| proxy.to_client(Way::Pass));
    lost_by("requests late", |proxy| proxy.to_server(Way::Hold), |proxy| proxy.to_server(Way::Pass));
}

#[test]
fn a_line_that_fails_for_a_moment_is_not_noticed() {
    for (fail, mend) in [
        (Proxy::cut as fn(&Proxy), (|_| ()) as fn(&Proxy)),
        (Proxy::half_close, |_| ()),
        (|proxy| proxy.to_server(Way::Swallow), |proxy| proxy.to_server(Way::Pass)),
        (|proxy| proxy.to_client(Way::Swallow), |proxy| proxy.to_client(Way::Pass)),
    ] {
        let (_server, proxy, stage, direct) = behind_a_proxy();
        let holder = stage.hold(&[], &[]);
        let waiter = stage.queue(&["--store", &direct], &["for", "5"]);
        wait_for("a waiter", || stage.status("x")["waiting"] == 1);
        for _ in 0..2 {
            fail(&proxy);
            stays("the job", Duration::from_millis(300), || stage.log().jobs.len() == 1);
            mend(&proxy);
            stays("the job alone", Duration::from_millis(1000), || stage.log().jobs.len() == 1);
        }
        stage.let_go();
        holder.end().was_silent(0);
        waiter.end().was_silent(0);
        stage.log().check(2);
    }
}
