//! Names and labels as people and attackers choose them: every one a lock of its own, none a way to the terminal.

use crate::vault::{Vault, wait_for};

#[test]
fn nasty_names_are_locks_like_others_or_refused() {
    let vault = Vault::new();
    let long = "é".repeat(100);
    let names = [
        "a",
        "a/b",
        "A",
        "..",
        ".",
        ".hidden",
        "two words",
        "{tag}",
        "%2f",
        "~",
        "*",
        "$(id)",
        "a\u{202e}b",
        "-",
        "x.lock",
        &long,
        "ledger",
        "max_ttl",
        "a%2fb",
        "'\"",
        "鍵",
    ];
    for name in names {
        // A name may look like an option: then `--name`'s place is after `--`, as everywhere.
        let told = vault.run(&["-n"], name, &["sh", "-c", "printf %s \"$VAULTLOCK_NAME\"; $V run -n other -- true"]);
        assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, name, ""));
    }
    let listed: serde_json::Value = serde_json::from_str(&vault.say(&["status", "--json"]).out).unwrap();
    let mut listed: Vec<&str> = listed.as_array().unwrap().iter().map(|lock| lock["name"].as_str().unwrap()).collect();
    let mut expected = [names.as_slice(), &["other"]].concat();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for (name, complaint) in [
        ("", "can't be empty"),
        ("a\nb", "control characters"),
        ("\u{1b}[2J", "control characters"),
        ("a\u{85}", "control characters"),
        ("x".repeat(201).as_str(), "201 bytes is too long"),
        ("x".repeat(10_000).as_str(), "10000 bytes is too long"),
    ] {
        for done in [vault.run(&[], name, &["true"]), vault.say(&["status", name])] {
            assert_eq!(done.code, 64, "{name:.20}: {done:?}");
            assert!(done.err.contains(complaint) && !done.err.trim_end().contains(char::is_control), "{done:?}");
        }
    }
}

#[test]
fn a_name_and_its_extension_are_two_locks() {
    let vault = Vault::new();
    let _holder = vault.hold(&[], "a");
    for other in ["a/b", "A", "a ", "a.", "%61", "a/"] {
        assert_eq!(vault.run(&["-n"], other, &["true"]).code, 0, "{other:?}");
    }
    assert_eq!(vault.run(&["-n"], "a", &["true"]).code, 75);
}

#[test]
fn a_hostile_label_moves_no_cursor() {
    let vault = Vault::new();
    let label = "\u{1b}[2J\u{9b}31m\r\n\u{7}a\u{202e}b\u{2066}c\u{200b}d\u{7f}\\";
    let _holder = vault.hold(&["--label", label], "x");
    let waiter = vault.spawn(&["--label", label, "-v"], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    wait_for("the waiting line", || !waiter.err().is_empty());
    let said = [vault.say(&["status", "x"]).out, vault.run(&["-n", "-v"], "x", &["true"]).err, waiter.err()];
    for text in said {
        assert!(text.contains("\\u{1b}[2J\\u{9b}31m\\u{d}\\u{a}\\u{7}a\\u{202e}b\\u{2066}c\\u{200b}d\\u{7f}"), "{text:?}");
        let raw = text.chars().find(|c| c.is_control() && *c != '\n' || "\u{202e}\u{2066}\u{200b}".contains(*c));
        assert_eq!(raw, None, "{text:?}");
    }
    assert_eq!(vault.status("x")["holders"][0]["label"], label);
    let json = vault.say(&["status", "x", "--json"]).out;
    assert!(!json.chars().any(|c| c < ' ' && c != '\n'), "{json:?}");
}

#[test]
fn a_huge_label_is_cut() {
    let vault = Vault::new();
    let _holder = vault.hold(&["--label", &"é".repeat(60_000)], "x");
    assert_eq!(vault.status("x")["holders"][0]["label"], "é".repeat(100));
    assert!(vault.run(&["-n"], "x", &["true"]).err.len() < 300);
}
