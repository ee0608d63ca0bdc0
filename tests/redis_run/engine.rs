//! The server dies, freezes, forgets and comes back while a job runs.

use std::time::Duration;

use crate::log::{lapse, now};
use crate::stage::{Stage, stays, wait_for};
use crate::support::redis::Server;

const MOST: Duration = Duration::from_secs(3);

#[test]
fn a_server_that_dies_for_good_ends_the_job_inside_its_lease() {
    for kind in [&["stubborn"][..], &[]] {
        let mut server = Server::start();
        let stage = Stage::new(&server.url());
        let holder = stage.hold(&["--ttl", "2s"], kind);
        let cut = now();
        server.kill();
        let done = holder.end();
        stage.log().dead_in_time(0, cut, Duration::from_secs(2));
        done.said_one_line(121, &["lost x: no renewal for", "is the server running there?", "stopping the job"]);
        stage.log().check(1);
    }
}

#[test]
fn a_server_that_comes_back_empty_has_forgotten_and_everyone_waits_until_no_one_can_hold() {
    let mut server = Server::start();
    let stage = Stage::on(format!("{}?max_ttl=3s", server.url()));
    let first = now();
    let holder = stage.hold(&["-v"], &["stubborn"]);
    println!("    first use of a new server: {:.2} s", now() - first);
    assert!(holder.err().contains("fresh=true"), "{}", holder.err());
    let cut = now();
    server.restart();
    let waiter = stage.queue(&["-v"], &["for", "5"]);
    let done = holder.end();
    assert_eq!(done.code, 121);
    assert!(done.err.contains("lost x: redis at 127.0.0.1:") && done.err.contains("knows it no more"), "{}", done.err);
    let waited = stage.wait_for_jobs(2) - cut;
    println!("    after an empty restart: {waited:.2} s (max_ttl 3 s)");
    stage.log().dead_in_time(0, cut, MOST);
    assert!((lapse(MOST)..lapse(MOST) + 3.0).contains(&waited), "{waited}");
    let done = waiter.end();
    assert!(done.code == 0 && done.err.contains("may have forgotten a holder"), "{}", done.err);
    stage.log().check(2);
    stage.run(&["-n"], &["true"]).was_silent(0);
}

#[test]
fn a_holder_hears_the_server_die_and_looks_at_once_not_at_its_next_beat() {
    let mut server = Server::start();
    let stage = Stage::on(format!("{}?fresh=true", server.url()));
    let holder = stage.hold(&[], &[]);
    let cut = now();
    server.restart();
    let done = holder.end();
    assert!(done.code == 121 && done.err.contains("knows it no more"), "{}: {}", done.code, done.err);
    assert!(now() - cut < 3.0, "it beats every 6 s, and was told after {:.2} s", now() - cut);
}

#[test]
fn a_flush_under_a_held_lock_ends_the_job_and_fresh_does_not_excuse_it() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &["stubborn"]);
    let waiter = stage.wait_behind(&[], &["for", "5"]);
    let cut = now();
    server.tell(&["FLUSHALL"]);
    let done = holder.end();
    done.said_one_line(121, &["knows it no more (restarted without its data, wiped, or told so by break --force)"]);
    let waited = stage.wait_for_jobs(2) - cut;
    println!("    after a flush: {waited:.2} s (max_ttl 3 s)");
    stage.log().dead_in_time(0, cut, MOST);
    assert!((lapse(MOST)..lapse(MOST) + 3.0).contains(&waited), "{waited}");
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_server_that_comes_back_with_its_data_is_not_noticed() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let stage = Stage::new(&server.url());
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
fn a_server_frozen_for_less_than_the_lease_is_not_noticed() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let waiter = stage.wait_behind(&[], &["for", "5"]);
    for _ in 0..3 {
        server.freeze();
        stays("the job", Duration::from_millis(400), || stage.log().jobs.len() == 1);
        server.thaw();
        stays("the job alone", Duration::from_millis(800), || stage.log().jobs.len() == 1);
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_server_frozen_for_longer_ends_the_job_inside_its_lease() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "3s"], &["for", "5"]);
    let cut = now();
    server.freeze();
    let done = holder.end();
    stage.log().dead_in_time(0, cut, Duration::from_secs(2));
    done.said_one_line(121, &["lost x: no renewal for", "no answer from redis at"]);
    server.thaw();
    waiter.end().was_silent(0);
    println!("    the next job {:.2} s after the freeze began", stage.log().jobs[1].start - cut);
    stage.log().check(2);
}

#[test]
fn a_lock_that_can_not_be_given_back_is_one_warning_and_the_jobs_code_stands() {
    for (code, frozen) in [(0, false), (7, true)] {
        let mut server = Server::start();
        let stage = Stage::new(&server.url());
        let script = format!("echo > $F/in; while [ ! -e $F/go ]; do sleep 0.01; done; exit {code}");
        let holder = stage.start(stage.command(&["run", "x", "-c", &script]));
        wait_for("the job", || !stage.text("in").is_empty());
        if frozen {
            server.freeze()
        } else {
            server.kill()
        }
        stage.let_go();
        let from = now();
        holder.end().said_one_line(code, &["the job is done, but the lock could not be given back"]);
        let took = now() - from;
        assert!(took < 2.0, "nobody waits for a dead server for {took:.1} s");
    }
}

#[test]
fn a_full_server_does_not_disturb_who_holds_and_lets_them_go() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    stays("the job", Duration::from_secs(4), || stage.log().jobs.iter().all(|job| !job.ended));
    stage.let_go();
    holder.end().was_silent(0);
    stage.run(&[], &["true"]).said_one_line(125, &["is full: raise its maxmemory"]);
    stage.log().check(1);
}
