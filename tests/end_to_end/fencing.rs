//! `vaultlock fence`: the resource refuses who is late.

use std::os::unix::fs::{FileTypeExt, symlink};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::running::comm;
use crate::vault::{Running, Vault, send, wait_for};

/// `vaultlock fence $F/mark FENCE -- sh -c SCRIPT`, to its end: its code and what it said.
fn fence(vault: &Vault, fence: &str, script: &str) -> (i32, String) {
    let done = vault.say(&["fence", vault.file("mark").to_str().unwrap(), fence, "--", "sh", "-c", script]);
    (done.code, done.err)
}

/// Whether a process is stopped, by its state in /proc.
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

#[test]
fn a_number_raises_the_mark_and_a_lower_one_is_late() {
    let vault = Vault::new();
    for (number, code) in [("5", 0), ("5", 0), ("7", 0), ("6", 77), ("5", 77), ("7", 0), ("8", 0)] {
        let (ended, err) = fence(&vault, number, "echo $0 >> $F/log");
        assert_eq!(ended, code, "{number}: {err}");
        assert_eq!(err.contains("below 7, the high-water mark"), code == 77, "{number}: {err}");
    }
    assert_eq!(vault.text("mark"), "00000000000000000008\n");
    assert_eq!(vault.text("log").lines().count(), 5, "the late ones were not run");
}

#[test]
fn the_commands_own_code_stands_and_what_cannot_be_run_says_so() {
    let vault = Vault::new();
    let mark = vault.file("mark");
    let mark = mark.to_str().unwrap();
    vault.write("text", "no program");
    let text = vault.file("text");
    for (command, code) in
        [(&["sh", "-c", "exit 3"][..], 3), (&["no-such-program"], 127), (&[text.to_str().unwrap()], 126), (&["true"], 0)]
    {
        let done = vault.say(&[&["fence", mark, "9", "--"], command].concat());
        assert_eq!(done.code, code, "{command:?}: {}", done.err);
    }
    for wrong in ["", "0", "-1", "x", "9007199254740992", "5.5"] {
        let done = vault.say(&["fence", mark, wrong, "--", "true"]);
        assert_eq!(done.code, 64, "{wrong:?}: {}", done.err);
    }
    assert_eq!(vault.say(&["fence", mark, "9"]).code, 64);
}

#[test]
fn what_is_no_mark_admits_nobody() {
    let vault = Vault::new();
    for damaged in ["x\n", "\n", "12 34\n", "-5\n", "99999999999999999999\n", "000000000000000000000000000001\n", "5\n\0"] {
        vault.write("mark", damaged);
        let (code, err) = fence(&vault, "9000000000000", "echo > $F/ran");
        assert_eq!(code, 125, "{damaged:?}: {err}");
        assert!(err.contains("holds no fencing number"), "{err}");
        assert_eq!(vault.text("mark"), damaged, "it is left as it was");
    }
    std::fs::remove_file(vault.file("mark")).unwrap();
    mkfifo(&vault.file("mark"), Mode::S_IRWXU).unwrap();
    let (code, err) = fence(&vault, "5", "echo > $F/ran");
    assert!(code == 125 && err.contains("no regular file"), "{err}");
    assert!(vault.file("mark").metadata().unwrap().file_type().is_fifo());
    std::fs::remove_file(vault.file("mark")).unwrap();
    symlink("elsewhere", vault.file("mark")).unwrap();
    assert_eq!(fence(&vault, "5", "echo > $F/ran").0, 125);
    assert!(!vault.file("ran").exists() && !vault.file("elsewhere").exists());
}

#[test]
fn a_higher_number_waits_until_a_write_under_way_is_over_or_dead() {
    let vault = Vault::new();
    let mark = vault.file("mark");
    let words = |number: &'static str, script| ["fence", mark.to_str().unwrap(), number, "--", "sh", "-c", script];
    let slow = vault.start(vault.command(&words("5", "echo > $F/began; sleep 60 & wait")));
    vault.told_any("began");
    let second = vault.start(vault.command(&words("5", "echo 5 >> $F/log")));
    assert_eq!(second.end().code, 0, "those of one number write together");
    let started = Instant::now();
    let higher = vault.start(vault.command(&words("6", "echo 6 >> $F/log")));
    wait_for("a word on the wait", || higher.err().contains("is done with"));
    assert!(started.elapsed().as_secs() >= 1);
    assert_eq!(vault.text("log"), "5\n");
    // The command alone: what it has started writes on, and is waited for too.
    send(slow.sentry(), Signal::SIGKILL);
    assert_eq!(slow.end().code, -9);
    assert_eq!(vault.text("log"), "5\n");
    let sleeper = vault.alive().into_iter().find(|pid| comm(*pid) == "sleep");
    send(sleeper.expect("the sleep runs on"), Signal::SIGKILL);
    assert_eq!(higher.end().code, 0);
    assert_eq!(vault.text("log"), "5\n6\n");
}

#[test]
fn of_many_at_once_none_writes_after_a_higher_one() {
    let vault = Vault::new();
    let mark = vault.file("mark");
    let numbers: Vec<String> = (0..40).map(|at| (at * 7 % 40 + 1).to_string()).collect();
    let all: Vec<_> = numbers
        .iter()
        .map(|number| {
            let script = "echo $0 >> $F/log";
            vault.start(vault.command(&["fence", mark.to_str().unwrap(), number, "--", "sh", "-c", script, number]))
        })
        .collect();
    let codes: Vec<i32> = all.into_iter().map(|one| one.end().code).collect();
    let written: Vec<u64> = vault.text("log").lines().map(|line| line.parse().unwrap()).collect();
    assert!(written.is_sorted_by(|one, next| one < next), "{written:?}");
    assert_eq!(written.last(), Some(&40));
    assert!(codes.iter().all(|code| [0, 77].contains(code)), "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), written.len(), "{codes:?}");
}

/// What no lock can prevent: writers (in sessions of their own: the kernel thaws a group that loses its parent) that stood still while they had it go on when it is long another's.
#[test]
fn of_two_hundred_frozen_writers_that_thaw_none_writes() {
    const FROZEN: usize = 200;
    let vault = Vault::new();
    let write = "$V fence $F/mark $VAULTLOCK_FENCE -- sh -c \"echo $VAULTLOCK_FENCE >> $F/log\"";
    let stale = format!("{{ setsid sh -c 'echo $$ >> $F/pids; kill -STOP $$; {write}; echo $? >> $F/codes' & }} 2>/dev/null");
    for _ in 0..FROZEN {
        assert_eq!(vault.run(&["-q"], "x", &["sh", "-c", &stale]).code, 0);
    }
    let pids = || -> Vec<i32> { vault.text("pids").lines().filter_map(|line| line.parse().ok()).collect() };
    wait_for("all to stand still", || pids().len() == FROZEN && pids().into_iter().all(is_stopped));
    assert_eq!(vault.run(&[], "x", &["sh", "-c", write]).code, 0);
    let written = vault.text("log");
    assert_eq!(written.lines().count(), 1);
    // One after the other: two hundred at once would starve the leases of other tests.
    for (tried, pid) in pids().into_iter().enumerate() {
        send(pid, Signal::SIGCONT);
        wait_for("it to have tried", || vault.text("codes").lines().count() > tried);
    }
    assert!(vault.text("codes").lines().all(|code| code == "77"), "{}", vault.text("codes"));
    assert_eq!(vault.text("log"), written, "none of {FROZEN} stale writes was accepted");
}

/// `vaultlock run --guard $F/mark NAME -- sh -c SCRIPT`, left running.
fn guarded(vault: &Vault, name: &str, script: &str) -> Running {
    vault.spawn(&["--guard", vault.file("mark").to_str().unwrap()], name, &["sh", "-c", script])
}

#[test]
fn a_guarded_run_raises_the_mark_before_its_job_starts_and_jumps_above_a_higher_one() {
    let vault = Vault::new();
    assert_eq!(guarded(&vault, "x", "cat $F/mark > $F/seen; echo $VAULTLOCK_FENCE > $F/first").end().code, 0);
    let number = |name: &str| -> u64 { vault.text(name).trim().parse().unwrap() };
    assert_eq!(number("seen"), number("first"));
    let (ended, _) = fence(&vault, &(number("first") - 1).to_string(), "echo > $F/ran");
    assert_eq!(ended, 77);
    // As another store, or a wiped one, would have left it.
    let higher = number("first") + 40 * 24 * 3600 * 1000;
    vault.write("mark", &format!("{higher}\n"));
    assert_eq!(guarded(&vault, "x", "echo $VAULTLOCK_FENCE > $F/second").end().code, 0);
    assert_eq!((number("second"), number("mark")), (higher + 1, higher + 1));
    vault.write("mark", "nonsense");
    let done = guarded(&vault, "x", "echo > $F/ran").end();
    assert_eq!(done.code, 125, "{done:?}");
    assert!(done.err.contains("holds no fencing number") && !vault.file("ran").exists(), "{done:?}");
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 0);
}

#[test]
fn a_guarded_run_waits_for_earlier_writes_and_gives_the_lock_back_if_it_is_told_to_end() {
    let vault = Vault::new();
    let mark = vault.file("mark");
    let slow = vault.start(vault.command(&["fence", mark.to_str().unwrap(), "5", "--", "sh", "-c", "echo > $F/began; sleep 60"]));
    vault.told_any("began");
    let impatient = guarded(&vault, "x", "echo > $F/ran");
    wait_for("a word on the wait", || impatient.err().contains("the file of --guard"));
    let busy = vault.run(&["-n"], "x", &["true"]);
    assert_eq!(busy.code, 75, "it holds the lock meanwhile: {busy:?}");
    impatient.send(Signal::SIGTERM);
    assert_eq!(impatient.end().code, 143);
    let patient = guarded(&vault, "x", "echo > $F/done");
    wait_for("it to be let in", || vault.status("x")["holders"] != serde_json::json!([]));
    assert!(!vault.file("done").exists());
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(slow.sentry()), Signal::SIGKILL).unwrap();
    assert_eq!(patient.end().code, 0);
    assert!(vault.file("done").exists() && !vault.file("ran").exists());
}

#[test]
fn a_mark_that_another_lock_raised_meanwhile_refuses_the_job() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let waiter = guarded(&vault, "x", "echo > $F/ran");
    vault.wait_for_waiting("x", 1);
    vault.write("mark", "8000000000000\n");
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
    let done = waiter.end();
    assert_eq!(done.code, 77, "{done:?}");
    assert!(done.err.contains("give each lock a file of its own") && !vault.file("ran").exists(), "{done:?}");
    for words in [
        &["run", "--guard", "m", "x", "y", "--", "true"][..],
        &["run", "--guard", "m", "--if-unavailable", "run", "x", "--", "true"],
    ] {
        assert_eq!(vault.say(words).code, 64, "{words:?}");
    }
}
