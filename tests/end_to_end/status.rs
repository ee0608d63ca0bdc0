//! `vaultlock status`: what people read and what scripts parse.

use serde_json::{Value, json};

use nix::sys::signal::Signal;

use crate::vault::{Vault, send};

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn is_utc(time: &Value) -> bool {
    let time = time.as_str().unwrap();
    time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T" && time.starts_with("20")
}

#[test]
fn json_has_the_promised_keys() {
    let vault = Vault::new();
    let holder = vault.hold(&["--label", "ci job 7", "--ttl", "20s"], "x");
    let waiter = vault.spawn(&["--label", "ci job 8"], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    let status = vault.status("x");
    let promised =
        ["as_of", "epoch", "holders", "keys", "mode", "name", "queue", "reservations", "rests", "slots", "version", "waiting"];
    assert_eq!(keys(&status), promised);
    let held = &status["holders"][0];
    let of_a_holder = [
        "alive",
        "asked_to_stop",
        "broken",
        "effective_priority",
        "expires_in",
        "fence",
        "host",
        "label",
        "mode",
        "pid",
        "priority",
        "session",
        "since",
    ];
    assert_eq!(keys(held), of_a_holder);
    let queued = &status["queue"][0];
    let of_a_waiter =
        ["alive", "asked_to_stop", "broken", "host", "label", "mode", "pid", "position", "priority", "session", "since"];
    assert_eq!(keys(queued), of_a_waiter);
    assert!(is_utc(&status["as_of"]) && is_utc(&held["since"]) && is_utc(&queued["since"]), "{status}");
    assert_eq!((&status["name"], &status["mode"], &status["slots"]), (&json!("x"), &json!("exclusive"), &json!(1)));
    assert_eq!((&held["label"], &held["pid"], &held["alive"]), (&json!("ci job 7"), &json!(holder.sentry()), &json!(true)));
    assert_eq!((&queued["label"], &queued["pid"]), (&json!("ci job 8"), &json!(waiter.sentry())));
    assert_eq!((&queued["position"], &queued["alive"]), (&json!(1), &json!(true)));
    assert_eq!((&status["reservations"], &status["keys"]), (&json!([]), &json!([])));
    assert_ne!(held["session"], queued["session"]);
}

#[test]
fn a_lock_that_is_kept_for_one_that_is_gone_says_so() {
    let vault = Vault::new();
    let holder = vault.hold(&["--min-hold", "1h"], "x");
    assert_eq!(vault.status("x")["rests"], json!([]), "it is held");
    let held = vault.status("x")["holders"][0].clone();
    vault.let_go("x");
    holder.end().was_silent(0);
    let status = vault.status("x");
    let rest = &status["rests"][0];
    assert_eq!((&rest["session"], &rest["fence"], &status["holders"]), (&held["session"], &held["fence"], &json!([])));
    assert!(is_utc(&rest["until"]), "{status}");
    let told = vault.say(&["status", "x"]).out;
    assert!(told.starts_with("x: kept\n  kept    for 59m ") && told.contains(" more (--min-hold) by session "), "{told}");
}

#[test]
fn people_read_a_line_for_each_claim() {
    let vault = Vault::new();
    let holder = vault.hold(&["--label", "ci job 7"], "x");
    let waiter = vault.spawn(&["--label", "ci job 8"], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    let text = vault.say(&["status", "x"]).out;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "x: held, 1 waiting");
    let pid = holder.sentry();
    assert!(lines[1].starts_with("  held    ci job 7 (host ") && lines[1].contains(&format!(", pid {pid}) for ")), "{text}");
    assert!(lines[1].contains(", fence ") && lines[1].ends_with(", alive"), "{text}");
    let pid = waiter.sentry();
    assert!(
        lines[2].starts_with("     1.   ci job 8 (host ") && lines[2].contains(&format!(", pid {pid}) waits for ")),
        "{text}"
    );
}

#[test]
fn a_name_that_was_never_used_is_free_and_leaves_no_trace() {
    let vault = Vault::new();
    let never = vault.say(&["status", "never"]);
    assert_eq!((never.code, never.out.as_str(), never.err.as_str()), (0, "never: free\n", ""));
    assert_eq!(vault.say(&["status"]).out, "");
    assert_eq!(vault.say(&["status", "--json"]).out.trim(), "[]");
    assert!(!vault.store().exists(), "a look made the store");
    assert_eq!(vault.run(&[], "used", &["true"]).code, 0);
    let status = vault.status("never");
    assert_eq!((&status["version"], &status["mode"], &status["holders"]), (&json!(0), &Value::Null, &json!([])));
    assert_eq!(vault.say(&["status"]).out, "used: free\n");
}

#[test]
fn several_locks_are_listed_in_name_order_or_as_asked() {
    let vault = Vault::new();
    for name in ["b", "a", "c d/e"] {
        assert_eq!(vault.run(&[], name, &["true"]).code, 0);
    }
    assert_eq!(vault.say(&["status"]).out, "a: free\nb: free\nc d/e: free\n");
    let both: Value = serde_json::from_str(&vault.say(&["status", "--json", "b", "a"]).out).unwrap();
    assert_eq!((&both[0]["name"], &both[1]["name"]), (&json!("b"), &json!("a")));
    let all: Value = serde_json::from_str(&vault.say(&["status", "--json"]).out).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
}

#[test]
fn a_dead_holder_is_shown_as_dead() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let worker = holder.worker();
    crate::vault::send_all(&[holder.sentry(), worker], nix::sys::signal::Signal::SIGKILL);
    crate::vault::wait_for("the end of the holder", || vault.alive().is_empty());
    assert_eq!(vault.status("x")["holders"][0]["alive"], false);
    assert!(vault.say(&["status", "x"]).out.contains("its processes are gone"));
}

#[test]
fn nothing_that_could_act_as_a_claim_is_shown() {
    let vault = Vault::new();
    let _holder = vault.hold(&[], "x");
    let _waiter = vault.spawn(&[], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    let ids: Vec<String> =
        vault.files("x", "tickets").iter().map(|path| path.to_str().unwrap().rsplit_once('.').unwrap().1.to_owned()).collect();
    assert_eq!(ids.len(), 2);
    let mut shown = vault.say(&["status", "x"]).out + &vault.say(&["status", "x", "--json"]).out;
    shown += &vault.run(&["-n", "-v"], "x", &["true"]).err;
    assert!(ids.iter().all(|id| id.len() == 32 && !shown.contains(id.as_str())), "{shown}");
    let mut digits = 0;
    for c in shown.chars() {
        digits = if c.is_ascii_hexdigit() { digits + 1 } else { 0 };
        assert!(digits < 32, "{shown}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let vault = Vault::new();
    for name in 0..30 {
        assert_eq!(vault.run(&[], &format!("lock {name}"), &["true"]).code, 0);
    }
    let done = vault.start(vault.wrap("sh", &["-c", "$V status --json | true; $V status | head -1"])).end();
    assert_eq!((done.out.as_str(), done.err.as_str()), ("lock 0: free\n", ""));
}

#[test]
fn who_interrupts_it_is_told_which_store_did_not_answer() {
    let vault = Vault::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let asking = vault.start(vault.command(&["--store", &format!("redis://127.0.0.1:{port}"), "status", "x"]));
    let _line = silent.accept().unwrap();
    send(asking.sentry(), Signal::SIGINT);
    let done = asking.end();
    assert_eq!((done.code, done.out.as_str()), (130, ""));
    assert_eq!(done.err, format!("vaultlock: interrupted while asking redis at 127.0.0.1:{port}\n"));
}
