//! `vaultlock status --watch`: on a terminal, into a file, and as JSON.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::vault::{BINARY, Running, Vault, send, wait_for};

/// The text that a run has written so far.
fn written(vault: &Vault) -> String {
    vault.text("screen")
}

/// `status --watch` on a terminal of this size, which is recorded in `screen`; its process is in `pid`, its terminal in `tty`.
fn on_terminal(vault: &Vault, size: &str, words: &str) -> Running {
    let script = format!("stty {size}; tty > $F/tty; echo $$ > $F/pid; exec $V status --watch {words}");
    vault.write("watch", &script);
    let screen = vault.file("screen").display().to_string();
    let mut command = vault.wrap("script", &["-qfec", "sh $F/watch", &screen]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    vault.start(command)
}

/// What stands on the screen: the lines since it was last drawn from the top.
fn drawn(text: &str) -> Vec<String> {
    let last = text.rsplit("\x1b[H").next().unwrap_or_default();
    last.split("\r\n").map(|line| line.replace("\x1b[K", "").replace("\x1b[J", "").replace("\x1b[0m", "")).collect()
}

#[test]
fn a_terminal_shows_the_locks_as_they_change_and_is_left_as_it_was() {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    let watching = on_terminal(&vault, "cols 100 rows 10", "");
    wait_for("the free lock", || written(&vault).contains("x: free"));
    assert!(written(&vault).contains("\x1b[?1049h\x1b[?25l"), "it draws on a screen of its own, without a cursor");
    let holder = vault.hold(&["--label", "build 7"], "x");
    wait_for("the holder", || drawn(&written(&vault)).iter().any(|line| line.contains("held    build 7")));
    let tty = vault.told("tty");
    let stty = vault.wrap("stty", &["-F", &tty, "cols", "30", "rows", "3"]);
    assert_eq!(vault.start(stty).end().code, 0);
    wait_for("the narrow window", || {
        let lines = drawn(&written(&vault));
        lines.len() == 3 && lines[2].trim_end().ends_with('…') && lines.iter().all(|line| line.chars().count() < 40)
    });
    send(vault.told("pid").parse().unwrap(), Signal::SIGINT);
    assert_eq!(watching.end().code, 130);
    let text = written(&vault);
    let after = text.split("\x1b[?25h\x1b[?1049l").nth(1).expect("the screen was left");
    assert!(after.contains("x: held") && after.contains("build 7"), "what was seen last stays: {after:?}");
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
}

#[test]
fn no_color_means_none() {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    vault.write("watch", "stty cols 80 rows 10; echo $$ > $F/pid; NO_COLOR=1 exec $V status --watch");
    let screen = vault.file("screen").display().to_string();
    let mut command = vault.wrap("script", &["-qfec", "sh $F/watch", &screen]);
    command.env("TERM", "xterm-256color");
    let watching = vault.start(command);
    wait_for("the free lock", || written(&vault).contains("x: free"));
    assert!(!written(&vault).contains("\x1b[1m") && !written(&vault).contains("\x1b[2m"), "{:?}", written(&vault));
    send(vault.told("pid").parse().unwrap(), Signal::SIGINT);
    assert_eq!(watching.end().code, 130);
}

#[test]
fn elsewhere_a_table_comes_when_something_has_changed() {
    let vault = Vault::new();
    let mut watching = vault.start(vault.command(&["status", "--watch", "x"]));
    wait_for("the first table", || watching.out() == "x: free\n");
    let holder = vault.hold(&["--label", "build 7"], "x");
    wait_for("the holder", || watching.out().contains("\n\nx: held\n  held    build 7"));
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
    wait_for("the end", || watching.out().ends_with("\n\nx: free\n"));
    assert!(!watching.is_over());
    send(watching.sentry(), Signal::SIGINT);
    let done = watching.end();
    assert_eq!((done.code, done.err.as_str(), done.out.matches("x: ").count()), (130, "", 3));
    assert!(!done.out.contains('\x1b'));
}

#[test]
fn json_has_a_line_for_each_lock_that_changed() {
    let vault = Vault::new();
    for name in ["x", "y"] {
        assert_eq!(vault.run(&[], name, &["true"]).code, 0);
    }
    let watching = vault.start(vault.command(&["status", "--watch", "--json"]));
    wait_for("both locks", || watching.out().lines().count() == 2);
    let holder = vault.hold(&[], "y");
    wait_for("the holder", || watching.out().lines().count() == 3);
    vault.let_go("y");
    assert_eq!(holder.end().code, 0);
    wait_for("the end", || watching.out().lines().count() == 4);
    let lines: Vec<Value> = watching.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, usize)> =
        lines.iter().map(|line| (line["name"].as_str().unwrap(), line["holders"].as_array().unwrap().len())).collect();
    assert_eq!(told, [("x", 0), ("y", 0), ("y", 1), ("y", 0)]);
}

#[test]
fn a_store_that_does_not_answer_at_first_is_refused_and_whoever_reads_no_more_ends_it() {
    let vault = Vault::new();
    let done = vault.say(&["--store", "redis://127.0.0.1:1", "status", "--watch"]);
    assert_eq!((done.code, done.out.as_str()), (125, ""));
    let piped = format!("{BINARY} status --watch x --json | head -n 1");
    let holder = vault.hold(&[], "x");
    let reader = vault.start(vault.wrap("sh", &["-c", &piped]));
    wait_for("the first line", || !reader.out().is_empty());
    vault.let_go("x");
    assert_eq!((holder.end().code, reader.end().code), (0, 0));
}
