//! Runs inside runs that wait for each other: found and named, not hung.

use std::time::{Duration, Instant};

use crate::vault::{Running, Vault};

/// A run of `outer` whose job asks for `inner` once all of them hold their outer locks.
fn entangle(vault: &Vault, outer: &str, inner: &str, count: usize) -> Running {
    let script = format!(
        "echo > $F/holds-{outer}; while [ $(ls $F | grep -c ^holds-) -lt {count} ]; do sleep 0.01; done; \
         $V run --ttl 2s --label 'inside {outer}' {inner} -- true"
    );
    vault.spawn(&["--ttl", "2s"], outer, &["sh", "-c", &script])
}

#[test]
fn two_that_wait_for_each_other_are_told_apart_and_one_goes_on() {
    let vault = Vault::new();
    let begun = Instant::now();
    let two = [entangle(&vault, "a", "b", 2), entangle(&vault, "b", "a", 2)].map(Running::end);
    let mut codes = [two[0].code, two[1].code];
    codes.sort();
    assert_eq!(codes, [0, 75], "{two:?}");
    let refused = two.iter().find(|done| done.code == 75).unwrap();
    for part in ["a cycle of nested runs", "this one waits for", "held around inside", "held around this one"] {
        assert!(refused.err.contains(part), "{refused:?}");
    }
    println!("found after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn three_in_a_ring_are_found() {
    let vault = Vault::new();
    let begun = Instant::now();
    let three = [("a", "b"), ("b", "c"), ("c", "a")].map(|(outer, inner)| entangle(&vault, outer, inner, 3)).map(Running::end);
    let refused: Vec<_> = three.iter().filter(|done| done.code == 75).collect();
    assert_eq!(refused.len(), 1, "{three:?}");
    assert!(three.iter().all(|done| done.code == 75 || done.code == 0), "{three:?}");
    assert_eq!(refused[0].err.matches("which waits for").count(), 2, "{refused:?}");
    println!("found after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// One holds b around itself and asks for a; the other took a and waits for b, in one run.
#[test]
fn a_run_of_several_can_be_part_of_a_cycle() {
    let vault = Vault::new();
    let script = "echo > $F/holds-b; while [ ! -e $F/asked ]; do sleep 0.01; done; $V run --ttl 2s --label inside a -- true";
    let nested = vault.spawn(&["--ttl", "2s"], "b", &["sh", "-c", script]);
    vault.told_any("holds-b");
    let several = vault.start(vault.command(&["run", "--ttl", "2s", "--label", "several", "a", "b", "--", "true"]));
    vault.wait_for_waiting("b", 1);
    vault.write("asked", "");
    let ends = [nested.end(), several.end()];
    let mut codes = [ends[0].code, ends[1].code];
    codes.sort();
    assert_eq!(codes, [0, 75], "{ends:?}");
    assert!(ends.iter().any(|done| done.err.contains("a cycle of nested runs")), "{ends:?}");
}

/// Waiting inside a run for somebody who goes on by himself is no cycle.
#[test]
fn a_nested_waiter_without_a_cycle_waits() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "b");
    let nested = vault.spawn(&["--ttl", "2s"], "a", &["sh", "-c", "$V run --ttl 2s b -- true"]);
    vault.wait_for_waiting("b", 1);
    let behind = vault.spawn(&["--ttl", "2s"], "a", &["true"]);
    vault.wait_for_waiting("a", 1);
    crate::vault::stays("all wait", Duration::from_secs(4), || {
        vault.status("b")["waiting"] == 1 && vault.status("a")["waiting"] == 1
    });
    vault.let_go("b");
    for run in [holder, nested, behind] {
        run.end().was_silent(0);
    }
}
