//! vaultlock's processes are killed and frozen, and the line to the server fails: the job dies inside its lease, and only
//! then the next one starts.

use std::time::Duration;

use nix::sys::signal::Signal::{self, SIGKILL, SIGSTOP};

use crate::log::{lapse, now};
use crate::stage::{Running, Stage, send, stays, wait_for};
use crate::support::postgres::Postgres as Server;
use crate::support::proxy::{Proxy, Way};

const TTL: Duration = Duration::from_secs(2);

fn to_all(pids: &[i32], signal: Signal) {
    pids.iter().for_each(|pid| send(*pid, signal));
}

/// A holder on a line of its own, and a waiter beside it.
fn scene() -> (Server, Proxy, Stage, Running, Running) {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let url = |port: u16| format!("postgres://postgres@127.0.0.1:{port}/postgres?max_ttl=3s&fresh=true");
    let stage = Stage::on(url(proxy.port));
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.queue(&["--store", &url(server.port), "--ttl", "2s"], &["for", "20"]);
    wait_for("a waiter", || stage.status("x")["waiting"] == 1);
    (server, proxy, stage, holder, waiter)
}

/// Strikes the holder or its line, and waits for the next job; the code the holder ends with.
fn struck(what: &str, strike: impl Fn(&Running, &Proxy), mend: impl Fn(&Running, &Proxy)) -> i32 {
    let (_server, proxy, stage, holder, waiter) = scene();
    let cut = now();
    strike(&holder, &proxy);
    let recovery = stage.wait_for_jobs(2) - cut;
    println!("    {what}: the next job {recovery:.2} s later (ttl 2 s)");
    // What comes late now finds another holder, and must leave it alone.
    mend(&holder, &proxy);
    stage.log().dead_in_time(0, cut, TTL);
    let code = holder.end().code;
    waiter.end().was_silent(0);
    stage.log().check(2);
    assert!(recovery < lapse(TTL) + 2.0, "{recovery}");
    code
}

#[test]
fn the_sentry_is_killed() {
    assert_eq!(struck("sentry killed", |holder, _| send(holder.sentry(), SIGKILL), |_, _| ()), -9);
}

#[test]
fn the_worker_is_killed() {
    assert_eq!(struck("worker killed", |holder, _| send(holder.worker(), SIGKILL), |_, _| ()), 121);
}

#[test]
fn both_are_killed() {
    assert_eq!(struck("both killed", |holder, _| to_all(&holder.both(), SIGKILL), |_, _| ()), -9);
}

#[test]
fn the_worker_is_frozen() {
    assert_eq!(struck("worker frozen", |holder, _| send(holder.worker(), SIGSTOP), |_, _| ()), 121);
}

#[test]
fn the_line_fails() {
    let pass = |_: &Running, proxy: &Proxy| {
        proxy.to_server(Way::Pass);
        proxy.to_client(Way::Pass);
    };
    assert_eq!(struck("requests lost", |_, proxy| proxy.to_server(Way::Swallow), pass), 121);
    assert_eq!(struck("answers lost", |_, proxy| proxy.to_client(Way::Swallow), pass), 121);
    assert_eq!(struck("requests late", |_, proxy| proxy.to_server(Way::Hold), pass), 121);
    let cut = |_: &Running, proxy: &Proxy| {
        proxy.to_server(Way::CutAfter(0));
        proxy.cut();
    };
    assert_eq!(struck("cut for good", cut, pass), 121);
}

#[test]
fn a_line_that_is_cut_or_half_closed_and_can_be_made_again_is_not_noticed() {
    let (_server, proxy, stage, holder, waiter) = scene();
    for fail in [Proxy::cut, Proxy::half_close, Proxy::cut] {
        fail(&proxy);
        stays("the job alone", Duration::from_millis(1200), || stage.log().jobs.len() == 1);
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_waiter_that_is_frozen_is_passed_and_one_that_is_killed_is_forgotten() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let frozen = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    let killed = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    let patient = stage.wait_behind(&["--ttl", "1s"], &["for", "5"]);
    to_all(&frozen.both(), SIGSTOP);
    to_all(&killed.both(), SIGKILL);
    stage.let_go();
    holder.end().was_silent(0);
    let vacant = stage.log().jobs[0].last;
    let passed = stage.wait_for_jobs(2) - vacant;
    println!("    a frozen and a dead waiter passed in {passed:.2} s");
    assert!(passed < 4.0, "{passed}");
    patient.end().was_silent(0);
    stage.log().check(2);
}
