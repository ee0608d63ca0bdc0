//! vaultlock's own processes are killed and frozen, and its line fails: the job dies with its lease, and only then the next one
//! starts.

use std::time::Duration;

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};

use crate::log::{lapse, now};
use crate::scene::scene;
use crate::stage::{Running, Stage, send, send_all, stays, wait_for};
use crate::support::proxy::{Proxy, Way};
use crate::support::zookeeper::ZooKeeper;

const MOST: Duration = Duration::from_secs(3);
const TTL: Duration = Duration::from_secs(2);

/// Strikes the holder, and waits for the next job.
fn struck(what: &str, strike: impl Fn(&Running)) {
    let (_server, stage) = scene();
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    let cut = now();
    strike(&holder);
    let recovery = stage.wait_for_jobs(2) - cut;
    println!("    {what}: the next job {recovery:.2} s later (ttl 2 s)");
    stage.log().dead_in_time(0, cut, TTL);
    waiter.end().was_silent(0);
    stage.log().check(2);
    // A beat before the blow may be almost old enough for the next one.
    let earliest = lapse(TTL) - TTL.as_secs_f64() / 5.0 - 0.1;
    assert!((earliest..lapse(TTL) + 2.5).contains(&recovery), "{what}: {recovery}");
    send(holder.sentry(), SIGCONT);
    assert_ne!(holder.end().code, 0);
}

#[test]
fn the_worker_is_killed_the_sentry_ends_the_job_and_the_lease_runs_out() {
    struck("worker killed", |holder| send(holder.worker(), SIGKILL));
}

#[test]
fn both_are_killed_or_frozen_and_the_job_dies_inside_its_lease() {
    struck("both killed", |holder| send_all(&holder.both(), SIGKILL));
    struck("both frozen", |holder| send_all(&holder.both(), SIGSTOP));
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
    assert!(passed < 6.0, "{passed}");
    patient.end().was_silent(0);
    send_all(&both, SIGCONT);
    assert_eq!(frozen.end().code, 0, "it queues again");
    stage.log().check(3);
}

/// A holder behind the proxy and a waiter beside it.
fn behind_a_proxy() -> (std::sync::Arc<ZooKeeper>, Proxy, Stage, String) {
    let server = ZooKeeper::shared();
    let direct = server.settled(MOST);
    let port = server.ports()[0];
    let proxy = Proxy::before(port);
    let stage = Stage::on(direct.replace(&port.to_string(), &proxy.port.to_string()));
    (server, proxy, stage, direct)
}

#[test]
fn a_line_that_fails_for_good_ends_the_job_inside_its_lease() {
    // Beats that never arrive, that are never acknowledged, and that come when another holds the lock.
    for fail in [
        (|proxy| proxy.to_server(Way::Swallow)) as fn(&Proxy),
        |proxy| proxy.to_client(Way::Swallow),
        |proxy| proxy.to_server(Way::Hold),
    ] {
        let (_server, proxy, stage, direct) = behind_a_proxy();
        let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
        let waiter = stage.queue(&["--store", &direct, "--ttl", "2s"], &["for", "20"]);
        wait_for("a waiter", || stage.status("x")["waiting"] == 1);
        let cut = now();
        fail(&proxy);
        let recovery = stage.wait_for_jobs(2) - cut;
        proxy.to_server(Way::Pass);
        proxy.to_client(Way::Pass);
        stage.log().dead_in_time(0, cut, TTL);
        holder.end().said_one_line(121, &["lost x: ", "stopping the job"]);
        waiter.end().was_silent(0);
        stage.log().check(2);
        assert!(recovery < lapse(TTL) + 2.5, "{recovery}");
    }
}

#[test]
fn a_line_that_fails_for_a_moment_is_not_noticed() {
    let (_server, proxy, stage, direct) = behind_a_proxy();
    let holder = stage.hold(&[], &[]);
    let waiter = stage.queue(&["--store", &direct], &["for", "5"]);
    wait_for("a waiter", || stage.status("x")["waiting"] == 1);
    for fail in [Proxy::cut as fn(&Proxy), Proxy::half_close, |proxy| proxy.to_client(Way::Swallow)] {
        fail(&proxy);
        stays("the job", Duration::from_millis(300), || stage.log().jobs.len() == 1);
        proxy.to_client(Way::Pass);
        stays("the job alone", Duration::from_millis(1000), || stage.log().jobs.len() == 1);
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}
