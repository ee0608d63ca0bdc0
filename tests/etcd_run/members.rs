//! A cluster of three while jobs run: one member after the other dies and freezes, the leader above all.

use std::time::Duration;

use crate::log::now;
use crate::stage::{Stage, stays, wait_for};
use crate::support::etcd::Etcd;

/// An election takes a second or two; a beat, a request and the stop must fit beside it.
const MOST: Duration = Duration::from_secs(12);

#[test]
fn the_leader_dies_and_the_job_does_not_notice() {
    let mut server = Etcd::three();
    let stage = Stage::on(server.settled(MOST));
    let holder = stage.hold(&["--ttl", "12s"], &[]);
    let waiter = stage.wait_behind(&["--ttl", "12s"], &["for", "5"]);
    for freeze in [false, true] {
        let leader = server.leader();
        if freeze {
            server.freeze_member(leader)
        } else {
            server.kill_member(leader)
        }
        stays("the job alone", Duration::from_secs(6), || stage.log().jobs.len() == 1 && !stage.log().jobs[0].ended);
        if freeze {
            server.thaw()
        } else {
            server.start_again()
        }
        stays("the job alone", Duration::from_secs(2), || stage.log().jobs.len() == 1 && !stage.log().jobs[0].ended);
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn with_one_member_down_the_others_serve() {
    let mut server = Etcd::three();
    let url = server.settled(MOST);
    server.kill_member(0);
    // Whoever named the dead one first.
    let stage = Stage::on(url);
    wait_for("an election", || stage.run(&["-n"], &["true"]).code == 0);
    let holder = stage.hold(&[], &[]);
    let waiter = stage.wait_behind(&[], &["for", "5"]);
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn without_a_majority_the_job_ends_inside_its_lease_and_the_next_waits_for_one() {
    let mut server = Etcd::three();
    let ttl = Duration::from_secs(2);
    let stage = Stage::on(server.settled(ttl));
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let cut = now();
    let dead = [server.leader(), (server.leader() + 1) % 3];
    dead.iter().for_each(|member| server.kill_member(*member));
    let done = holder.end();
    // It beats for as long as the majority lives.
    stage.log().dead_in_time(0, now(), ttl);
    assert_eq!(done.code, 121, "{}", done.err);
    println!("    the job was over {:.2} s after", now() - cut);
    stage.run(&["--ttl", "1s"], &["true"]).said_one_line(125, &["the job was not run"]);
    server.start_again();
    wait_for("a majority", || stage.run(&["--ttl", "2s", "-w", "5"], &["true"]).code == 0);
    stage.log().check(1);
}

#[test]
fn a_cluster_that_was_wiped_under_a_job_ends_it_and_lets_nobody_in_meanwhile() {
    let mut server = Etcd::start();
    let most = Duration::from_secs(3);
    let stage = Stage::on(server.settled(most));
    let holder = stage.hold(&[], &["stubborn"]);
    let cut = now();
    server.wipe();
    let waiter = stage.queue(&["-v"], &["for", "5"]);
    let done = holder.end();
    assert_eq!(done.code, 121, "{}", done.err);
    let waited = stage.wait_for_jobs(2) - cut;
    println!("    after a wipe: {waited:.2} s (max_ttl 3 s)");
    let done = waiter.end();
    assert!(done.code == 0 && done.err.contains("may have forgotten a holder"), "{}", done.err);
    stage.log().check(2);
}
