//! Several locks in one run, and runs inside runs that wait for each other, on whichever server the scene has.

use std::time::{Duration, Instant};

use crate::scene::{forget, scene};
use crate::stage::{Done, Running, Stage, stays, wait_for};

fn start(stage: &Stage, words: &[&str]) -> Running {
    stage.start(stage.command(&[&["run"], words].concat()))
}

fn run(stage: &Stage, words: &[&str]) -> Done {
    start(stage, words).end()
}

/// A run of these locks that lasts until `$F/go-NAME` is there.
fn hold(stage: &Stage, options: &[&str], locks: &[&str], name: &str) -> Running {
    let script = format!("echo > $F/held-{name}; while [ ! -e $F/go-{name} ]; do sleep 0.01; done");
    let running = start(stage, &[options, locks, &["--", "sh", "-c", &script]].concat());
    wait_for(name, || !stage.text(&format!("held-{name}")).is_empty());
    running
}

fn waiting(stage: &Stage, name: &str) -> u64 {
    stage.status(name)["waiting"].as_u64().unwrap()
}

fn holders(stage: &Stage, name: &str) -> usize {
    stage.status(name)["holders"].as_array().unwrap().len()
}

#[test]
fn all_are_held_and_renewed_by_one_heartbeat() {
    let (_server, stage) = scene();
    let holder = hold(&stage, &["--ttl", "2s"], &["c", "a", "b"], "x");
    let waiter = start(&stage, &["b", "c", "--", "sh", "-c", "echo $VAULTLOCK_NAMES, $VAULTLOCK_FENCES"]);
    wait_for("a waiter", || waiting(&stage, "b") == 1);
    // The main thread and one heartbeat, which begins when the job turns out to be no brief one.
    let worker = holder.worker();
    let threads = || std::fs::read_dir(format!("/proc/{worker}/task")).unwrap().count();
    wait_for("a heartbeat", || threads() == 2);
    stays("held and waited for", Duration::from_secs(3), || {
        ["a", "b", "c"].iter().all(|name| holders(&stage, name) == 1) && waiting(&stage, "b") == 1 && threads() == 2
    });
    assert_eq!(waiting(&stage, "c"), 0, "b comes first");
    stage.write("go-x", "");
    holder.end().was_silent(0);
    let done = waiter.end();
    done.was_silent(0);
    assert!(done.out.starts_with("b c, ") && done.out.split_whitespace().count() == 4, "{done:?}");
    assert_eq!(stage.say(&["status", "a", "b", "c"]).out, "a: free\nb: free\nc: free\n");
}

/// Longer than any lease: who waits for the second keeps the first.
#[test]
fn what_is_held_is_renewed_while_the_next_is_waited_for() {
    let (_server, stage) = scene();
    let holder = hold(&stage, &[], &["b"], "b");
    let waiter = hold_later(&stage, &["--ttl", "1s", "b", "a"]);
    wait_for("a waiter", || waiting(&stage, "b") == 1);
    let fence = stage.status("a")["holders"][0]["fence"].clone();
    let begun = Instant::now();
    let third = start(&stage, &["a", "--", "true"]);
    stays("a is held", Duration::from_secs(4), || stage.status("a")["holders"][0]["fence"] == fence);
    stage.write("go-b", "");
    for run in [holder, waiter, third] {
        run.end().was_silent(0);
    }
    println!("    held and waited for {:?}", begun.elapsed());
}

fn hold_later(stage: &Stage, words: &[&str]) -> Running {
    start(stage, &[words, &["--", "true"]].concat())
}

#[test]
fn where_one_is_busy_none_is_held() {
    let (_server, stage) = scene();
    let holder = hold(&stage, &["--label", "somebody"], &["b"], "b");
    for options in [["-n", "-q"], ["-w", "0.3"]] {
        let done = run(&stage, &[&options[..], &["c", "b", "a", "--", "true"]].concat());
        assert_eq!(done.code, 75, "{done:?}");
    }
    assert_eq!((holders(&stage, "a"), holders(&stage, "c"), waiting(&stage, "b")), (0, 0, 0));
    stage.write("go-b", "");
    holder.end().was_silent(0);
}

#[test]
fn the_loss_of_one_stops_the_job_and_gives_back_the_others() {
    let (server, stage) = scene();
    let script = "trap 'echo > $F/stopped; exit 0' TERM; echo > $F/up; while :; do sleep 0.01; done";
    let running = start(&stage, &["a", "b", "--", "sh", "-c", script]);
    wait_for("the job", || !stage.text("up").is_empty());
    forget(&server, "b");
    let done = running.end();
    assert_eq!(done.code, 121, "{done:?}");
    assert!(done.err.contains("lost b (of a, b): "), "{done:?}");
    assert!(!stage.text("stopped").is_empty());
    assert_eq!(holders(&stage, "a"), 0);
}

#[test]
fn reversed_and_overlapping_names_never_deadlock() {
    let (_server, stage) = scene();
    let script = "set -C; for n in $VAULTLOCK_NAMES; do : > $F/in-$n || exit 9; all=\"$all $F/in-$n\"; done; exec rm $all";
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..6 {
        let mut all = Vec::new();
        for _ in 0..5 {
            let mut names = ["a", "b", "c", "d"];
            rng.shuffle(&mut names);
            let names = &names[..rng.usize(2..=4)];
            let mut reversed = names.to_vec();
            reversed.reverse();
            for names in [names, &reversed] {
                all.push(start(&stage, &[&["-w", "30"], names, &["--", "sh", "-c", script]].concat()));
            }
        }
        for one in all {
            one.end().was_silent(0);
        }
    }
}

/// A run of `outer` whose job asks for `inner` once all of them hold their outer locks.
fn entangle(stage: &Stage, outer: &str, inner: &str, count: usize) -> Running {
    let script = format!(
        "echo > $F/holds-{outer}; while [ $(ls $F | grep -c ^holds-) -lt {count} ]; do sleep 0.01; done; \
         $V run --label 'inside {outer}' {inner} -- true"
    );
    // A user in the store's URL is kept from the job, and told to its own runs by a file.
    stage.write("url", stage.url());
    let mut command = stage.command(&["run", outer, "--", "sh", "-c", &script]);
    command.env("VAULTLOCK_STORE_FILE", stage.file("url"));
    stage.start(command)
}

fn one_withdraws(runs: Vec<Running>, waits: usize) {
    let begun = Instant::now();
    let ends: Vec<Done> = runs.into_iter().map(Running::end).collect();
    let refused: Vec<&Done> = ends.iter().filter(|done| done.code == 75).collect();
    assert!(refused.len() == 1 && ends.iter().all(|done| done.code == 0 || done.code == 75), "{ends:?}");
    assert!(refused[0].err.contains("a cycle of nested runs: this one waits for"), "{refused:?}");
    assert_eq!(refused[0].err.matches("which waits for").count(), waits, "{refused:?}");
    println!("    found after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn two_that_wait_for_each_other_are_found() {
    let (_server, stage) = scene();
    one_withdraws(vec![entangle(&stage, "a", "b", 2), entangle(&stage, "b", "a", 2)], 1);
}

#[test]
fn three_in_a_ring_are_found() {
    let (_server, stage) = scene();
    let ring = [("a", "b"), ("b", "c"), ("c", "a")];
    one_withdraws(ring.map(|(outer, inner)| entangle(&stage, outer, inner, 3)).into(), 2);
}
