//! An ensemble of three while jobs run: its leader dies and freezes, the majority is lost.

use std::time::Duration;

use crate::log::now;
use crate::stage::{Stage, stays, wait_for};
use crate::support::zookeeper::ZooKeeper;

/// An election takes a second or two and more on a busy machine; a beat, a request and the stop must fit beside it.
const MOST: Duration = Duration::from_secs(20);

#[test]
fn the_leader_dies_and_freezes_and_the_job_does_not_notice_but_without_a_majority_it_ends() {
    let mut server = ZooKeeper::three();
    let stage = Stage::on(server.settled(MOST));
    let done = stage.say(&["doctor"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    for part in ["3 of the 3 members", "keeps the whole promise", "is everybody's"] {
        assert!(done.out.contains(part), "{part:?} is missing in {}", done.out);
    }
    let holder = stage.hold(&["--ttl", "20s"], &[]);
    let waiter = stage.wait_behind(&["--ttl", "20s"], &["for", "5"]);
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
            let done = stage.say(&["doctor"]);
            let named = format!("127.0.0.1:{} does not", server.ports()[leader]);
            assert!(done.code == 1 && done.out.contains(&named), "{named} is missing in {}", done.out);
            server.start_again()
        }
    }
    stage.let_go();
    holder.end().was_silent(0);
    waiter.end().was_silent(0);
    stage.log().check(2);

    let ttl = Duration::from_secs(2);
    let stage = Stage::on(server.settled(ttl));
    let holder = stage.hold(&["--ttl", "2s"], &["stubborn"]);
    let dead = [server.leader(), (server.leader() + 1) % 3];
    dead.iter().for_each(|member| server.kill_member(*member));
    let done = holder.end();
    // It beats for as long as the majority lives.
    stage.log().dead_in_time(0, now(), ttl);
    assert_eq!(done.code, 121, "{}", done.err);
    stage.run(&["--ttl", "1s"], &["true"]).said_one_line(125, &["the job was not run"]);
    server.start_again();
    wait_for("a majority", || stage.run(&["--ttl", "2s", "-w", "5"], &["true"]).code == 0);
    stage.log().check(1);
}

/// It goes on answering its clients' pings: what it can't get is a majority for a write.
#[test]
fn a_member_that_is_cut_off_renews_no_lease() {
    let server = ZooKeeper::three_apart();
    let ttl = Duration::from_secs(3);
    let url = server.settled(ttl);
    let (hosts, rest) = url.strip_prefix("zk://").unwrap().split_once('/').unwrap();
    let ports = server.ports();
    let alone = (server.leader() + 1) % 3;
    let others: Vec<&str> = hosts.split(',').enumerate().filter(|(at, _)| *at != alone).map(|(_, host)| host).collect();
    let stage = Stage::on(format!("zk://{}/{rest}", others.join(",")));
    let through = format!("zk://127.0.0.1:{}/{rest}", ports[alone]);
    let holder = stage.hold(&["--store", &through, "--ttl", "3s"], &["stubborn"]);
    let waiter = stage.wait_behind(&["--ttl", "3s"], &["for", "5"]);
    server.cut_off(alone);
    let cut = now();
    let done = holder.end();
    stage.log().dead_in_time(0, cut, ttl);
    assert_eq!(done.code, 121, "{}", done.err);
    println!("    after it was cut off: {:.2} s", stage.wait_for_jobs(2) - cut);
    waiter.end().was_silent(0);
    stage.log().check(2);
}

#[test]
fn a_server_that_was_wiped_under_a_job_ends_it_and_lets_nobody_in_meanwhile() {
    let mut server = ZooKeeper::start();
    let stage = Stage::on(server.settled(Duration::from_secs(3)));
    let holder = stage.hold(&[], &["stubborn"]);
    let cut = now();
    server.wipe();
    let waiter = stage.queue(&["-v"], &["for", "5"]);
    let done = holder.end();
    assert_eq!(done.code, 121, "{}", done.err);
    println!("    after a wipe: {:.2} s (max_ttl 3 s)", stage.wait_for_jobs(2) - cut);
    let done = waiter.end();
    assert!(done.code == 0 && done.err.contains("may have forgotten a holder"), "{}", done.err);
    stage.log().check(2);
}
