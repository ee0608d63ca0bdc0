//! Readers and writers, slots, priorities, groups and rates on the file store, as users meet them.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGKILL;

use crate::vault::{Running, Vault, is_alive, send_all, stays, wait_for};

/// Under the lock x: says in `log` when it is in, and stays until it is let go by its own name.
fn stay(vault: &Vault, options: &[&str], name: &str) -> Running {
    let script = format!("echo {name} >> $F/log; while [ ! -e $F/go-{name} ]; do sleep 0.01; done");
    vault.spawn(options, "x", &["sh", "-c", &script])
}

/// The same, returning once it is in.
fn hold(vault: &Vault, options: &[&str], name: &str) -> Running {
    let running = stay(vault, options, name);
    wait_for(name, || is_in(vault, name));
    running
}

/// The same, returning once it waits.
fn wait_behind(vault: &Vault, options: &[&str], name: &str) -> Running {
    let before = vault.status("x")["waiting"].as_u64().unwrap();
    let running = stay(vault, options, name);
    vault.wait_for_waiting("x", before as usize + 1);
    running
}

fn is_in(vault: &Vault, name: &str) -> bool {
    vault.text("log").lines().any(|line| line == name)
}

fn end(vault: &Vault, running: Running, name: &str) {
    vault.let_go(name);
    running.end().was_silent(0);
}

#[test]
fn readers_hold_it_together_and_a_waiting_writer_goes_before_later_readers() {
    let vault = Vault::new();
    let first = hold(&vault, &["-s"], "first");
    let second = hold(&vault, &["--shared"], "second");
    assert!(vault.say(&["status"]).out.starts_with("x: held by 2 that share it\n"));
    let writer = wait_behind(&vault, &[], "writer");
    let third = wait_behind(&vault, &["-s"], "third");
    let fourth = wait_behind(&vault, &["-s"], "fourth");
    vault.run(&["-s", "-n"], "x", &["true"]).said_one_line(75, &["x is busy", "held by"]);
    end(&vault, first, "first");
    stays("the readers behind the writer wait", Duration::from_millis(1500), || !is_in(&vault, "third"));
    end(&vault, second, "second");
    wait_for("the writer", || is_in(&vault, "writer"));
    assert!(!is_in(&vault, "third"));
    vault.run(&["-s", "-n"], "x", &["true"]).said_one_line(75, &["x is busy"]);
    end(&vault, writer, "writer");
    wait_for("both readers", || is_in(&vault, "third") && is_in(&vault, "fourth"));
    vault.run(&["-x", "-n"], "x", &["true"]).said_one_line(75, &["x is busy", "and 1 more"]);
    end(&vault, third, "third");
    end(&vault, fourth, "fourth");
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn as_many_as_there_are_slots_hold_it_and_of_two_opinions_the_smaller_counts() {
    let vault = Vault::new();
    let first = hold(&vault, &["-j", "3"], "first");
    let second = hold(&vault, &["--slots", "2"], "second");
    assert_eq!(vault.status("x")["slots"], 2);
    assert!(vault.say(&["status"]).out.starts_with("x: held in 2 of 2 slots\n"));
    vault.run(&["-j", "3", "-n"], "x", &["true"]).said_one_line(75, &["x is busy", "and 1 more"]);
    let third = wait_behind(&vault, &["-j", "3"], "third");
    end(&vault, second, "second");
    wait_for("the third", || is_in(&vault, "third"));
    let fourth = hold(&vault, &["-j", "3"], "fourth");
    let alone = wait_behind(&vault, &[], "alone");
    for (running, name) in [(first, "first"), (third, "third")] {
        end(&vault, running, name);
        vault.run(&["-j", "3", "-n"], "x", &["true"]).said_one_line(75, &["x is busy"]);
    }
    end(&vault, fourth, "fourth");
    wait_for("who asked for no slots", || is_in(&vault, "alone"));
    end(&vault, alone, "alone");
}

#[test]
fn the_more_urgent_go_first_and_aging_says_by_how_much() {
    let vault = Vault::new();
    let holder = hold(&vault, &[], "holder");
    let low = wait_behind(&vault, &["--priority", "-1"], "low");
    let plain = wait_behind(&vault, &[], "plain");
    let came = Instant::now();
    wait_for("more than nine milliseconds", || came.elapsed() > Duration::from_millis(20));
    let aged = wait_behind(&vault, &["--priority", "9", "--aging", "1ms"], "aged");
    let high = wait_behind(&vault, &["--priority=5"], "high");
    let status = vault.status("x");
    let order: Vec<i64> = status["queue"].as_array().unwrap().iter().map(|row| row["priority"].as_i64().unwrap()).collect();
    assert_eq!(order, [5, 0, 9, -1], "nine milliseconds are less than it came later");
    assert_eq!((&status["holders"][0]["priority"], &status["holders"][0]["effective_priority"]), (&0.into(), &9.into()));
    let text = vault.say(&["status"]).out;
    assert!(text.contains("alive, priority 0, raised to 9 by who waits\n") && text.contains(", priority -1\n"), "{text}");
    for name in ["high", "plain", "aged", "low"] {
        vault.let_go(name);
    }
    end(&vault, holder, "holder");
    for one in [low, plain, aged, high] {
        one.end().was_silent(0);
    }
    assert_eq!(vault.text("log"), "holder\nhigh\nplain\naged\nlow\n");
}

#[test]
fn a_less_urgent_holder_is_preempted_at_once_with_its_own_words() {
    let vault = Vault::new();
    let holder = hold(&vault, &["--priority", "1"], "holder");
    let equal = wait_behind(&vault, &["--priority", "1", "--preempt"], "equal");
    stays("an equal is not asked", Duration::from_millis(300), || vault.status("x")["holders"][0]["asked_to_stop"].is_null());
    vault.run(&["--priority", "2", "--preempt", "-n"], "x", &["true"]).said_one_line(75, &["x is busy"]);
    let start = Instant::now();
    let urgent = hold(&vault, &["--priority", "2", "--preempt"], "urgent");
    println!("from the start of one that preempts to its job: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3), "a bell, not a beat of 6 s: {:?}", start.elapsed());
    holder.end().said_one_line(121, &["lost x: it was taken by preemption; stopping the job"]);
    end(&vault, urgent, "urgent");
    wait_for("the equal", || is_in(&vault, "equal"));
    end(&vault, equal, "equal");
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_job_that_does_not_obey_is_killed_before_the_urgent_one_goes_in() {
    let vault = Vault::new();
    let script = "trap '' TERM; echo holder >> $F/log; while :; do sleep 0.01; date +%s%N >> $F/alive; done";
    let holder = vault.spawn(&["--kill-after", "1s"], "x", &["sh", "-c", script]);
    wait_for("the holder", || is_in(&vault, "holder"));
    let urgent = vault.spawn(&["--priority", "2", "--preempt"], "x", &["sh", "-c", "date +%s%N > $F/began"]);
    wait_for("the request", || vault.status("x")["holders"][0]["asked_to_stop"] == "preempted");
    assert!(vault.say(&["status"]).out.contains("asked to stop for one of a higher priority"));
    assert_eq!(holder.end().code, 121);
    urgent.end().was_silent(0);
    // The last line may be cut off where its writer was killed.
    let time = |file: &str| -> u64 { vault.text(file).rsplit_once('\n').unwrap().0.lines().last().unwrap().parse().unwrap() };
    assert!(time("alive") < time("began"));
}

#[test]
fn a_crowd_is_as_large_as_one_likes() {
    let vault = Vault::new();
    vault.run(&["--max-waiters", "0"], "x", &["true"]).was_silent(0);
    let holder = hold(&vault, &[], "holder");
    vault.run(&["--max-waiters", "0"], "x", &["true"]).said_one_line(75, &["x is busy", "0 wait already", "held by"]);
    let waiter = wait_behind(&vault, &["--max-waiters", "1"], "waiter");
    vault.run(&["--max-waiters", "1", "-E", "9"], "x", &["true"]).said_one_line(9, &["1 wait already (--max-waiters)"]);
    end(&vault, holder, "holder");
    wait_for("the waiter", || is_in(&vault, "waiter"));
    end(&vault, waiter, "waiter");
}

#[test]
fn the_newest_of_a_group_wins() {
    let vault = Vault::new();
    let holder = hold(&vault, &["--group", "main"], "holder");
    let old = wait_behind(&vault, &["--group", "main"], "old");
    let other = wait_behind(&vault, &["--group", "other"], "other");
    vault.run(&["-n", "--supersede", "running", "--group", "main"], "x", &["true"]).said_one_line(75, &["x is busy"]);
    assert_eq!(vault.status("x")["waiting"], 2, "who does not wait replaces nobody");
    let newer = stay(&vault, &["--supersede", "waiting", "--group", "main"], "newer");
    old.end().said_one_line(76, &["x: it was superseded while it waited"]);
    let newest = stay(&vault, &["--supersede", "running", "--group", "main"], "newest");
    newer.end().said_one_line(76, &["x: it was superseded while it waited"]);
    holder.end().said_one_line(76, &["lost x: it was superseded; stopping the job"]);
    wait_for("the other group's", || is_in(&vault, "other"));
    end(&vault, other, "other");
    wait_for("the newest", || is_in(&vault, "newest"));
    end(&vault, newest, "newest");
    assert_eq!(vault.text("log"), "holder\nother\nnewest\n");
}

#[test]
fn of_ten_that_come_at_once_one_is_left() {
    let vault = Vault::new();
    let holder = hold(&vault, &[], "holder");
    let mut all: Vec<Running> =
        (0..10).map(|n| stay(&vault, &["--supersede", "waiting", "--group", "g"], &format!("number{n}"))).collect();
    wait_for("nine to give up", || all.iter_mut().map(|one| usize::from(!one.is_over())).sum::<usize>() <= 1);
    (0..10).for_each(|n| vault.let_go(&format!("number{n}")));
    end(&vault, holder, "holder");
    let mut codes: Vec<i32> = all.into_iter().map(|one| one.end().code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 76, 76, 76, 76, 76, 76, 76, 76, 76]);
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_kept_slot_is_for_the_urgent_who_need_not_wait_for_the_others() {
    let vault = Vault::new();
    let slots = ["-j", "2", "--keep", "1:5"];
    let first = hold(&vault, &slots, "first");
    vault.run(&[&slots[..], &["-n"]].concat(), "x", &["true"]).said_one_line(75, &["1 slot is kept for priority 5 and above"]);
    let second = wait_behind(&vault, &slots, "second");
    let plain = wait_behind(&vault, &["-j", "2"], "plain");
    let urgent = hold(&vault, &[&slots[..], &["--priority", "5", "--aging", "1ms"]].concat(), "urgent");
    end(&vault, first, "first");
    wait_for("the second", || is_in(&vault, "second"));
    end(&vault, urgent, "urgent");
    stays("the kept slot stays free", Duration::from_millis(1500), || !is_in(&vault, "plain"));
    end(&vault, second, "second");
    wait_for("the last", || is_in(&vault, "plain"));
    end(&vault, plain, "plain");
}

#[test]
fn a_rate_is_kept_whoever_comes() {
    let vault = Vault::new();
    let start = Instant::now();
    for _ in 0..2 {
        vault.run(&["--rate", "2/3s"], "x", &["true"]).was_silent(0);
    }
    vault
        .run(&["--rate", "2/3s", "-n"], "x", &["true"])
        .said_one_line(75, &["x is busy: the rate is 2 in 3s; the next is due in"]);
    vault.run(&["-n"], "x", &["true"]).said_one_line(75, &["the rate is 2 in 3s"]);
    vault.run(&["--rate", "2/3s"], "x", &["true"]).was_silent(0);
    let third = start.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&third), "{third:?}");
}

#[test]
fn a_lock_is_kept_for_its_time_although_everything_is_killed() {
    let vault = Vault::new();
    let started = Instant::now();
    let holder = vault.spawn(&["--min-hold", "1.5s"], "x", &["sh", "-c", "echo > $F/in; exec sleep 1000"]);
    vault.told_any("in");
    let job = holder.job();
    send_all(&[holder.sentry(), holder.worker(), job], SIGKILL);
    wait_for("the job's end", || !is_alive(job));
    let busy = vault.run(&["-n"], "x", &["true"]);
    busy.said_one_line(75, &["x is busy: its last holder keeps it for", "more (--min-hold)"]);
    let next = vault.run(&["-v"], "x", &["true"]);
    assert!(next.code == 0 && next.err.contains("its last holder keeps it for"), "{next:?}");
    let took = started.elapsed();
    assert!((Duration::from_millis(1_450)..Duration::from_secs(6)).contains(&took), "{took:?}");
    vault.run(&["-n"], "x", &["true"]).was_silent(0);
}

#[test]
fn an_acquired_lock_is_kept_as_long_after_its_release() {
    let vault = Vault::new();
    let me = std::process::id().to_string();
    let acquired = vault.say(&["acquire", "x", "--min-hold", "20s", "--while-pid", &me]);
    vault.say(&["release", acquired.out.trim_end()]).was_silent(0);
    vault.run(&["-n"], "x", &["true"]).said_one_line(75, &["keeps it for 1"]);
}
