//! More time for a job that runs with `--max-run`, from inside it and from elsewhere.

use std::time::{Duration, Instant};

use crate::vault::Vault;

#[test]
fn a_job_gives_itself_more_time_and_then_it_is_over_all_the_same() {
    let vault = Vault::new();
    let started = Instant::now();
    let script = "$V extend x --by 1s; echo $? > $F/code; while :; do sleep 0.05; done";
    let done = vault.run(&["--max-run", "1s", "-v"], "x", &["sh", "-c", script]);
    let took = started.elapsed();
    assert_eq!((done.code, vault.text("code").as_str()), (124, "0\n"), "{done:?}");
    assert!((Duration::from_millis(1_950)..Duration::from_secs(6)).contains(&took), "{took:?}");
    assert!(done.out.starts_with("x: the job of session ") && done.out.contains("may run for 2s, until 20"), "{}", done.out);
    assert!(done.err.contains("may run for 2s now") && done.err.contains("has run for 2s (--max-run)"), "{}", done.err);
}

#[test]
fn others_extend_it_by_name_and_by_session() {
    let vault = Vault::new();
    let holder = vault.hold(&["-j", "2", "--max-run", "3s"], "x");
    assert!(vault.say(&["extend", "x", "--by", "1h"]).out.contains("may run for 1h 3s"));
    let second = vault.spawn(&["-j", "2", "--max-run", "1h"], "x", &["sleep", "1000"]);
    crate::vault::wait_for("both", || vault.status("x")["holders"].as_array().unwrap().len() == 2);
    vault.say(&["extend", "x", "--by", "1h"]).said_one_line(64, &["several hold it: name one with --session"]);
    let session = vault.status("x")["holders"][1]["session"].as_str().unwrap().to_owned();
    let done = vault.say(&["extend", "x", "--by", "90", "--session", &session]);
    assert!(done.code == 0 && done.out.contains(&format!("session {session} may run for 1h 1m 30s")), "{done:?}");
    // Longer than it was to run.
    crate::vault::stays("the first runs", Duration::from_millis(3_300), || crate::vault::is_alive(holder.sentry()));
    vault.let_go("x");
    holder.end().was_silent(0);
    crate::vault::send(second.sentry(), nix::sys::signal::Signal::SIGTERM);
    second.end().was_silent(143);
}

#[test]
fn what_has_no_holder_or_no_limit_is_not_extended() {
    let vault = Vault::new();
    vault.say(&["extend", "x", "--by", "1m"]).said_one_line(75, &["x: nothing was extended: nobody holds it"]);
    let done = vault.run(&[], "x", &["sh", "-c", "$V extend x --by 1m; echo $? > $F/code"]);
    assert_eq!(vault.text("code"), "64\n");
    done.said_one_line(0, &["its job has no limit (--max-run)"]);
    let holder = vault.hold(&["--max-run", "1h"], "x");
    vault.say(&["extend", "x", "--by", "1m", "--session", "nobody"]).said_one_line(75, &["session nobody does not hold it"]);
    vault.let_go("x");
    holder.end().was_silent(0);
}
