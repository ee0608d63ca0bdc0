//! `vaultlock break` where leases are: on Redis in full, on PostgreSQL and etcd (tests/*_run/basics.rs) once each.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::stage::{Stage, send_all, wait_for};
use crate::support::redis::Server;

fn breaks(stage: &Stage, session: &str, more: &[&str]) -> crate::stage::Done {
    stage.say(&[&["break", "x", "--session", session, "--reason", "db1 is on fire"], more].concat())
}

#[test]
fn a_holder_and_a_waiter_are_broken_and_say_why() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    crate::stage::is_broken_with_its_reason(&stage);
}

#[test]
fn a_frozen_holder_is_waited_out_and_swept_and_by_force_a_living_one_goes_at_once() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let frozen = stage.hold(&[], &[]);
    let session = stage.session("holders");
    send_all(&frozen.both(), Signal::SIGSTOP);
    let since = Instant::now();
    let operator = stage.start(stage.command(&["break", "x", "--session", &session, "--reason", "no answer"]));
    wait_for("the request", || stage.status("x")["holders"][0]["asked_to_stop"] == "broken");
    let done = operator.end();
    println!("    a frozen holder of a 3 s lease was gone {:.2} s after the order", since.elapsed().as_secs_f64());
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("if nothing is heard of it") && done.out.contains("it was dead, and was removed"), "{done:?}");
    send_all(&frozen.both(), Signal::SIGCONT);
    assert_ne!(frozen.end().code, 0);
    let living = stage.hold(&[], &["stubborn"]);
    let done = breaks(&stage, &stage.session("holders"), &["--force"]);
    done.said_one_line(0, &["--force gives it away at once", "perhaps beside the next"]);
    assert!(done.out.contains("it was removed by force"), "{}", done.out);
    assert_eq!(stage.say(&["status", "x"]).out, "x: free\n");
    living.end().said_one_line(121, &["break --force"]);
}
