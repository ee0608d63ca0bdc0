//! Who does not wait can not watch a dead holder: the host remembers what the last one saw.

use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;

use crate::log::{lapse, now};
use crate::stage::{Stage, send, wait_for};
use crate::support::redis::Server;

#[test]
fn callers_that_do_not_wait_pass_a_dead_holder_once_the_host_has_watched_it_long_enough() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "1s"], &["stubborn"]);
    holder.both().into_iter().for_each(|pid| send(pid, SIGKILL));
    assert_eq!(holder.end().code, -9);
    let first = now();
    stage.run(&["-n"], &["true"]).said_one_line(75, &["x is busy: held by"]);
    let mut busy = 1;
    wait_for("its turn", || {
        let done = stage.run(&["-n"], &["true"]);
        assert!(matches!(done.code, 0 | 75), "{done:?}");
        busy += usize::from(done.code == 75);
        done.code == 0
    });
    let took = now() - first;
    println!("    in after {took:.2} s and {busy} refusals (ttl 1 s)");
    assert!((lapse(Duration::from_secs(1)) - 0.01..lapse(Duration::from_secs(1)) + 1.0).contains(&took), "{took}");
}

#[test]
fn callers_that_do_not_wait_never_pass_a_living_holder() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&["--ttl", "1s"], &[]);
    let end = now() + 2.0 * lapse(Duration::from_secs(1));
    while now() < end {
        assert_eq!(stage.run(&["-n"], &["true"]).code, 75);
    }
    stage.let_go();
    holder.end().was_silent(0);
    stage.run(&["-n"], &["true"]).was_silent(0);
}

#[test]
fn one_that_does_not_wait_does_not_jump_the_queue() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let waiter = stage.wait_behind(&[], &["for", "30"]);
    stage.let_go();
    holder.end().was_silent(0);
    let done = stage.run(&["-n"], &["true"]);
    let ran = stage.log().jobs.len() == 2;
    assert!(done.code == 75 || ran, "{done:?}");
    waiter.end().was_silent(0);
    stage.log().check(2);
}
