//! The server dies, freezes, forgets, fails over and comes back while a job runs.

use std::time::Duration;

use crate::log::{lapse, now};
use crate::stage::{Stage, stays};
use crate::support::postgres::Postgres as Server;
use crate::support::until;

const MOST: Duration = Duration::from_secs(3);

#[test]
fn a_server_that_dies_for_good_ends_the_job_inside_its_lease() {
    let mut server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let cut = now();
    server.kill();
    let done = holder.end();
    stage.log().dead_in_time(0, cut, Duration::from_secs(2));
    done.said_one_line(121, &["lost x: no renewal for", "is the server running there?", "stopping the job"]);
    stage.log().check(1);
}

#[test]
fn a_server_that_comes_back_with_its_data_is_not_noticed() {
    let mut server = Server::with(&["fsync=on"]);
    // It must be up again within the lease, and a busy disk takes its time.
    let stage = Stage::on(format!("{}?max_ttl=15s&fresh=true", server.url()));
    let holder = stage.hold(&[], &[]);
    let mut waiter = stage.wait_behind(&[], &["for", "5"]);
    for _ in 0..2 {
        server.restart();
        stays("the job alone", Duration::from_millis(1500), || !waiter.is_over() && stage.log().jobs.len() == 1);
        stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy"]);
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_server_frozen_for_less_than_the_lease_is_not_noticed_and_for_longer_ends_the_job() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "3s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "3s"], &["for", "5"]);
    for _ in 0..2 {
        server.freeze();
        stays("the job", Duration::from_millis(400), || stage.log().jobs.len() == 1);
        server.thaw();
        stays("the job alone", Duration::from_millis(800), || stage.log().jobs.len() == 1);
    }
    let cut = now();
    server.freeze();
    let done = holder.end();
    stage.log().dead_in_time(0, cut, MOST);
    done.said_one_line(121, &["lost x: no renewal for", "no answer from postgres at"]);
    server.thaw();
    waiter.end().was_silent(0);
    println!("    the next job {:.2} s after the freeze began", stage.log().jobs[1].start - cut);
    stage.log().check(2);
}

#[test]
fn a_store_that_is_dropped_under_a_held_lock_ends_the_job() {
    let server = Server::start();
    let stage = Stage::on(format!("{}?max_ttl=3s", server.url()));
    let first = now();
    let holder = stage.hold(&["-v"], &["stubborn"]);
    println!("    first use of a new store: {:.2} s", now() - first);
    assert!(holder.err().contains("fresh=true"), "{}", holder.err());
    let waiter = stage.wait_behind(&[], &["for", "5"]);
    let cut = now();
    server.forget();
    let done = holder.end();
    assert_eq!(done.code, 121);
    assert!(done.err.contains("knows it no more"), "{}", done.err);
    let waited = stage.wait_for_jobs(2) - cut;
    println!("    after a drop: {waited:.2} s (max_ttl 3 s)");
    stage.log().dead_in_time(0, cut, MOST);
    assert!((lapse(MOST)..lapse(MOST) + 3.0).contains(&waited), "{waited}");
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_failover_lets_nobody_in_until_no_one_can_hold_from_before() {
    let mut primary = Server::with(&["wal_level=replica", "fsync=on"]);
    let standby = Server::following(&primary, &["fsync=on"]);
    let url = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?max_ttl=3s&fresh=true", primary.port, standby.port);
    let stage = Stage::on(url);
    let holder = stage.hold(&["--ttl", "3s"], &[]);
    until("the standby has it", || standby.tell("SELECT to_regclass('vaultlock.tickets') IS NOT NULL") == "t");
    until("the standby has it", || standby.tell("SELECT count(*) FROM vaultlock.tickets WHERE holds") == "1");
    let waiter = stage.wait_behind(&["-v"], &["for", "5"]);
    primary.kill();
    standby.promote();
    // A holder that the new primary knows goes on.
    stays("the job alone", Duration::from_secs(3), || stage.log().jobs.len() == 1);
    stage.let_go();
    holder.end().was_silent(0);
    let waited = waiter.end();
    assert!(waited.code == 0, "{waited:?}");
    stage.log().check(2);
    assert_eq!(stage.run(&["-n"], &["true"]).code, 0);
}

#[test]
fn a_lock_that_can_not_be_given_back_is_one_warning_and_the_jobs_code_stands() {
    let mut server = Server::start();
    let stage = Stage::new(&server.url());
    let script = "echo > $F/in; while [ ! -e $F/go ]; do sleep 0.01; done; exit 7";
    let holder = stage.start(stage.command(&["run", "x", "-c", script]));
    crate::stage::wait_for("the job", || !stage.text("in").is_empty());
    server.kill();
    stage.let_go();
    holder.end().said_one_line(7, &["the job is done, but the lock could not be given back"]);
}
