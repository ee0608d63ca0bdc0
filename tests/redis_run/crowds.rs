//! Many at once.

use std::time::{Duration, Instant};

use crate::cost::commands;
use crate::log::now;
use crate::stage::{Running, Stage};
use crate::support::redis::Server;

#[test]
fn ten_waiters_are_served_in_the_order_of_their_coming() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let holder = stage.hold(&[], &[]);
    let script = "echo $VAULTLOCK_FENCE $0 >> $F/order";
    let waiters: Vec<Running> = (0..10)
        .map(|n| {
            let number = n.to_string();
            let waiter = stage.start(stage.command(&["run", "x", "--", "sh", "-c", script, &number]));
            crate::stage::wait_for("its place", || stage.status("x")["waiting"] == n + 1);
            waiter
        })
        .collect();
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    let text = stage.text("order");
    let lines: Vec<(u64, u64)> = text
        .lines()
        .map(|line| line.split_once(' ').map(|(fence, n)| (fence.parse().unwrap(), n.parse().unwrap())).unwrap())
        .collect();
    assert!(lines.iter().map(|(_, n)| *n).eq(0..10), "{lines:?}");
    assert!(lines.is_sorted_by(|a, b| a.0 < b.0), "{lines:?}");
}

#[test]
fn fifty_at_once_each_count_one_and_none_is_lost() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    stage.write("count", "0\n");
    let script = "read n < $F/count; echo $((n + 1)) > $F/count; echo $VAULTLOCK_FENCE >> $F/fences";
    let started = Instant::now();
    let runs: Vec<Running> = (0..50).map(|_| stage.start(stage.command(&["run", "x", "-c", script]))).collect();
    for run in runs {
        run.end().was_silent(0);
    }
    println!("    fifty jobs one after the other: {:.2?}", started.elapsed());
    assert_eq!(stage.text("count"), "50\n");
    let text = stage.text("fences");
    let fences: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(fences.len() == 50 && fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

#[test]
fn of_fifty_that_will_not_wait_one_runs_and_the_others_leave_at_once() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let started = Instant::now();
    let script = "echo ran >> $F/ran; while [ ! -e $F/go ]; do sleep 0.02; done";
    let mut runs: Vec<Running> = (0..50).map(|_| stage.start(stage.command(&["run", "-n", "x", "-c", script]))).collect();
    let mut over = 0;
    crate::stage::wait_for("49 to leave", || {
        over = runs.iter_mut().filter_map(|run| run.is_over().then_some(())).count();
        over == 49
    });
    let took = started.elapsed();
    println!("    49 refusals in {took:.2?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    stage.let_go();
    let mut codes: Vec<i32> = runs.into_iter().map(|run| run.end().code).collect();
    codes.sort_unstable();
    assert_eq!((codes[0], codes[1], codes[49]), (0, 75, 75));
    assert_eq!(stage.text("ran"), "ran\n");
}

#[test]
fn five_hundred_are_served_in_the_order_of_their_tickets() {
    const CROWD: usize = 500;
    let server = Server::start();
    let stage = Stage::on(format!("{}?max_ttl=30s&fresh=true", server.url()));
    let holder = stage.hold(&["--ttl", "30s"], &[]);
    let start = |number: usize| {
        let label = number.to_string();
        let words = ["run", "--ttl", "30s", "--label", &label, "x", "--", "sh", "-c", "echo $0 >> $F/order", &label];
        stage.start(stage.command(&words))
    };
    let waiters: Vec<Running> = (0..CROWD).map(start).collect();
    let queue = server.ask(&["KEYS", "*:queue"]);
    let lock = queue.strip_suffix(":queue").expect("one lock's queue");
    crate::stage::wait_for("all to queue", || server.ask(&["ZCARD", &queue]) == CROWD.to_string());
    // One append a join, the holder's with them, however often somebody asked.
    assert_eq!(server.ask(&["HGET", lock, "seq"]), (CROWD + 1).to_string());
    let label = |member: &str| {
        let ticket = server.ask(&["HGET", lock, &format!("t:{}", member.split_once(':').unwrap().1)]);
        let ticket: serde_json::Value = serde_json::from_str(&ticket).unwrap();
        ticket["who"]["label"].as_str().unwrap().to_owned()
    };
    let labels: Vec<String> = server.ask(&["ZRANGE", &queue, "0", "-1"]).split(' ').map(label).collect();
    let (before, from) = (commands(&server), now());
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    let (asked, beats) = ((commands(&server) - before) as f64, (now() - from) / 6.0);
    println!("    500 hand-overs: {:.2} commands each with beats, {beats:.1} beats long", asked / CROWD as f64);
    assert!(asked <= CROWD as f64 * (6.0 + beats + 1.0), "{asked}");
    assert_eq!(stage.text("order").lines().collect::<Vec<&str>>(), labels);
}
