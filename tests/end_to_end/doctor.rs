//! `vaultlock doctor` on the file store: what it finds, and what its exit code says.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::vault::Vault;

#[test]
fn a_sound_store_keeps_the_whole_promise_and_nothing_is_left_in_it() {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    let before = vault.contents();
    let done = vault.say(&["doctor"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    assert!(done.out.contains("this host alone") && done.out.contains("keeps the whole promise"), "{}", done.out);
    assert!(!done.out.contains("Which store fits"));
    assert_eq!(vault.contents(), before);
    let explained = vault.say(&["doctor", "--explain"]);
    assert!(explained.code == 0 && explained.out.contains("Which store fits"), "{}", explained.out);
}

#[test]
fn json_has_the_promised_keys() {
    let vault = Vault::new();
    let done = vault.say(&["doctor", "--json"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&done.out).unwrap();
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["clock_offset", "engine", "findings", "max_ttl", "promise", "request", "store"]);
    assert_eq!((&report["engine"], &report["promise"], &report["max_ttl"]), (&json!("file store"), &json!("all"), &json!(30.0)));
    assert!(report["request"].as_f64().unwrap() < 1.0 && report["clock_offset"].is_null());
    for finding in report["findings"].as_array().unwrap() {
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["about", "promise", "says"]);
    }
}

#[test]
fn a_store_that_a_run_would_refuse_promises_nothing() {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    fs::set_permissions(vault.store(), Permissions::from_mode(0o777)).unwrap();
    let done = vault.say(&["doctor"]);
    assert_eq!((done.code, done.err.as_str()), (2, ""));
    assert!(done.out.contains("can be written by others: run chmod go-w on it"), "{}", done.out);
    assert!(done.out.ends_with("see the lines with none\n"), "{}", done.out);
    let done = vault.say(&["--store", "redis://127.0.0.1:1", "doctor", "--json"]);
    assert_eq!(done.code, 2);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&report["promise"], &report["request"]), (&json!("none"), &Value::Null));
}

#[test]
fn a_url_that_is_none_is_no_finding() {
    let vault = Vault::new();
    let done = vault.say(&["--store", "gopher://x", "doctor"]);
    assert_eq!((done.code, done.out.as_str()), (64, ""));
    assert!(done.err.contains("no engine gopher"), "{}", done.err);
}

#[test]
fn a_store_that_is_all_but_full_is_told_of() {
    if !crate::vault::is_root() {
        // Only root mounts the small disk that this needs; CI is root.
        return;
    }
    let disk = crate::disk::Disk::mount(2048);
    let vault = Vault::new();
    let store = disk.path().join("store").display().to_string();
    assert_eq!(vault.say(&["--store", &store, "run", "x", "--", "true"]).code, 0);
    disk.fill();
    let done = vault.say(&["--store", &store, "doctor"]);
    assert_ne!(done.code, 0, "{}", done.out);
    assert!(done.out.contains("make room"), "{}", done.out);
}
