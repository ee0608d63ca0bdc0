//! The config file: where a lock lives and what its runs do, told once for all.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::vault::{Done, Vault};

const SECRET: &str = "hunter2";

/// A vault whose store is told by nothing but this config file, in the place of this user's.
fn configured(text: &str) -> Vault {
    let vault = Vault::new();
    fs::create_dir(vault.file("vaultlock")).unwrap();
    vault.write("vaultlock/config.toml", &text.replace("$F", vault.file("").to_str().unwrap()));
    vault
}

fn command(vault: &Vault, words: &[&str]) -> Command {
    let mut command = vault.command(words);
    command.env_remove("VAULTLOCK_STORE").env("XDG_CONFIG_HOME", vault.file(""));
    command
}

fn say(vault: &Vault, words: &[&str]) -> Done {
    vault.start(command(vault, words)).end()
}

/// Where a run of this lock has its store.
fn store_of(vault: &Vault, words: &[&str], name: &str) -> String {
    let done = say(vault, &[words, &["run", name, "--", "sh", "-c", "echo $VAULTLOCK_STORE"]].concat());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    done.out.trim().rsplit('/').next().unwrap().to_owned()
}

const STORES: &str = "store = 'local'
[stores]
local = '$F/local'
prod = 'file://$F/prod?max_ttl=20s'
[[locks]]
name = 'deploy-*'
store = 'prod'
[[locks]]
name = 'deploy-by-path'
store = '$F/path'
";

#[test]
fn the_store_is_named_in_the_config_file() {
    let vault = configured(STORES);
    assert_eq!(store_of(&vault, &[], "backup"), "local");
    assert_eq!(store_of(&vault, &[], "deploy-eu"), "prod?max_ttl=20000ms");
    assert_eq!(store_of(&vault, &[], "deploy-by-path"), "path");
    assert_eq!(store_of(&vault, &["--store", "prod"], "backup"), "prod?max_ttl=20000ms");
    let done = say(&vault, &["status", "deploy-eu"]);
    assert_eq!((done.code, done.out.as_str()), (0, "deploy-eu: free\n"));
    let done = say(&vault, &["status"]);
    assert!(done.out.contains("backup") && !done.out.contains("deploy"), "{}", done.out);
}

#[test]
fn another_config_file_is_named_with_config() {
    let vault = configured(STORES);
    let other = vault.write("other.toml", &format!("store = '{}'", vault.file("other").display()));
    assert_eq!(store_of(&vault, &["--config", other.to_str().unwrap()], "backup"), "other");
    let done = say(&vault, &["--config", "/nowhere/c.toml", "run", "x", "--", "true"]);
    assert_eq!(done.code, 125);
    assert!(done.err.contains("can't read the config file /nowhere/c.toml"), "{}", done.err);
}

#[test]
fn the_environment_goes_before_the_config_file_and_a_named_file_between_them() {
    let vault = configured(STORES);
    let url_file = vault.write("url", &format!("file://{}\n", vault.file("mounted").display()));
    let script = ["run", "x", "--", "sh", "-c", "echo $VAULTLOCK_STORE"];
    let mut from_file = command(&vault, &script);
    from_file.env("VAULTLOCK_STORE_FILE", &url_file);
    let done = vault.start(from_file).end();
    assert!(done.code == 0 && done.out.ends_with("/mounted\n"), "{} {}", done.out, done.err);
    let mut from_environment = command(&vault, &script);
    from_environment.env("VAULTLOCK_STORE_FILE", &url_file).env("VAULTLOCK_STORE", "prod");
    let done = vault.start(from_environment).end();
    assert!(done.code == 0 && done.out.contains("/prod?"), "{} {}", done.out, done.err);
}

#[test]
fn a_file_with_the_url_must_hold_one() {
    let vault = configured(STORES);
    for (text, part) in
        [("", "one line"), ("\n", "one line"), ("a\nb\n", "one line"), ("gopher://:hunter2@x", "no engine gopher")]
    {
        let mut run = command(&vault, &["run", "x", "--", "true"]);
        run.env("VAULTLOCK_STORE_FILE", vault.write("url", text));
        let done = vault.start(run).end();
        assert!(done.code == 125 && done.err.contains(part) && done.err.contains("$VAULTLOCK_STORE_FILE"), "{}", done.err);
        assert!(!done.err.contains(SECRET), "{}", done.err);
    }
}

const OPTIONS: &str = "store = '$F/local'
[defaults]
conflict-exit-code = 9
[[locks]]
name = 'quick-*'
max-run = '100ms'
wait = 0
stragglers = 'kill'
[[locks]]
name = 'many'
slots = 2
isolate = false
";

#[test]
fn options_of_the_config_file_stand_in_for_what_was_not_typed() {
    let vault = configured(OPTIONS);
    let done = say(&vault, &["run", "quick-1", "--", "sleep", "60"]);
    assert_eq!(done.code, 124, "{}", done.err);
    let done = say(&vault, &["run", "--max-run", "0", "quick-1", "--", "sleep", "0.2"]);
    assert_eq!(done.code, 0, "what was typed goes first: {}", done.err);
    let holder = vault.start(command(&vault, &["run", "quick-2", "--max-run=1m", "--", "sh", "-c", "echo > $F/held; sleep 60"]));
    vault.told_any("held");
    assert_eq!(say(&vault, &["run", "quick-2", "--", "true"]).code, 9);
    assert_eq!(say(&vault, &["run", "-E", "8", "quick-2", "true"]).code, 8);
    assert_eq!(say(&vault, &["run", "-E", "8", "quick-2", "-c", "true"]).code, 8);
    drop(holder);
}

#[test]
fn slots_of_the_config_file_are_everybodys() {
    let vault = configured(OPTIONS);
    let script = "echo > $F/in; while [ ! -e $F/go ]; do sleep 0.01; done";
    let holder = vault.start(command(&vault, &["run", "many", "--", "sh", "-c", script]));
    vault.told_any("in");
    assert_eq!(say(&vault, &["run", "-n", "many", "--", "true"]).code, 0, "the second slot is free");
    vault.write("go", "");
    assert_eq!(holder.end().code, 0);
}

#[test]
fn what_is_wrong_in_the_config_file_stops_the_run_and_no_secret_is_told() {
    for (text, part) in [
        ("store = 'redis://:hunter2@h:99999'", "port"),
        ("store = 'gone'", "no store \"gone\""),
        ("store = \"redis://:hunter2@h", "line 1"),
        ("[stores]\na = 'redis://:hunter2@h?b=c'\n[[locks]]\nname = '*'\nstore = 'a'", "the store a"),
        ("[defaults]\nttk = '3s'", "run has no option --ttk"),
        ("[defaults]\nttl = 'soon'", "not a duration"),
        ("[defaults]\nttl = true", "must be a text in quotes or a number"),
        ("[defaults]\nisolate = 'yes'", "true or false"),
        ("[defaults]\ncommand = 'x'", "run has no option --command"),
        ("[defaults]\nstore = 'x'", "run has no option --store"),
    ] {
        let vault = configured(text);
        let done = say(&vault, &["run", "x", "--", "sh", "-c", "echo > $F/ran"]);
        assert_eq!(done.code, 125, "{text}: {}", done.err);
        assert!(done.err.contains(part) && done.err.contains("/vaultlock/config.toml"), "{text}: {}", done.err);
        assert!(!done.err.contains(SECRET) && !vault.file("ran").exists(), "{text}: {}", done.err);
    }
}

#[test]
fn what_was_typed_and_what_the_file_adds_must_go_together() {
    let vault = configured(OPTIONS);
    let done = say(&vault, &["run", "--shared", "many", "--", "true"]);
    assert_eq!(done.code, 64);
    assert!(
        done.err.contains("cannot be used with") && done.err.contains("adds --conflict-exit-code=9 --slots=2"),
        "{}",
        done.err
    );
}

#[test]
fn two_locks_of_different_stores_are_not_taken_together() {
    let vault = configured(STORES);
    let done = say(&vault, &["run", "backup", "deploy-eu", "--", "true"]);
    assert_eq!(done.code, 125);
    assert!(done.err.contains("different stores"), "{}", done.err);
}

#[test]
fn a_config_file_that_others_can_write_is_not_believed() {
    let vault = configured(STORES);
    let file = vault.file("vaultlock/config.toml");
    for mode in [0o666, 0o664, 0o646] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let done = say(&vault, &["run", "x", "--", "true"]);
        assert!(done.code == 125 && done.err.contains("can be written by others"), "{mode:o}: {}", done.err);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(say(&vault, &["run", "x", "--", "true"]).code, 0);
    if crate::vault::is_root() {
        std::os::unix::fs::chown(&file, Some(1234), None).unwrap();
        let done = say(&vault, &["run", "x", "--", "true"]);
        assert!(done.code == 125 && done.err.contains("belongs to user 1234"), "{}", done.err);
    }
}

#[test]
fn a_word_is_the_name_of_a_store_and_a_path_has_a_slash() {
    let vault = configured(STORES);
    let done = say(&vault, &["--store", "stage", "run", "x", "--", "true"]);
    assert_eq!(done.code, 64);
    assert!(done.err.contains("no store \"stage\"") && done.err.contains("write ./stage"), "{}", done.err);
    let mut here = command(&vault, &["--store", "./stage", "run", "x", "--", "true"]);
    here.current_dir(vault.file(""));
    assert_eq!(vault.start(here).end().code, 0);
    assert!(vault.file("stage").is_dir());
}
