//! Many at once.

use std::time::{Duration, Instant};

use crate::basics::scene;
use crate::stage::{Running, Stage, wait_for};
use crate::support::etcd::Etcd;
use crate::support::proxy::Proxy;

#[test]
fn ten_waiters_are_served_in_the_order_of_their_coming() {
    let (_server, stage) = scene();
    let holder = stage.hold(&[], &[]);
    let script = "echo $VAULTLOCK_FENCE $0 >> $F/order";
    let waiters: Vec<Running> = (0..10)
        .map(|n| {
            let waiter = stage.start(stage.command(&["run", "x", "--", "sh", "-c", script, &n.to_string()]));
            wait_for("its place", || stage.status("x")["waiting"] == n + 1);
            waiter
        })
        .collect();
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    let text = stage.text("order");
    let line = |line: &str| line.split_once(' ').map(|(fence, n)| (fence.parse().unwrap(), n.parse().unwrap())).unwrap();
    let lines: Vec<(u64, u64)> = text.lines().map(line).collect();
    assert!(lines.iter().map(|(_, n)| *n).eq(0..10), "{lines:?}");
    assert!(lines.is_sorted_by(|a, b| a.0 < b.0), "{lines:?}");
}

#[test]
fn two_hundred_at_once_each_count_one_and_none_is_lost() {
    // On a busy machine a beat of so many may be seconds late.
    let server = Etcd::start();
    let stage = Stage::on(server.settled(Duration::from_secs(30)));
    stage.write("count", "0\n");
    let script = "read n < $F/count; echo $((n + 1)) > $F/count; echo $VAULTLOCK_FENCE >> $F/fences";
    let started = Instant::now();
    let runs: Vec<Running> = (0..200).map(|_| stage.start(stage.command(&["run", "x", "-c", script]))).collect();
    for many in (25..=200).step_by(25) {
        wait_for("the next of them", || stage.text("fences").lines().count() >= many);
    }
    for run in runs {
        run.end().was_silent(0);
    }
    println!("    two hundred jobs one after the other: {:.2?}", started.elapsed());
    assert_eq!(stage.text("count"), "200\n");
    let text = stage.text("fences");
    let fences: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

#[test]
fn a_lock_handed_on_costs_three_requests() {
    let server = Etcd::start();
    let proxy = Proxy::before(server.port);
    let url = server.settled(Duration::from_secs(30)).replace(&server.port.to_string(), &proxy.port.to_string());
    let stage = Stage::on(url);
    // Seldom enough beats that none is among what is counted, or few.
    let long: &[&str] = &["--ttl", "30s"];
    let holder = stage.hold(long, &[]);
    let waiters: Vec<_> = (0..10).map(|_| stage.wait_behind(long, &["for", "1"])).collect();
    let (before, started) = (proxy.requests(), Instant::now());
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    let (asked, beats) = (proxy.requests() - before, started.elapsed().as_secs_f64() / 6.0);
    println!("    ten hand-overs: {asked} requests in {beats:.1} beats");
    // And the holder's last one; and those who joined last may just be about to listen.
    assert!(asked as f64 <= 10.0 * 3.0 + 1.0 + 3.0 + 10.0 * beats.floor(), "{asked}");
}
