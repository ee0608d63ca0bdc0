//! Fail-overs: what was acknowledged may be lost, so nobody is let in before the last lease from before has run out.

use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;

use crate::log::{lapse, now};
use crate::stage::{Stage, send_all, stays, wait_for};
use crate::support::sentinel::Sentinels;

const MOST: Duration = Duration::from_secs(4);

fn stage(set: &Sentinels) -> Stage {
    Stage::on(format!("{}?max_ttl=4s&fresh=true", set.url()))
}

/// The primary dies, the lock's holder with it; who waits is let in by the promoted one, and not before the quarantine is over.
#[test]
fn the_primary_and_the_holder_are_killed_and_who_waits_is_let_in_late_with_a_higher_fence() {
    let mut set = Sentinels::start();
    let stage = stage(&set);
    let holder = stage.hold(&["--ttl", "4s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "4s", "-v"], &["for", "5"]);
    let cut = now();
    set.servers[0].kill();
    send_all(&holder.both(), SIGKILL);
    assert_eq!(holder.end().code, -9);
    set.wait_for_other_than(0);
    let promoted = now();
    let waited = stage.wait_for_jobs(2);
    println!("    promoted after {:.2} s, the next job after {:.2} s (max_ttl 4 s)", promoted - cut, waited - cut);
    assert!(waited - promoted > lapse(MOST) - 1.5 && waited - promoted < lapse(MOST) + 4.0, "{}", waited - promoted);
    let done = waiter.end();
    assert!(done.code == 0, "{done:?}");
    stage.log().check(2);
}

/// The holder's lease outlives a fail-over if the promoted one knows of it.
#[test]
fn the_primary_is_killed_and_a_holder_that_the_promoted_one_knows_keeps_its_lock() {
    let mut set = Sentinels::start();
    let url = format!("{}?max_ttl=20s&fresh=true", set.url());
    let stage = Stage::on(url);
    let holder = stage.hold(&["--ttl", "20s"], &[]);
    let waiter = stage.wait_behind(&["--ttl", "20s"], &["for", "5"]);
    set.servers[0].kill();
    let next = set.wait_for_other_than(0);
    stays("the first job alone", Duration::from_secs(4), || stage.log().jobs.len() == 1);
    wait_for("a beat on the promoted one", || set.servers[next].ask(&["INFO", "commandstats"]).contains("cmdstat_evalsha"));
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end();
    stage.log().check(2);
}

/// A frozen primary that wakes up acknowledges beats for many seconds before it is told that another was promoted: they renew
/// nothing, or the holder would live on while the promoted one, which never heard of it, lets in the next.
#[test]
fn what_a_thawed_primary_acknowledges_renews_no_lease() {
    let set = Sentinels::start();
    let stage = Stage::on(format!("{}?max_ttl=10s&fresh=true", set.url()));
    stage.run(&[], &["true"]).was_silent(0);
    // What is written from now on the replicas do not get.
    for replica in &set.servers[1..] {
        replica.tell(&["CONFIG", "SET", "masterauth", "wrong"]);
    }
    set.servers[0].tell(&["CLIENT", "KILL", "TYPE", "replica"]);
    let holder = stage.hold(&["--ttl", "10s"], &["stubborn"]);
    let cut = now();
    set.servers[0].freeze();
    let next = set.wait_for_other_than(0);
    let waiter = stage.queue(&["--ttl", "10s", "-v"], &["for", "5"]);
    set.servers[0].thaw();
    let done = holder.end();
    assert!(done.code == 121 && done.err.contains("lost x: redis main of the sentinels at "), "{done:?}");
    let waited = stage.wait_for_jobs(2);
    println!("    the next job {:.2} s after the freeze (max_ttl 10 s)", waited - cut);
    stage.log().dead_in_time(0, cut, Duration::from_secs(10));
    let done = waiter.end();
    assert!(done.code == 0 && done.err.contains("may have forgotten a holder"), "{done:?}");
    stage.log().check(2);
    assert_ne!(set.primary(), 0, "{next} was promoted");
}

/// A demoted primary that is asked all the same refuses; a sentinel that is cut off and names it is outvoted.
#[test]
fn a_sentinel_that_sleeps_through_a_fail_over_is_outvoted() {
    let mut set = Sentinels::start();
    let stage = stage(&set);
    stage.run(&[], &["true"]).was_silent(0);
    set.freeze_sentinel(0);
    set.servers[0].kill();
    wait_for("a promotion", || {
        let named = |number: usize| set.tell_sentinel(number, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
        named(1) == named(2) && named(1).get(1).is_some_and(|port| *port != set.servers[0].port.to_string())
    });
    set.servers[0].start_again();
    let done = stage.run(&["-w", "30s"], &["true"]);
    assert_eq!(done.code, 0, "{done:?}");
    let next = set.primary();
    assert_ne!(next, 0);
    assert!(set.servers[next].ask(&["INFO", "commandstats"]).contains("cmdstat_evalsha"));
    assert!(!set.servers[0].ask(&["INFO", "commandstats"]).contains("cmdstat_evalsha"), "{done:?}");
    set.thaw_sentinel(0);
}
