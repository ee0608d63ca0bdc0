//! `vaultlock break` on the file store: whom it ends, and what it leaves alone.

use nix::sys::signal::Signal;

use crate::vault::{Vault, send, wait_for};

fn holder(vault: &Vault) -> String {
    vault.status("x")["holders"][0]["session"].as_str().unwrap().to_owned()
}

fn breaks(vault: &Vault, session: &str, more: &[&str]) -> crate::vault::Done {
    vault.say(&[&["break", "x", "--session", session, "--reason", "db1 is on fire"], more].concat())
}

#[test]
fn a_broken_holder_stops_its_job_and_says_by_whom_and_why() {
    let vault = Vault::new();
    let script = "trap 'echo told > $F/told; exit 0' TERM; echo > $F/in; while :; do sleep 0.01; done";
    let holding = vault.spawn(&["--label", "ci job 7"], "x", &["sh", "-c", script]);
    vault.told_any("in");
    let next = vault.spawn(&[], "x", &["echo", "mine"]);
    vault.wait_for_waiting("x", 1);
    let session = holder(&vault);
    let done = vault.say(&["break", "--session", &session, "x", "--reason", "too slow\x1b[2J"]);
    assert_eq!((done.code, done.err.lines().all(|line| line.contains("asked ci job 7"))), (0, true), "{}", done.err);
    assert!(done.out.starts_with("x: broken: ci job 7 (host ") && done.out.ends_with("it is gone\n"), "{}", done.out);
    assert!(done.out.contains(&session), "{}", done.out);
    let broken = holding.end();
    let said = broken.err.lines().next().unwrap();
    assert!(said.starts_with("vaultlock: lost x: it was broken by ") && said.contains('@'), "{said}");
    assert_eq!((broken.code, said.ends_with(": too slow\\u{1b}[2J; stopping the job")), (121, true), "{said}");
    assert_eq!(vault.told("told"), "told");
    let next = next.end();
    assert_eq!((next.code, next.out.as_str()), (0, "mine\n"));
    assert_eq!(vault.say(&["status", "x"]).out, "x: free\n");
}

#[test]
fn a_broken_waiter_gives_up_its_place_and_the_others_keep_theirs() {
    let vault = Vault::new();
    let holding = vault.hold(&[], "x");
    let broken = vault.spawn(&[], "x", &["echo", "never"]);
    vault.wait_for_waiting("x", 1);
    let session = vault.status("x")["queue"][0]["session"].as_str().unwrap().to_owned();
    let next = vault.spawn(&[], "x", &["echo", "next"]);
    vault.wait_for_waiting("x", 2);
    assert_eq!(breaks(&vault, &session, &["-q"]).code, 0);
    let broken = broken.end();
    broken.said_one_line(75, &["x: it was broken by ", ": db1 is on fire while it waited"]);
    assert_eq!((broken.out.as_str(), vault.status("x")["waiting"].as_u64()), ("", Some(1)));
    vault.let_go("x");
    holding.end().was_silent(0);
    assert_eq!(next.end().out, "next\n");
}

#[test]
fn a_holder_that_does_not_answer_is_waited_out() {
    let vault = Vault::new();
    let frozen = vault.hold(&["--ttl", "3s"], "x");
    let session = holder(&vault);
    let worker = frozen.worker();
    send(worker, Signal::SIGSTOP);
    let operator = vault.start(vault.command(&["break", "x", "--session", &session, "--reason", "no answer"]));
    wait_for("the request", || vault.status("x")["holders"][0]["asked_to_stop"] == "broken");
    let asked = vault.status("x")["holders"][0]["broken"].clone();
    assert!(asked["reason"] == "no answer" && asked["by"].as_str().unwrap().contains('@'), "{asked}");
    assert!(vault.say(&["status"]).out.contains(", broken by "));
    let done = operator.end();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("it was dead, and was removed"), "{}", done.out);
    assert_eq!(frozen.end().code, 121);
    vault.run(&["-n"], "x", &["true"]).was_silent(0);
}

#[test]
fn what_was_not_meant_is_left_alone() {
    let vault = Vault::new();
    let holding = vault.hold(&[], "x");
    let (session, version) = (holder(&vault), vault.status("x")["version"].as_u64().unwrap());
    let other = (version + 1).to_string();
    breaks(&vault, &session, &["--if-version", &other]).said_one_line(75, &["nothing was done", "its version is"]);
    breaks(&vault, "000000000000", &[]).said_one_line(75, &["nothing was done", "neither holds it nor waits"]);
    vault.say(&["break", "y", "--session", &session, "--reason", "why"]).said_one_line(75, &["y: nothing was done"]);
    breaks(&vault, &session, &["--force"]).said_one_line(125, &["its own processes keep the lock"]);
    vault.say(&["break", "x", "--session", &session, "--reason", " "]).said_one_line(64, &["--reason is empty"]);
    assert_eq!(vault.say(&["break", "x", "--reason", "no session"]).code, 64);
    let status = vault.status("x");
    assert_eq!((&status["version"], &status["holders"][0]["asked_to_stop"]), (&version.into(), &serde_json::Value::Null));
    let done = breaks(&vault, &session, &["--if-version", &version.to_string()]);
    assert_eq!((done.code, holding.end().code), (0, 121));
}
