//! A lock's slot gets another home: by a move, or because its primary died.

use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;

use crate::log::{lapse, now};
use crate::stage::{Stage, send_all, stays, wait_for};
use crate::support::cluster::Cluster;

fn stage(cluster: &Cluster, max_ttl: u64) -> Stage {
    Stage::on(format!("{}?max_ttl={max_ttl}s&fresh=true", cluster.url()))
}

#[test]
fn a_slot_moves_while_its_lock_is_held_and_waited_for() {
    let cluster = Cluster::start();
    let stage = stage(&cluster, 4);
    let slot = cluster.slot("x");
    let from = cluster.owner(slot);
    let to = cluster.owner((slot + 16384 / 2) % 16384);
    assert_ne!(from, to);
    let holder = stage.hold(&["--ttl", "4s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "4s"], &["for", "5"]);
    cluster.begin_move(slot, from, to);
    cluster.end_move(slot, from, to);
    stays("the first job alone", Duration::from_secs(6), || stage.log().jobs.len() == 1);
    assert_eq!(cluster.owner(slot), to);
    assert_eq!(stage.status("x")["waiting"], 1);
    stage.let_go();
    holder.end();
    stage.wait_for_jobs(2);
    let done = waiter.end();
    assert_eq!(done.code, 0, "{done:?}");
    stage.log().check(2);
    // A lock nobody used before comes along in the middle of a move.
    let name = (0..).map(|n| format!("m{n}")).find(|name| cluster.owner(cluster.slot(name)) == from).unwrap();
    let slot = cluster.slot(&name);
    cluster.begin_move(slot, from, to);
    let late = stage.start(stage.command(&["run", "-v", "--ttl", "4s", &name, "--", "true"]));
    wait_for("an answer from the move", || cluster.nodes[from].ask(&["INFO", "errorstats"]).contains("errorstat_ASK"));
    cluster.end_move(slot, from, to);
    let done = late.end();
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn the_primary_and_the_holder_are_killed_and_who_waits_is_let_in_late() {
    let mut cluster = Cluster::start();
    let stage = stage(&cluster, 4);
    let slot = cluster.slot("x");
    let home = cluster.owner(slot);
    let holder = stage.hold(&["--ttl", "4s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "4s", "-v"], &["for", "5"]);
    let cut = now();
    cluster.nodes[home].kill();
    send_all(&holder.both(), SIGKILL);
    assert_eq!(holder.end().code, -9);
    wait_for("another primary", || cluster.owner(slot) != home);
    let promoted = now();
    let waited = stage.wait_for_jobs(2);
    println!("    promoted after {:.2} s, the next job after {:.2} s (max_ttl 4 s)", promoted - cut, waited - cut);
    let after = waited - promoted;
    assert!(after > lapse(Duration::from_secs(4)) - 2.0 && after < lapse(Duration::from_secs(4)) + 5.0, "{after}");
    let done = waiter.end();
    assert_eq!(done.code, 0, "{done:?}");
    stage.log().check(2);
    // The other locks of that node: who comes first on it has waited for all.
    let name = cluster.name_at(cluster.owner(slot));
    let begun = now();
    assert_eq!(stage.say(&["run", "-n", &name, "--", "true"]).code, 0);
    assert!(now() - begun < 2.0);
}

/// As with sentinels: a primary that sleeps through its deposition acknowledges beats that renew nothing.
#[test]
fn what_a_thawed_primary_acknowledges_renews_no_lease() {
    let cluster = Cluster::start();
    let stage = stage(&cluster, 10);
    let slot = cluster.slot("x");
    let home = cluster.owner(slot);
    stage.run(&[], &["true"]).was_silent(0);
    // What is written from now on its replica does not get.
    for node in &cluster.nodes {
        node.tell(&["CONFIG", "SET", "masterauth", "wrong"]);
    }
    cluster.nodes[home].tell(&["CLIENT", "KILL", "TYPE", "replica"]);
    let holder = stage.hold(&["--ttl", "10s"], &["stubborn"]);
    cluster.nodes[home].freeze();
    let cut = now();
    let others = |cluster: &Cluster| cluster.owner_but(slot, home);
    wait_for("another primary", || others(&cluster) != home);
    let waiter = stage.queue(&["--ttl", "10s", "-v"], &["for", "5"]);
    cluster.nodes[home].thaw();
    let done = holder.end();
    assert!(done.code == 121 && done.err.contains("lost x: the redis cluster at "), "{done:?}");
    let waited = stage.wait_for_jobs(2);
    println!("    the next job {:.2} s after the freeze (max_ttl 10 s)", waited - cut);
    stage.log().dead_in_time(0, cut, Duration::from_secs(10));
    let done = waiter.end();
    assert_eq!(done.code, 0, "{done:?}");
    stage.log().check(2);
}
