//! What a lock costs the server and the host: counted and printed, with bounds that nobody should notice.

use std::fs;
use std::time::Duration;

use crate::log::now;
use crate::stage::{Stage, stays};
use crate::support::proxy::Proxy;
use crate::support::redis::Server;

fn commands(server: &Server) -> u64 {
    let info = server.ask(&["INFO", "commandstats"]);
    let calls = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let ours = matches!(name, "eval" | "evalsha" | "subscribe" | "auth" | "select" | "smembers");
        rest.split(',').next()?.parse::<u64>().ok().filter(|_| ours)
    });
    calls.sum()
}

#[test]
fn a_free_lock_costs_two_round_trips() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let stage = Stage::new(&proxy.url());
    stage.run(&[], &["true"]).was_silent(0);
    let (requests, lines) = (proxy.requests(), proxy.opened());
    stage.run(&[], &["true"]).was_silent(0);
    println!("    {} requests on {} line", proxy.requests() - requests, proxy.opened() - lines);
    assert_eq!((proxy.requests() - requests, proxy.opened() - lines), (2, 1));
}

#[test]
fn each_of_several_free_locks_costs_two_round_trips() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let stage = Stage::new(&proxy.url());
    let run = || stage.start(stage.command(&["run", "c", "a", "b", "--", "true"])).end().was_silent(0);
    run();
    let (requests, lines) = (proxy.requests(), proxy.opened());
    run();
    assert_eq!((proxy.requests() - requests, proxy.opened() - lines), (6, 1));
}

#[test]
fn a_waiter_sends_one_small_request_a_beat() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "2s"], &[]);
    let through = format!("{}?max_ttl=3s&fresh=true", proxy.url());
    let waiter = stage.wait_behind(&["--store", &through, "--ttl", "2s"], &["for", "5"]);
    stays("the queue", Duration::from_millis(500), || true);
    let (before, lines, from) = (proxy.requests(), proxy.opened(), now());
    stays("the queue", Duration::from_secs(6), || stage.log().jobs.len() == 1);
    let (asked, beats) = (proxy.requests() - before, (now() - from) / 0.4);
    let lines = proxy.opened() - lines;
    println!("    {asked} requests of a waiter in {beats:.1} beats, {lines} new lines");
    // A host that stands still for longer than a request may take makes it ask again, on a new line.
    assert!(asked as f64 <= beats + 1.0 + 2.0 * lines as f64);
    for (what, pid) in [("sentry", waiter.sentry()), ("worker", waiter.worker())] {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let pss = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or("Pss: unknown here");
        println!("    a waiter's {what}: {}", pss.split_whitespace().collect::<Vec<&str>>().join(" "));
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
}

#[test]
fn a_lock_handed_on_costs_a_few_commands() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let waiters: Vec<_> = (0..10).map(|_| stage.wait_behind(&[], &["for", "1"])).collect();
    let before = commands(&server);
    let from = now();
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    stage.log().check(11);
    let (asked, beats) = (commands(&server) - before, (now() - from) / 0.6);
    // Those who still wait beat meanwhile.
    println!("    ten hand-overs: {asked} commands, {beats:.1} beats long");
    assert!(asked as f64 <= 60.0 + 10.0 * (beats + 1.0), "{asked}");
}
