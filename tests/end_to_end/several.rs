//! Several locks in one run: all or none, each with its fence, in one order for everybody.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGKILL, SIGTERM};

use crate::vault::{Done, Running, Vault, is_alive, send_all, wait_for};

const TELL: &str =
    "echo \"$VAULTLOCK_NAME|$VAULTLOCK_FENCE|$VAULTLOCK_NAMES|$VAULTLOCK_FENCES|$VAULTLOCK_SESSION|$VAULTLOCK_HELD\"";

fn start(vault: &Vault, words: &[&str]) -> Running {
    vault.start(vault.command(&[&["run"], words].concat()))
}

fn run(vault: &Vault, words: &[&str]) -> Done {
    start(vault, words).end()
}

/// A run of these locks that holds them until `let_go("several")`.
fn hold(vault: &Vault, locks: &[&str]) -> Running {
    let script = "echo > $F/held; while [ ! -e $F/go-several ]; do sleep 0.01; done";
    let running = start(vault, &[locks, &["--", "sh", "-c", script]].concat());
    vault.told_any("held");
    running
}

fn is_free(vault: &Vault, name: &str) -> bool {
    let status = vault.status(name);
    status["holders"].as_array().unwrap().is_empty() && status["waiting"] == 0
}

#[test]
fn all_are_held_while_the_job_runs_and_each_has_its_fence() {
    let vault = Vault::new();
    let script = format!("{TELL}; for n in a b c; do $V status --json $n > $F/$n; done");
    let done = run(&vault, &["c", "a", "--label", "three", "b", "--", "sh", "-c", &script]);
    done.was_silent(0);
    let told: Vec<&str> = done.out.trim_end().split('|').collect();
    let fences: Vec<&str> = told[3].split(' ').collect();
    let levels: Vec<&str> = told[5].split(' ').collect();
    assert_eq!((told[0], told[2]), ("a", "a b c"), "in the order in which they were taken");
    assert_eq!((told[1], fences.len(), levels.len()), (fences[0], 3, 3), "{told:?}");
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let status: serde_json::Value = serde_json::from_str(&vault.text(name)).unwrap();
        let holder = &status["holders"][0];
        assert_eq!((holder["fence"].to_string(), holder["label"].as_str()), (fences[at].to_owned(), Some("three")), "{name}");
        assert!(levels[at].ends_with(&format!(":{name}:{}", holder["session"].as_str().unwrap())), "{levels:?}");
        assert!(is_free(&vault, name));
        assert_eq!(vault.traces(name), Vec::<PathBuf>::new());
    }
    assert!(levels[0].ends_with(told[4]), "the session is the first one's: {told:?}");
}

#[test]
fn a_lock_named_twice_is_one_and_names_with_spaces_are_told_apart() {
    let vault = Vault::new();
    let done = run(&vault, &["b", "a", "b", "--", "sh", "-c", TELL]);
    assert_eq!(done.out.split('|').nth(2), Some("a b"), "{done:?}");
    let done = run(&vault, &["b", "b", "--", "sh", "-c", TELL]);
    assert_eq!((done.out.split('|').next(), done.out.split('|').nth(2)), (Some("b"), Some("")), "{done:?}");
    let done = run(&vault, &["two words", "50%", "--", "sh", "-c", TELL]);
    assert_eq!(done.out.split('|').nth(2), Some("50%25 two%20words"), "{done:?}");
    assert_eq!(done.out.split('|').next(), Some("50%"));
}

#[test]
fn where_one_is_busy_none_is_held_and_nothing_is_left() {
    let vault = Vault::new();
    let holder = vault.hold(&["--label", "somebody"], "b");
    for (options, code) in [(["-n", "-E75"], 75), (["-w", "0.3"], 75), (["-n", "-E9"], 9)] {
        let done = run(&vault, &[&options[..], &["c", "b", "a", "--", "touch", vault.file("ran").to_str().unwrap()]].concat());
        done.said_one_line(code, &["vaultlock: b is busy: held by somebody"]);
        for name in ["a", "c"] {
            assert!(is_free(&vault, name));
            assert_eq!(vault.traces(name), Vec::<PathBuf>::new(), "{name}");
        }
        assert_eq!(vault.status("b")["waiting"], 0);
    }
    assert!(!vault.file("ran").exists());
    vault.let_go("b");
    assert_eq!(holder.end().code, 0);
}

#[test]
fn a_waiter_holds_what_comes_before_and_says_so() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "b");
    let waiter = start(&vault, &["-v", "a", "b", "c", "--", "true"]);
    vault.wait_for_waiting("b", 1);
    wait_for("a word", || waiter.err().contains("waiting: b: held by"));
    assert!(waiter.err().contains("(holding a)"), "{}", waiter.err());
    run(&vault, &["-n", "a", "--", "true"]).said_one_line(75, &["a is busy"]);
    run(&vault, &["-n", "c", "--", "true"]).was_silent(0);
    vault.let_go("b");
    assert_eq!((holder.end().code, waiter.end().code), (0, 0));
}

#[test]
fn a_waiter_that_is_interrupted_or_killed_gives_everything_back() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "b");
    for (signal, code) in [(SIGTERM, 143), (SIGKILL, -9)] {
        let waiter = start(&vault, &["a", "b", "c", "--", "true"]);
        vault.wait_for_waiting("b", 1);
        let both = waiter.both();
        send_all(&both[..if signal == SIGKILL { 2 } else { 1 }], signal);
        assert_eq!(waiter.end().code, code);
        wait_for("the end of both", || !both.iter().any(|pid| is_alive(*pid)));
        for name in ["a", "c"] {
            run(&vault, &["-n", name, "--", "true"]).was_silent(0);
        }
    }
    vault.let_go("b");
    assert_eq!(holder.end().code, 0);
}

/// The job keeps the descriptor of each lock: killed as a whole, vaultlock leaves none of them to others while it lives.
#[test]
fn the_job_keeps_every_lock_when_all_of_vaultlock_is_killed() {
    let vault = Vault::new();
    let script = "setsid sh -c 'echo $$ > $F/daemon; while [ ! -e $F/end ]; do sleep 0.01; done' & wait";
    let running = start(&vault, &["a", "b", "--", "sh", "-c", script]);
    let daemon: i32 = vault.told("daemon").parse().unwrap();
    let both = running.both();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(both[0]), nix::sys::signal::SIGSTOP).unwrap();
    send_all(&[both[1], both[0]], SIGKILL);
    assert_eq!(running.end().code, -9);
    for name in ["a", "b"] {
        if is_alive(daemon) {
            run(&vault, &["-n", name, "--", "true"]).said_one_line(75, &["is busy"]);
        }
    }
    assert!(is_alive(daemon), "it was to live on");
    vault.write("end", "");
    wait_for("the end of the daemon", || !is_alive(daemon));
    for name in ["a", "b"] {
        run(&vault, &["-n", name, "--", "true"]).was_silent(0);
    }
}

#[test]
fn the_loss_of_one_is_the_loss_of_all() {
    let vault = Vault::new();
    let script = "trap 'echo > $F/stopped; exit 0' TERM; echo > $F/up; while :; do sleep 0.01; done";
    let running = start(&vault, &["--ttl", "2s", "a", "b", "--", "sh", "-c", script]);
    vault.told_any("up");
    fs::remove_file(&vault.files("b", "tickets")[0]).unwrap();
    let done = running.end();
    assert_eq!(done.code, 121, "{done:?}");
    assert!(done.err.starts_with("vaultlock: lost b (of a, b): "), "{done:?}");
    vault.told_any("stopped");
    assert!(is_free(&vault, "a"));
    // A ticket that somebody took away is nobody's word that its claim has ended: that takes a ttl.
    run(&vault, &["-w", "20", "a", "b", "--", "true"]).was_silent(0);
}

#[test]
fn a_lock_of_an_enclosing_run_is_refused_among_others() {
    let vault = Vault::new();
    let done = run(&vault, &["a", "b", "--", "sh", "-c", "$V run c b -- true"]);
    done.said_one_line(64, &["b is already held by the enclosing run"]);
    let done = run(&vault, &["a", "b", "--", "sh", "-c", "$V run c -- $V run a -- true"]);
    done.said_one_line(64, &["a is already held by the enclosing run"]);
    let done = run(&vault, &["a:b", "c", "--", "sh", "-c", "$V run a -- $V run a:b -- true"]);
    done.said_one_line(64, &["a:b is already held by the enclosing run"]);
    let done = run(&vault, &["a", "b", "--", "sh", "-c", "$V run c d -- sh -c 'echo $VAULTLOCK_HELD'"]);
    assert_eq!(done.out.split_whitespace().count(), 4, "{done:?}");
}

#[test]
fn a_run_of_one_inside_sees_no_list_of_the_outer() {
    let vault = Vault::new();
    let done = run(&vault, &["a", "b", "--", "sh", "-c", &format!("$V run c -- sh -c '{TELL}'")]);
    assert_eq!((done.out.split('|').nth(2), done.out.split('|').nth(3)), (Some(""), Some("")), "{done:?}");
}

/// Whatever order they are typed in, two runs never wait for each other: a thousand pairs of them, ten at a time. One that
/// waited for its pair would end with 75.
#[test]
fn a_thousand_random_pairs_never_deadlock() {
    let vault = Vault::new();
    // A file in use says that two are under one lock.
    let script = "set -C; for n in $VAULTLOCK_NAMES; do : > $F/in-$n || exit 9; all=\"$all $F/in-$n\"; done; exec rm $all";
    let mut rng = fastrand::Rng::with_seed(7);
    let begun = Instant::now();
    for _ in 0..100 {
        let mut all = Vec::new();
        for _ in 0..10 {
            let mut names = ["a", "b", "c", "d", "e", "f"];
            rng.shuffle(&mut names);
            let mut names = names[..rng.usize(2..=4)].to_vec();
            all.push(start(&vault, &[&["-w", "60"], &names[..], &["--", "sh", "-c", script]].concat()));
            if rng.bool() {
                names.reverse();
            } else {
                rng.shuffle(&mut names);
            }
            all.push(start(&vault, &[&["-w", "60"], &names[..], &["--", "sh", "-c", script]].concat()));
        }
        for one in all {
            one.end().was_silent(0);
        }
    }
    println!("1,000 pairs of runs of two to four of six locks in {:?}", begun.elapsed());
}

#[test]
fn holders_of_several_are_released_in_time() {
    let vault = Vault::new();
    let holder = hold(&vault, &["x", "y"]);
    let waiter = start(&vault, &["y", "x", "--", "true"]);
    vault.wait_for_waiting("x", 1);
    vault.write("go-several", "");
    let begun = Instant::now();
    assert_eq!((holder.end().code, waiter.end().code), (0, 0));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
