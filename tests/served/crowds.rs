//! Many at once, on whichever server the scene has.

use std::time::{Duration, Instant};

use crate::scene::scene_of;
use crate::stage::{Running, wait_for};

#[test]
fn ten_waiters_are_served_in_the_order_of_their_coming() {
    // The crowd of the other test is on this machine too.
    let (_server, stage) = scene_of(Duration::from_secs(30));
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
    let (_server, stage) = scene_of(Duration::from_secs(30));
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
