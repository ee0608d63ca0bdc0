//! The line between holder and server fails while the job runs; others reach the server all the time.

use std::time::Duration;

use crate::log::{lapse, now};
use crate::stage::{Stage, stays, wait_for};
use crate::support::proxy::{Proxy, Way};
use crate::support::redis::Server;

const TTL: Duration = Duration::from_secs(2);

/// A holder behind the proxy and a waiter beside it. Both belong to the stage, whose URL is the proxy's.
fn scene() -> (Server, Proxy, Stage) {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let stage = Stage::new(&proxy.url());
    (server, proxy, stage)
}

/// The store's URL without the proxy.
fn direct(server: &Server) -> String {
    format!("{}?max_ttl=3s&fresh=true", server.url())
}

/// The line fails for good: the job ends inside its lease, then the next one starts.
fn lost_by(what: &str, fail: impl Fn(&Proxy), mend: impl Fn(&Proxy)) {
    let (server, proxy, stage) = scene();
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.queue(&["--store", &direct(&server), "--ttl", "2s"], &["for", "20"]);
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
    assert!(recovery < lapse(TTL) + 2.0, "{recovery}");
}

/// The line fails, but not for long: nobody notices.
fn unnoticed(ttl: &str, fail: impl Fn(&Proxy), mend: impl Fn(&Proxy)) {
    let (server, proxy, stage) = scene();
    let holder = stage.hold(&["--ttl", ttl], &[]);
    let waiter = stage.queue(&["--store", &direct(&server), "--ttl", ttl], &["for", "5"]);
    wait_for("a waiter", || stage.status("x")["waiting"] == 1);
    for _ in 0..3 {
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

#[test]
fn what_goes_to_the_server_is_lost() {
    lost_by("requests lost", |proxy| proxy.to_server(Way::Swallow), |proxy| proxy.to_server(Way::Pass));
}

#[test]
fn what_comes_from_the_server_is_lost() {
    // Beats arrive and are never acknowledged, until the job is dead and vaultlock gives up.
    lost_by("answers lost", |proxy| proxy.to_client(Way::Swallow), |proxy| proxy.to_client(Way::Pass));
}

#[test]
fn requests_are_held_back_and_all_come_late() {
    lost_by("requests late", |proxy| proxy.to_server(Way::Hold), |proxy| proxy.to_server(Way::Pass));
}

#[test]
fn the_line_is_cut_and_each_new_one_too() {
    lost_by(
        "cut for good",
        |proxy| {
            proxy.to_server(Way::CutAfter(0));
            proxy.cut();
        },
        |proxy| proxy.to_server(Way::Pass),
    );
}

#[test]
fn a_line_that_is_cut_and_can_be_made_again_is_not_noticed() {
    unnoticed("1s", Proxy::cut, |_| ());
}

#[test]
fn a_line_that_is_half_closed_is_not_noticed() {
    unnoticed("2s", Proxy::half_close, |_| ());
}

#[test]
fn bytes_lost_for_a_moment_are_not_noticed() {
    unnoticed("3s", |proxy| proxy.to_server(Way::Swallow), |proxy| proxy.to_server(Way::Pass));
    unnoticed("3s", |proxy| proxy.to_client(Way::Swallow), |proxy| proxy.to_client(Way::Pass));
}

/// Two jobs on a slow line, one after the other; returns how long the first was held beyond one lease.
fn works_with(each_way: Duration, url_end: &str, ttl: &str, held: Duration) {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let stage = Stage::on(format!("{}?{url_end}&fresh=true", proxy.url()));
    proxy.to_server(Way::Delay(each_way));
    proxy.to_client(Way::Delay(each_way));
    let asked = now();
    let holder = stage.hold(&["--ttl", ttl], &[]);
    println!("    {each_way:?} each way, ttl {ttl}: started after {:.2} s", stage.log().jobs[0].start - asked);
    let waiter = stage.queue(&["--ttl", ttl], &["for", "5"]);
    stays("the first job alone", held, || stage.log().jobs.len() == 1);
    stage.let_go();
    holder.end().was_silent(0);
    let from = stage.log().jobs[0].last;
    println!("    handed on after {:.2} s", stage.wait_for_jobs(2) - from);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_line_slow_by_300_ms_works_with_a_ttl_of_5_seconds() {
    works_with(Duration::from_millis(300), "max_ttl=5s", "5s", Duration::from_secs(6));
}

#[test]
fn a_line_too_slow_for_the_ttl_is_found_out_before_the_job_starts() {
    // A request has a sixth of the ttl: less, and one that is lost could not be made up for.
    let (_server, proxy, stage) = scene();
    proxy.to_client(Way::Delay(Duration::from_millis(700)));
    let done = stage.run(&["--ttl", "3s"], &["echo", "ran"]);
    done.said_one_line(125, &["the job was not run: no answer", "within 500ms", "or choose a longer --ttl"]);
    assert_eq!(done.out, "");
}

#[test]
fn a_line_slow_by_seconds_works_with_a_ttl_of_30_seconds() {
    works_with(Duration::from_millis(1500), "max_ttl=30s", "30s", Duration::from_secs(12));
}
