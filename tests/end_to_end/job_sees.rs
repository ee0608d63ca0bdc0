//! What the job finds around it: environment, descriptors, signals; and what must not be there.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use crate::vault::{Vault, wait_for};

/// What a process tells of its signals, without the name of the program.
const SIGNALS: &str = "grep -E '^(SigBlk|SigIgn):' /proc/self/status";
/// Signals 32 and 33 belong to the C library's threads; what a job inherits of them means nothing.
const LIBRARY: u64 = 0b11 << 31;

fn variables(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| name.starts_with("VAULTLOCK_")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn masks(text: &str) -> Vec<u64> {
    text.lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap() & !LIBRARY).collect()
}

#[test]
fn the_environment_tells_the_job_of_its_lock() {
    let vault = Vault::new();
    let mut command = vault.command(&["run", "a lock/1", "--", "sh", "-c", "env; $V status --json 'a lock/1' > $F/status"]);
    command.env("VAULTLOCK_NAMES", "stale").env("VAULTLOCK_FENCES", "stale").env("VAULTLOCK_FENCE", "1");
    let told = variables(&vault.start(command).end().out);
    let names: Vec<&str> = told.keys().map(String::as_str).collect();
    let expected = ["VAULTLOCK_FENCE", "VAULTLOCK_HELD", "VAULTLOCK_NAME", "VAULTLOCK_SESSION", "VAULTLOCK_STORE"];
    assert_eq!(names, expected);
    assert_eq!(told["VAULTLOCK_NAME"], "a lock/1");
    assert_eq!(told["VAULTLOCK_STORE"], format!("file://{}", vault.store().display()));
    assert!(told["VAULTLOCK_HELD"].ends_with(&format!(":a%20lock/1:{}", told["VAULTLOCK_SESSION"])));
    let status: serde_json::Value = serde_json::from_str(&vault.text("status")).unwrap();
    assert_eq!(status["holders"][0]["session"], told["VAULTLOCK_SESSION"].as_str());
    assert_eq!(status["holders"][0]["fence"].to_string(), told["VAULTLOCK_FENCE"]);
}

#[test]
fn the_chain_grows_with_each_nested_run() {
    let vault = Vault::new();
    let done = vault.run(&[], "outer", &["sh", "-c", "$V run inner -- env"]);
    let told = variables(&done.out);
    let levels: Vec<&str> = told["VAULTLOCK_HELD"].split(' ').collect();
    assert_eq!(levels.len(), 2);
    assert!(levels[0].contains(":outer:") && levels[1].contains(":inner:"), "{levels:?}");
    assert_eq!(told["VAULTLOCK_NAME"], "inner");
}

#[test]
fn the_fence_rises_with_every_grant() {
    let vault = Vault::new();
    let mut last = 0;
    for _ in 0..20 {
        let fence: u64 = vault.run(&[], "x", &["sh", "-c", "echo $VAULTLOCK_FENCE"]).out.trim().parse().unwrap();
        assert!(fence > last && fence < 1 << 53, "{fence} after {last}");
        last = fence;
    }
    // A wiped store on a host that remembers nothing either: the clock is the floor.
    fs::remove_dir_all(vault.store()).unwrap();
    let fence: u64 = vault.run(&[], "x", &["sh", "-c", "echo $VAULTLOCK_FENCE"]).out.trim().parse().unwrap();
    assert!(fence > last, "{fence} after {last} in a wiped store");
}

/// Its ticket vanished while it waited, so it queued again under a new one: the job must be told of that.
#[test]
fn the_session_is_the_one_that_holds_even_after_queueing_again() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let script = "echo $VAULTLOCK_SESSION $VAULTLOCK_HELD > $F/session; $V status --json x > $F/status";
    let waiter = vault.spawn(&["--ttl", "1s"], "x", &["sh", "-c", script]);
    vault.wait_for_waiting("x", 1);
    let first = vault.status("x")["queue"][0]["session"].clone();
    fs::remove_file(vault.files("x", "tickets").last().unwrap()).unwrap();
    wait_for("a new ticket", || vault.status("x")["queue"][0]["session"].as_str().is_some_and(|session| session != first));
    vault.let_go("x");
    assert_eq!((holder.end().code, waiter.end().code), (0, 0));
    let status: serde_json::Value = serde_json::from_str(&vault.text("status")).unwrap();
    let session = status["holders"][0]["session"].as_str().unwrap();
    let told = vault.told("session");
    assert!(told.starts_with(session) && told.ends_with(session), "the job was told {told}, the holder is {session}");
}

/// Descriptors that were open before are the caller's affair, as with flock(1) and env(1).
#[test]
fn the_lock_is_the_one_descriptor_the_job_gets_from_us() {
    let vault = Vault::new();
    let list = "for f in /proc/$$/fd/*; do readlink $f; done";
    let open = |done: crate::vault::Done| -> Vec<String> {
        let kind = |path: &str| path.rsplit_once('.').map_or(path, |(_, kind)| kind).to_owned();
        let mut open: Vec<String> = done.out.lines().filter(|path| !path.starts_with("pipe:")).map(kind).collect();
        open.sort();
        open
    };
    let bare = open(vault.start(vault.wrap("sh", &["-c", list])).end());
    let ours = open(vault.run(&[], "x", &["sh", "-c", list]));
    let (locks, others): (Vec<String>, Vec<String>) = ours.into_iter().partition(|kind| kind.len() == 32);
    assert_eq!((locks.len(), others), (1, bare));
}

#[test]
fn signals_are_to_the_job_as_without_vaultlock() {
    let vault = Vault::new();
    for around in ["", "trap '' HUP; ", "trap '' INT QUIT USR1; ", "trap '' CHLD TERM; ", "nohup "] {
        let bare = vault.start(vault.wrap("sh", &["-c", &format!("{around}sh -c \"{SIGNALS}\"")])).end();
        let ours = vault.start(vault.wrap("sh", &["-c", &format!("{around}$V run x -- sh -c \"{SIGNALS}\"")])).end();
        assert_eq!(masks(&ours.out), masks(&bare.out), "{around}: {ours:?}");
        assert_eq!(ours.code, 0);
    }
}

#[test]
fn an_ignored_broken_pipe_stays_ignored() {
    let vault = Vault::new();
    let bare = vault.start(vault.wrap("sh", &["-c", &format!("trap '' PIPE; sh -c \"{SIGNALS}\"")])).end();
    let ours = vault.start(vault.wrap("sh", &["-c", &format!("trap '' PIPE; $V run x -- sh -c \"{SIGNALS}\"")])).end();
    assert_eq!(masks(&ours.out), masks(&bare.out));
}

#[test]
fn a_job_whose_reader_left_dies_of_the_broken_pipe() {
    let vault = Vault::new();
    let mut command = vault.command(&["run", "x", "--", "yes"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
}

#[test]
fn the_arguments_of_a_job_are_nobodys_business() {
    let vault = Vault::new();
    let canary = "canary-4711";
    let script = "echo > $F/up; while [ ! -e $F/end ]; do sleep 0.02; done";
    let running = vault.spawn(&[], "x", &["sh", "-c", script, canary]);
    vault.told_any("up");
    let status = vault.say(&["status", "x", "--json"]).out + &vault.say(&["status", "x"]).out;
    assert!(status.contains(" sh"), "{status}");
    let in_store = vault.contents().iter().any(|(_, text)| String::from_utf8_lossy(text).contains(canary));
    assert!(!status.contains(canary) && !in_store);
    vault.write("end", "");
    assert_eq!(running.end().code, 0);
}
