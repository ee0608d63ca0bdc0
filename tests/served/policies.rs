//! Readers and writers, slots, priorities, groups and rates, on whichever server the scene has.

use std::time::{Duration, Instant};

use crate::scene::{scene, scene_of};
use crate::stage::{Running, Stage, stays, wait_for};

/// Under the lock x: says in `names` when it is in, and stays until it is let go by its own name.
fn stay(stage: &Stage, options: &[&str], name: &str) -> Running {
    let script = format!("echo {name} >> $F/names; while [ ! -e $F/go-{name} ]; do sleep 0.01; done");
    stage.start(stage.command(&[&["run"], options, &["x", "--", "sh", "-c", &script]].concat()))
}

fn hold(stage: &Stage, options: &[&str], name: &str) -> Running {
    let running = stay(stage, options, name);
    wait_for(name, || is_in(stage, name));
    running
}

fn wait_behind(stage: &Stage, options: &[&str], name: &str) -> Running {
    let before = stage.status("x")["waiting"].as_u64().unwrap();
    let running = stay(stage, options, name);
    wait_for("a waiter", || stage.status("x")["waiting"].as_u64().unwrap() > before);
    running
}

fn is_in(stage: &Stage, name: &str) -> bool {
    stage.text("names").lines().any(|line| line == name)
}

fn end(stage: &Stage, running: Running, name: &str) {
    stage.write(&format!("go-{name}"), "");
    running.end().was_silent(0);
}

#[test]
fn readers_go_together_and_a_waiting_writer_before_later_readers() {
    let (_server, stage) = scene();
    let first = hold(&stage, &["-s"], "first");
    let second = hold(&stage, &["-s"], "second");
    let writer = wait_behind(&stage, &[], "writer");
    let third = wait_behind(&stage, &["-s"], "third");
    let fourth = wait_behind(&stage, &["-s"], "fourth");
    end(&stage, first, "first");
    // Longer than a lease: the writer beats, so it holds them back for as long as it waits.
    stays("the readers behind the writer wait", Duration::from_secs(5), || !is_in(&stage, "third"));
    end(&stage, second, "second");
    wait_for("the writer", || is_in(&stage, "writer"));
    assert!(!is_in(&stage, "third"));
    let start = Instant::now();
    end(&stage, writer, "writer");
    wait_for("both readers", || is_in(&stage, "third") && is_in(&stage, "fourth"));
    println!("    from the writer's word to end to both readers: {:?}", start.elapsed());
    end(&stage, third, "third");
    end(&stage, fourth, "fourth");
    assert_eq!(stage.say(&["status", "x"]).out, "x: free\n");
}

#[test]
fn slots_are_shared_and_kept_ones_are_for_the_urgent() {
    let (_server, stage) = scene();
    let slots = ["-j", "2", "--keep", "1:5"];
    let first = hold(&stage, &slots, "first");
    stage.run(&[&slots[..], &["-n"]].concat(), &["true"]).said_one_line(75, &["1 slot is kept for priority 5 and above"]);
    let second = wait_behind(&stage, &slots, "second");
    let urgent = hold(&stage, &[&slots[..], &["--priority", "5", "--aging", "1ms"]].concat(), "urgent");
    assert_eq!((&stage.status("x")["slots"], stage.status("x")["holders"].as_array().unwrap().len()), (&2.into(), 2));
    end(&stage, urgent, "urgent");
    stays("the kept slot stays free", Duration::from_secs(2), || !is_in(&stage, "second"));
    end(&stage, first, "first");
    wait_for("the second", || is_in(&stage, "second"));
    end(&stage, second, "second");
}

#[test]
fn the_urgent_go_first_and_preempt_within_a_beat() {
    let (_server, stage) = scene();
    let holder = hold(&stage, &["--priority", "1"], "holder");
    let low = wait_behind(&stage, &[], "low");
    let equal = wait_behind(&stage, &["--priority", "1", "--preempt"], "equal");
    let status = stage.status("x");
    assert_eq!((&status["queue"][0]["priority"], &status["holders"][0]["asked_to_stop"]), (&1.into(), &serde_json::Value::Null));
    let start = Instant::now();
    let urgent = hold(&stage, &["--priority", "2", "--preempt"], "urgent");
    let took = start.elapsed();
    println!("    from the start of one that preempts to its job, at a ttl of 3 s: {took:?}");
    // A lease that nobody renews is dead after 3.8 s, so it was asked.
    assert!(took < Duration::from_secs(3), "{took:?}");
    holder.end().said_one_line(121, &["lost x: it was taken by preemption; stopping the job"]);
    end(&stage, urgent, "urgent");
    wait_for("the equal", || is_in(&stage, "equal"));
    assert!(!is_in(&stage, "low"));
    end(&stage, equal, "equal");
    wait_for("the low", || is_in(&stage, "low"));
    end(&stage, low, "low");
}

/// What a user waits at the default ttl: a beat of 6 s at the most.
#[test]
fn a_holder_hears_of_preemption_within_a_beat_of_the_default_ttl() {
    let (_server, stage) = scene_of(Duration::from_secs(30));
    let holder = hold(&stage, &[], "holder");
    let start = Instant::now();
    let urgent = hold(&stage, &["--priority", "1", "--preempt"], "urgent");
    let took = start.elapsed();
    println!("    from the start of one that preempts to its job, at a ttl of 30 s: {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(holder.end().code, 121);
    end(&stage, urgent, "urgent");
}

#[test]
fn the_newest_of_a_group_wins_and_a_crowd_is_as_large_as_one_likes() {
    let (_server, stage) = scene();
    let holder = hold(&stage, &["--group", "main"], "holder");
    let old = wait_behind(&stage, &["--group", "main"], "old");
    stage.run(&["--max-waiters", "1"], &["true"]).said_one_line(75, &["x is busy", "1 wait already (--max-waiters)"]);
    let newer = stay(&stage, &["--supersede", "waiting", "--group", "main"], "newer");
    old.end().said_one_line(76, &["x: it was superseded while it waited"]);
    let newest = stay(&stage, &["--supersede", "running", "--group", "main"], "newest");
    newer.end().said_one_line(76, &["x: it was superseded while it waited"]);
    holder.end().said_one_line(76, &["lost x: it was superseded; stopping the job"]);
    wait_for("the newest", || is_in(&stage, "newest"));
    end(&stage, newest, "newest");
    assert_eq!(stage.text("names"), "holder\nnewest\n");
}

#[test]
fn of_ten_that_come_at_once_one_is_left() {
    let (_server, stage) = scene();
    let holder = hold(&stage, &[], "holder");
    let mut all: Vec<Running> =
        (0..10).map(|n| stay(&stage, &["--supersede", "waiting", "--group", "g"], &format!("number{n}"))).collect();
    wait_for("nine to give up", || all.iter_mut().map(|one| usize::from(!one.is_over())).sum::<usize>() <= 1);
    (0..10).for_each(|n| stage.write(&format!("go-number{n}"), ""));
    end(&stage, holder, "holder");
    let mut codes: Vec<i32> = all.into_iter().map(|one| one.end().code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 76, 76, 76, 76, 76, 76, 76, 76, 76]);
}

#[test]
fn a_rate_is_kept_whoever_comes() {
    let (_server, stage) = scene();
    let start = Instant::now();
    for _ in 0..2 {
        stage.run(&["--rate", "2/3s"], &["true"]).was_silent(0);
    }
    stage.run(&["--rate", "2/3s", "-n"], &["true"]).said_one_line(75, &["the rate is 2 in 3s; the next is due in"]);
    stage.run(&["-n"], &["true"]).said_one_line(75, &["the rate is 2 in 3s"]);
    stage.run(&[], &["true"]).was_silent(0);
    let third = start.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&third), "{third:?}");
}

#[test]
fn a_lock_is_kept_for_its_time_although_everything_is_killed() {
    let (_server, stage) = scene();
    let started = Instant::now();
    let holder = hold(&stage, &["--min-hold", "5s", "--ttl", "1s"], "first");
    let waiter = wait_behind(&stage, &["--ttl", "1s"], "second");
    crate::stage::send_all(&holder.both(), nix::sys::signal::SIGKILL);
    stays("it is kept", Duration::from_secs(3), || !is_in(&stage, "second"));
    wait_for("the waiter", || is_in(&stage, "second"));
    let took = started.elapsed();
    assert!((Duration::from_millis(4_900)..Duration::from_secs(9)).contains(&took), "{took:?}");
    end(&stage, waiter, "second");
}

#[test]
fn a_job_is_given_more_time_from_elsewhere_before_its_next_beat() {
    let (_server, stage) = scene();
    let started = Instant::now();
    let holder = hold(&stage, &["--max-run", "2s"], "first");
    let done = stage.say(&["extend", "x", "--by", "2s"]);
    assert!(done.code == 0 && done.out.contains("may run for 4s"), "{done:?}");
    assert_eq!(holder.end().code, 124);
    let took = started.elapsed();
    assert!((Duration::from_millis(3_950)..Duration::from_secs(8)).contains(&took), "{took:?}");
}
