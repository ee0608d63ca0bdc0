//! `vaultlock run` when nothing goes wrong, or only what users do every day.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::vault::{Vault, stays, wait_for};

#[test]
fn hello() {
    let vault = Vault::new();
    let done = vault.run(&[], "vault-7", &["echo", "hello"]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "hello\n", ""));
}

#[test]
fn every_code_of_the_job_is_passed_on() {
    let vault = Vault::new();
    for code in [0, 1, 2, 63, 64, 75, 76, 77, 121, 124, 125, 126, 127, 128, 130, 137, 143, 254, 255] {
        assert_eq!(vault.run(&[], "x", &["sh", "-c", &format!("exit {code}")]).code, code);
    }
    for signal in [1, 2, 3, 6, 9, 10, 15] {
        assert_eq!(vault.run(&[], "x", &["sh", "-c", &format!("kill -{signal} $$")]).code, 128 + signal);
    }
}

#[test]
fn a_command_that_can_not_run_gives_the_lock_back() {
    let vault = Vault::new();
    let plain = vault.write("plain", "text");
    // A folder in PATH that may not be searched makes it 126, as for env(1).
    let mut command = vault.command(&["run", "x", "--", "no-such-program-here"]);
    command.env("PATH", "/usr/bin:/bin");
    let missing = vault.start(command).end();
    assert_eq!((missing.code, missing.err.as_str()), (127, "vaultlock: no-such-program-here: command not found\n"));
    let denied = vault.run(&[], "x", &[plain.to_str().unwrap()]);
    assert_eq!(denied.code, 126);
    assert!(denied.err.contains("cannot be executed: permission denied"), "{denied:?}");
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 0);
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_busy_lock_is_75_or_what_was_asked_for() {
    let vault = Vault::new();
    let _holder = vault.hold(&["--label", "nightly backup"], "x");
    for options in [["-n"].as_slice(), &["--nb"], &["--nonblock"], &["-w", "0"], &["--wait=0"], &["--timeout", "0s"]] {
        let busy = vault.run(options, "x", &["touch", vault.file("ran").to_str().unwrap()]);
        assert_eq!((busy.code, busy.out.as_str()), (75, ""), "{options:?}");
        assert!(busy.err.starts_with("vaultlock: x is busy: held by nightly backup (host "), "{busy:?}");
        assert_eq!(busy.err.lines().count(), 1);
    }
    for code in ["0", "1", "255"] {
        assert_eq!(vault.run(&["-n", "-E", code], "x", &["true"]).code.to_string(), code);
    }
    let quiet = vault.run(&["-n", "-q"], "x", &["true"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (75, ""));
    assert!(!vault.file("ran").exists());
    assert_eq!(vault.run(&["-n"], "y", &["true"]).code, 0);
}

#[test]
fn a_wait_ends_when_it_was_told_to() {
    let vault = Vault::new();
    let _holder = vault.hold(&[], "x");
    for (wait, least) in [("0.3", 300), ("400ms", 400)] {
        let start = Instant::now();
        assert_eq!(vault.run(&["-w", wait], "x", &["true"]).code, 75);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(least) && took < Duration::from_secs(5), "{wait} took {took:?}");
    }
    let verbose = vault.run(&["-v", "-w", "0.2"], "x", &["true"]);
    assert!(verbose.err.contains("waiting: x: held by ") && verbose.err.contains("next in line"), "{verbose:?}");
    assert_eq!(vault.status("x")["waiting"], 0);
}

#[test]
fn options_stand_before_or_after_the_name_and_never_after_the_command() {
    let vault = Vault::new();
    let echoes = |words: &[&str], echoed: &str| {
        let done = vault.say(words);
        assert_eq!((done.code, done.out.trim_end(), done.err.as_str()), (0, echoed, ""), "{words:?}");
    };
    echoes(&["run", "-w", "1", "x", "echo", "-n", "a"], "a");
    echoes(&["run", "x", "-w", "1", "echo", "a", "-w", "--ttl", "--help"], "a -w --ttl --help");
    echoes(&["run", "x", "-w1", "--", "echo", "--", "a"], "-- a");
    echoes(&["run", "-q", "x", "--ttl=2s", "--", "echo", "a", "-E", "256"], "a -E 256");
    echoes(&["run", "x", "--", "echo", "checkout", "--", "f"], "checkout -- f");
    echoes(&["run", "x", "echo", "a", "--json"], "a --json");
    assert_eq!(vault.say(&["run", "x", "ls", "-la", "/"]).code, 0);
}

#[test]
fn a_string_goes_through_the_shell_of_the_user() {
    let vault = Vault::new();
    let shell = vault.write("shell", "#!/bin/sh\necho mine \"$@\"\n");
    fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (value, told) in [(shell.to_str().unwrap(), "mine -c echo $((40+2)) -n\n"), ("", "42 -n\n")] {
        let mut command = vault.command(&["run", "x", "-c", "echo $((40+2)) -n"]);
        command.env("SHELL", value);
        assert_eq!(vault.start(command).end().out, told);
    }
    let mut command = vault.command(&["run", "-n", "-c", "echo $((40+2)); exit 3", "x"]);
    command.env_remove("SHELL");
    let done = vault.start(command).end();
    assert_eq!((done.code, done.out.as_str()), (3, "42\n"));
}

#[test]
fn the_same_lock_inside_itself_is_refused_at_once() {
    let vault = Vault::new();
    let start = Instant::now();
    let done = vault.run(&[], "x", &["sh", "-c", "$V run x -- echo inside"]);
    assert_eq!((done.code, done.out.as_str()), (64, ""));
    assert!(done.err.contains("x is already held by the enclosing run (session "), "{done:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    let deeper = vault.run(&[], "x", &["sh", "-c", "$V run y -- $V run x -- echo inside"]);
    assert_eq!((deeper.code, deeper.out.as_str()), (64, ""));
    let other = vault.run(&[], "x", &["sh", "-c", "$V run y -- echo $VAULTLOCK_HELD"]);
    assert_eq!((other.code, other.err.as_str()), (0, ""));
}

/// The first run makes the store, so that the path means more to the second than it did to the first.
#[test]
fn a_store_behind_a_symbolic_link_is_the_same_store_inside_and_outside() {
    let vault = Vault::new();
    fs::create_dir(vault.file("real")).unwrap();
    std::os::unix::fs::symlink(vault.file("real"), vault.file("link")).unwrap();
    let store = vault.file("link/store");
    let inside = "$V run -w 1 x -- echo inside";
    let done = vault.run(&["--store", store.to_str().unwrap()], "x", &["sh", "-c", inside]);
    assert_eq!((done.code, done.out.as_str()), (64, ""), "{done:?}");
}

#[test]
fn leftovers_are_left_awaited_or_killed() {
    let script = "(while [ ! -e $F/end ]; do sleep 0.02; done; echo > $F/ended) & echo $! > $F/pid; exit 3";
    let vault = Vault::new();
    let left = vault.run(&[], "x", &["sh", "-c", script]);
    assert_eq!(left.code, 3);
    assert!(left.err.contains(&format!("the job left processes behind ({})", vault.told("pid"))), "{left:?}");
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 0);
    vault.write("end", "");
    wait_for("the end of what was left", || vault.file("ended").exists());

    let vault = Vault::new();
    let mut awaited = vault.spawn(&["--stragglers", "wait"], "x", &["sh", "-c", script]);
    vault.told("pid");
    stays("the lock is kept", Duration::from_millis(300), || !awaited.is_over());
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 75);
    vault.write("end", "");
    assert_eq!(awaited.end().code, 3);
    assert!(vault.file("ended").exists());

    let vault = Vault::new();
    let killed = vault.run(&["--stragglers=kill"], "x", &["sh", "-c", script]);
    assert_eq!((killed.code, killed.err.as_str()), (3, ""));
    assert!(vault.alive().is_empty());
}

#[test]
fn a_store_out_of_reach_is_125_or_skipped_or_run_without() {
    let vault = Vault::new();
    // A port of our own that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = format!("redis://127.0.0.1:{port}");
    for (policy, code, out, says) in [
        (None, 125, "", "the job was not run"),
        (Some("fail"), 125, "", "the job was not run"),
        (Some("skip"), 0, "", "the job was skipped"),
        (Some("run"), 7, "ran\n", "RUNNING THE JOB WITHOUT THE LOCK"),
    ] {
        let policy: Vec<&str> = policy.into_iter().flat_map(|policy| ["--if-unavailable", policy]).collect();
        let options = [&["--store", &store, "--ttl", "1s"], policy.as_slice()].concat();
        let done = vault.run(&options, "x", &["sh", "-c", "echo ran; exit 7"]);
        assert_eq!((done.code, done.out.as_str()), (code, out), "{policy:?} {done:?}");
        assert!(done.err.contains(says), "{policy:?} {done:?}");
    }
}

#[test]
fn signals_reach_the_job() {
    for (signal, code) in [(Signal::SIGTERM, 11), (Signal::SIGINT, 12), (Signal::SIGHUP, 13), (Signal::SIGUSR1, 14)] {
        let vault = Vault::new();
        let script = "trap 'exit 11' TERM; trap 'exit 12' INT; trap 'exit 13' HUP; trap 'exit 14' USR1; echo > $F/up; \
                      while :; do sleep 0.02; done";
        let running = vault.spawn(&[], "x", &["sh", "-c", script]);
        vault.told_any("up");
        running.send(signal);
        let done = running.end();
        assert_eq!(done.code, code, "{signal}");
        assert!(!done.err.contains("vaultlock"), "{signal}: {done:?}");
    }
}

#[test]
fn a_pipe_feeds_the_job() {
    let vault = Vault::new();
    let mut command = vault.command(&["run", "x", "--", "sh", "-c", "cat > $F/got"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let text = "0123456789abcdef".repeat(10_000);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(vault.text("got"), text);
}
