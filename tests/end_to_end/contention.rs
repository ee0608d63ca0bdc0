//! Many at once: nobody is in twice, nobody is forgotten, and waiting costs next to nothing.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};

use crate::running::switches;
use crate::vault::{Running, Vault, is_alive, send_all, wait_for};

const NAP: &str = "sleep 0.01";

#[test]
fn fifty_at_once_count_to_fifty() {
    let vault = Vault::new();
    vault.write("count", "0");
    let script = format!("n=$(cat $F/count); {NAP}; echo $((n + 1)) > $F/count");
    let all: Vec<Running> = (0..50).map(|_| vault.spawn(&[], "x", &["sh", "-c", &script])).collect();
    for one in all {
        let done = one.end();
        assert_eq!((done.code, done.err.as_str()), (0, ""));
    }
    assert_eq!(vault.told("count"), "50");
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
    assert_eq!(vault.files("x", "ledger").len(), 1);
}

/// After a reboot every cron job of a minute finds no store yet: making it must not take away what another just made.
#[test]
fn a_store_that_many_make_at_once_is_one_store() {
    for round in 0..25 {
        let vault = Vault::new();
        let script = "mkdir $F/in || exit 9; sleep 0.02; rmdir $F/in";
        let all: Vec<Running> = (0..8).map(|_| vault.spawn(&[], "x", &["sh", "-c", script])).collect();
        for one in all {
            let done = one.end();
            assert_eq!((done.code, done.err.as_str()), (0, ""), "round {round}");
        }
    }
}

#[test]
fn of_fifty_that_do_not_wait_one_runs() {
    let vault = Vault::new();
    let start = Instant::now();
    let script = "echo ran >> $F/ran; while [ ! -e $F/go ]; do sleep 0.02; done";
    let mut all: Vec<Running> = (0..50).map(|_| vault.spawn(&["-n"], "x", &["sh", "-c", script])).collect();
    wait_for("49 to give up", || all.iter_mut().map(|one| u32::from(!one.is_over())).sum::<u32>() <= 1);
    println!("49 of 50 gave up within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10));
    vault.write("go", "");
    let codes: Vec<i32> = all.into_iter().map(|one| one.end().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 75).count(), 49, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(vault.text("ran"), "ran\n");
}

#[test]
fn who_comes_first_goes_first() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let mut queue = Vec::new();
    for number in 1..=20 {
        let label = format!("number {number}");
        queue.push(vault.spawn(&["--label", &label], "x", &["sh", "-c", &format!("echo {number} >> $F/order")]));
        vault.wait_for_waiting("x", number);
    }
    let status = vault.status("x");
    for (at, row) in status["queue"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&row["position"], &row["label"]), (&(at + 1).into(), &format!("number {}", at + 1).into()));
    }
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
    assert!(queue.into_iter().all(|one| one.end().code == 0));
    let order: Vec<u32> = vault.text("order").lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(order, (1..=20).collect::<Vec<u32>>());
}

#[test]
fn a_killed_waiter_is_passed() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let first = vault.spawn(&[], "x", &["touch", vault.file("first").to_str().unwrap()]);
    vault.wait_for_waiting("x", 1);
    let second = vault.spawn(&[], "x", &["true"]);
    vault.wait_for_waiting("x", 2);
    let worker = first.worker();
    send_all(&[first.sentry(), worker], SIGKILL);
    assert_eq!(first.end().code, -9);
    wait_for("the end of the worker", || !is_alive(worker));
    let start = Instant::now();
    vault.let_go("x");
    assert_eq!((holder.end().code, second.end().code), (0, 0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(!vault.file("first").exists());
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

/// More dead tickets than a view lists: they must not count as waiters who might still come.
#[test]
fn a_crowd_of_dead_waiters_holds_nobody_up() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let crowd: Vec<Running> = (0..45).map(|_| vault.spawn(&[], "x", &["true"])).collect();
    vault.wait_for_waiting("x", 45);
    let workers: Vec<i32> = crowd.iter().map(Running::worker).collect();
    for (one, worker) in crowd.iter().zip(&workers) {
        send_all(&[one.sentry(), *worker], SIGKILL);
    }
    crowd.into_iter().for_each(|one| assert_eq!(one.end().code, -9));
    wait_for("the end of all", || workers.iter().all(|pid| !is_alive(*pid)));
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
    let start = Instant::now();
    let next = vault.run(&["-n"], "x", &["true"]);
    assert_eq!(next.code, 0, "{next:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_frozen_head_is_passed_and_has_its_turn_later() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let frozen = vault.spawn(&[], "x", &["sh", "-c", "echo frozen >> $F/order"]);
    vault.wait_for_waiting("x", 1);
    let next = vault.spawn(&["--ttl", "2s"], "x", &["sh", "-c", "echo next >> $F/order"]);
    vault.wait_for_waiting("x", 2);
    let both = [frozen.worker(), frozen.sentry()];
    send_all(&both, SIGSTOP);
    let start = Instant::now();
    vault.let_go("x");
    assert_eq!((holder.end().code, next.end().code), (0, 0));
    println!("a frozen head was passed after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(vault.status("x")["waiting"], 1);
    send_all(&both, SIGCONT);
    assert_eq!(frozen.end().code, 0);
    assert_eq!(vault.text("order"), "next\nfrozen\n");
}

#[test]
fn a_frozen_head_is_passed_by_callers_that_do_not_wait_too() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let frozen = vault.spawn(&[], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    let both = [frozen.worker(), frozen.sentry()];
    send_all(&both, SIGSTOP);
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
    let vacant = Instant::now();
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 75, "it has its second");
    wait_for("a caller that gets in", || vault.run(&["-n", "-q"], "x", &["true"]).code == 0);
    assert!(vacant.elapsed() >= Duration::from_secs(1), "{:?}", vacant.elapsed());
    send_all(&both, SIGCONT);
    assert_eq!(frozen.end().code, 0);
}

#[test]
fn a_release_wakes_the_next_within_a_tenth_of_a_second() {
    let vault = Vault::new();
    let mut gaps = Vec::new();
    for round in 0..7 {
        let name = format!("x{round}");
        let holder = vault.hold(&[], &name);
        let started = format!("started{round}");
        let next = vault.spawn(&[], &name, &["sh", "-c", &format!("echo > $F/{started}")]);
        vault.wait_for_waiting(&name, 1);
        vault.let_go(&name);
        assert_eq!((holder.end().code, next.end().code), (0, 0));
        // The holder's shell sees the word up to 10 ms after it was given; the files tell the rest.
        let time = |file: &str| fs::metadata(vault.file(file)).unwrap().modified().unwrap();
        gaps.push(time(&started).duration_since(time(&format!("go-{name}"))).unwrap());
    }
    gaps.sort();
    println!("from the word to end to the next job's first act: {gaps:?}");
    assert!(gaps[gaps.len() / 2] < Duration::from_millis(100), "{gaps:?}");
}

#[test]
fn waiting_costs_next_to_nothing() {
    let vault = Vault::new();
    let _holder = vault.hold(&[], "x");
    let waiter = vault.spawn(&["--ttl", "30s"], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    let both = [waiter.sentry(), waiter.worker()];
    let mut quietest = u64::MAX;
    // A beat every 6 s may fall into one span of 2 s, not into the next as well.
    for _ in 0..2 {
        let before: u64 = both.iter().map(|pid| switches(*pid)).sum();
        let until = Instant::now() + Duration::from_secs(2);
        wait_for("two seconds to pass", || Instant::now() >= until);
        quietest = quietest.min(both.iter().map(|pid| switches(*pid)).sum::<u64>() - before);
    }
    assert!(quietest <= 2, "{quietest} wake-ups in 2 s");
    let memory: Vec<u64> = both.iter().map(|pid| pss_kib(*pid)).collect();
    println!("PSS of a waiter: sentry {} KiB, worker {} KiB", memory[0], memory[1]);
    assert!(cfg!(debug_assertions) || memory.iter().sum::<u64>() <= 2048, "{memory:?} KiB");
}

fn pss_kib(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    last(line.trim_end_matches(" kB")).parse().unwrap()
}

fn last(line: &str) -> &str {
    line.split_whitespace().last().unwrap()
}
