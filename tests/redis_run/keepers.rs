//! A script whose keeper or whose server fails: it is dead before the next one can have the lock.

use std::time::Duration;

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};

use crate::keeper::{handle, script};
use crate::log::now;
use crate::stage::{Stage, send_all, wait_for};
use crate::support::redis::Server;
use crate::support::running::{is_alive, keeper_of};

const TTL: Duration = Duration::from_secs(2);

#[test]
fn a_script_whose_keeper_is_killed_or_frozen_is_dead_inside_its_lease() {
    for (signal, struck) in [(SIGKILL, &[1][..]), (SIGKILL, &[0, 1]), (SIGSTOP, &[1]), (SIGSTOP, &[0, 1])] {
        let server = Server::start();
        let stage = Stage::new(&server.url());
        let script = script(&stage, "--ttl 2s", "stubborn");
        let keeper = keeper_of(script.sentry()).unwrap();
        let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
        let cut = now();
        send_all(&struck.iter().map(|at| keeper[*at]).collect::<Vec<_>>(), signal);
        stage.wait_for_jobs(2);
        stage.log().dead_in_time(0, cut, TTL);
        waiter.end().was_silent(0);
        assert_eq!(script.end().code, -9);
        send_all(&keeper[..1], SIGKILL);
        stage.log().check(2);
    }
}
#[test]
fn a_server_that_freezes_ends_the_script_by_term_and_by_kill_before_the_next_one_starts() {
    for (job, code) in [("", -15), ("stubborn", -9)] {
        let server = Server::start();
        let stage = Stage::new(&server.url());
        let script = script(&stage, "--ttl 2s", job);
        let keeper = keeper_of(script.sentry()).unwrap();
        let waiter = stage.wait_behind(&["--ttl", "2s"], &["for", "5"]);
        let cut = now();
        server.freeze();
        assert_eq!(script.end().code, code);
        stage.log().dead_in_time(0, cut, TTL);
        assert_eq!(stage.say(&["check", &handle(&stage)]).code, 121);
        server.thaw();
        stage.wait_for_jobs(2);
        waiter.end().was_silent(0);
        stage.log().check(2);
        wait_for("the keeper's end", || !keeper.iter().any(|pid| is_alive(*pid)));
    }
}
