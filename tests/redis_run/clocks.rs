//! The wall clocks of the server and of its clients jump by five minutes: nobody is taken for dead, nobody waits for ever.

use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal::SIGKILL;
use vaultlock::time::Wall;

use crate::log::{lapse, now};
use crate::stage::{Stage, send_all, stays, wait_for};
use crate::support::redis::Server;
use crate::support::skew::Skew;

const TTL: Duration = Duration::from_secs(2);
const JUMPS: [i8; 8] = [5, -5, 0, -5, 5, 0, 5, -5];

/// So many minutes lie between this time and the true one.
fn ahead(millis: u64) -> i64 {
    (millis as f64 / 60e3 - Wall::now().0 as f64 / 60e3).round() as i64
}

fn server_is_ahead(server: &Server) -> i64 {
    let time = server.ask(&["TIME"]);
    ahead(time.split(' ').next().unwrap().parse::<u64>().unwrap() * 1000)
}

/// How long the server says it has been up, in minutes.
fn uptime(server: &Server) -> i64 {
    let info = server.ask(&["INFO", "server"]);
    let seconds = info.lines().find_map(|line| line.strip_prefix("uptime_in_seconds:")).unwrap();
    (seconds.parse::<f64>().unwrap() / 60.0).round() as i64
}

/// What vaultlock itself takes for the time: a file store has no other.
fn client_is_ahead(clock: &Skew) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::on(folder.path().display().to_string());
    stage.live_by(clock);
    let said = humantime::parse_rfc3339(stage.status("x")["as_of"].as_str().unwrap()).unwrap();
    ahead(said.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// A holder that is alive keeps its lock through all jumps.
fn keeps_its_lock(stage: &Stage, clock: &Skew) {
    let holder = stage.hold(&["--ttl", "2s"], &[]);
    let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    for minutes in JUMPS {
        clock.set(minutes);
        assert_eq!(stage.run(&["-n"], &["true"]).code, 75);
        stays("the first job alone", TTL / 3, || stage.log().jobs.len() == 1);
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

/// A holder that is killed is replaced in the usual time.
fn is_replaced(stage: &Stage, clock: &Skew) {
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
    let cut = now();
    send_all(&holder.both(), SIGKILL);
    for minutes in JUMPS {
        clock.set(minutes);
        stays("no other job", TTL / 12, || stage.log().jobs.len() == 1);
    }
    let recovery = stage.wait_for_jobs(2) - cut;
    println!("    the next job {recovery:.2} s after the holder was killed (ttl 2 s)");
    assert!((lapse(TTL) - TTL.as_secs_f64() / 5.0 - 0.1..lapse(TTL) + 2.0).contains(&recovery), "{recovery}");
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn the_servers_clock_jumps() {
    let clock = Skew::zero();
    for scene in [keeps_its_lock, is_replaced] {
        clock.set(0);
        let server = Server::by(&clock, &[]);
        clock.set(-5);
        assert_eq!(server_is_ahead(&server), -5);
        clock.set(5);
        assert_eq!(server_is_ahead(&server), 5);
        // It looks at its own age ten times a second.
        wait_for("an age of five minutes", || uptime(&server) == 5);
        scene(&Stage::new(&server.url()), &clock);
    }
}

#[test]
fn the_clients_clocks_jump() {
    let clock = Skew::zero();
    for minutes in [5, -5, 0] {
        clock.set(minutes);
        assert_eq!(client_is_ahead(&clock), i64::from(minutes));
    }
    for scene in [keeps_its_lock, is_replaced] {
        let server = Server::start();
        let stage = Stage::new(&server.url());
        stage.live_by(&clock);
        scene(&stage, &clock);
        assert_eq!(server_is_ahead(&server), 0);
    }
}

#[test]
fn clients_whose_clocks_differ_by_ten_minutes_take_turns() {
    let (early, late) = (Skew::zero(), Skew::zero());
    early.set(-5);
    late.set(5);
    let server = Server::start();
    let stage = Stage::new(&server.url());
    for round in 0..4 {
        let (holder, waiter) = if round % 2 == 0 { (&early, &late) } else { (&late, &early) };
        let _ = std::fs::remove_file(stage.file("go"));
        stage.live_by(holder);
        let first = stage.hold(&["--ttl", "2s"], &[]);
        stage.live_by(waiter);
        let second = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
        stays("the holder alone", TTL, || stage.log().jobs.len() == 2 * round + 1);
        stage.let_go();
        first.end().was_silent(0);
        second.end().was_silent(0);
        stage.log().check(2 * round + 2);
    }
}
