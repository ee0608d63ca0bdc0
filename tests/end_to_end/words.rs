//! The command line: what is understood, and what is refused with 64 and a clear word.

use crate::vault::Vault;

/// Refused before anything ran: 64, one complaint with this in it, nothing on standard output, no store made.
fn refused(words: &[&str], complaint: &str) {
    let vault = Vault::new();
    let done = vault.say(words);
    assert_eq!((done.code, done.out.as_str()), (64, ""), "{words:?} {done:?}");
    assert!(done.err.starts_with("vaultlock: ") && done.err.contains(complaint), "{words:?} {done:?}");
    assert!(!vault.store().exists(), "{words:?} touched the store");
}

#[test]
fn what_comes_in_a_later_version_is_refused_by_name() {
    for verb in ["history", "reserve", "turn"] {
        refused(&[verb, "x"], &format!("{verb} is not in this version"));
    }
    let valued =
        ["--reservation", "--keys", "--key-window", "--metrics-file", "--on-lost", "--on-wait", "--health", "--health-every"];
    for option in valued {
        refused(&["run", option, "1", "x", "--", "true"], &format!("{option} is not in this version"));
        if option.starts_with("--") {
            refused(&["run", &format!("{option}=1"), "x", "--", "true"], &format!("{option} is not in this version"));
        }
    }
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    for (words, complaint) in [
        (&["-j", "0"][..], "0 is not in 1..=200"),
        (&["--slots", "201"], "201 is not in 1..=200"),
        (&["-s", "-j", "2"], "cannot be used with"),
        (&["-s", "--keep", "1:5"], "cannot be used with"),
        (&["--keep", "1:5"], "--keep 1 leaves none of the 1 slots to others"),
        (&["-j", "2", "--keep", "2:5"], "--keep 2 leaves none of the 2 slots to others"),
        (&["-j", "2", "--keep", "5"], "write N:PRIO"),
        (&["--supersede", "waiting"], "--group <NAME>"),
        (&["--supersede", "all", "--group", "g"], "[possible values: waiting, running]"),
        (&["--group", ""], "a group's name has 1 to 200 bytes"),
        (&["--min-hold", "400d"], "a lock is kept for 1year"),
        (&["--rate", "2"], "write N/DUR"),
        (&["--rate", "0/1m"], "a rate is 1 to 1000 grants"),
        (&["--rate", "2/1x"], "is not a duration"),
        (&["--priority", "2147483648"], "2147483648 is not in"),
        (&["--priority", "high"], "invalid digit"),
        (&["--aging", "0"], "a step of nothing would make all priorities equal"),
        (&["--max-waiters", "-1"], "unexpected argument"),
    ] {
        refused(&[&["run"], words, &["x", "--", "true"]].concat(), complaint);
    }
}

#[test]
fn a_command_that_could_be_a_lock_is_refused_with_a_hint() {
    refused(&["run", "x", "sh", "checkout", "--", "f"], "write vaultlock run \"x\" -- sh ...");
    refused(&["run", "-n", "x", "/bin/sh", "--", "f"], "may be the command or a second lock");
    refused(&["run", "a", "b", "--"], "vaultlock run NAME -- COMMAND");
    refused(&["run", "a", "b", "--no-such", "--", "true"], "--no-such");
    refused(&["run", "a", "b", "", "--", "true"], "a lock name can't be empty");
    let many: Vec<String> = (0..17).map(|number| format!("lock-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&[&["run"], &many[..], &["--", "true"]].concat(), "17 locks are too many for one run: name 16 at most");
    let sixteen = &many[..16];
    refused(&[&["run", "--ttl", "1s"], sixteen, &["--", "true"]].concat(), "the beats of 16 locks do not fit into a ttl of 1s");
    let vault = Vault::new();
    let told = |words: &[&str]| vault.say(&[words, &["echo $VAULTLOCK_NAME,$VAULTLOCK_NAMES"]].concat()).out;
    assert_eq!(told(&["run", "x", "sh", "b", "--", "sh", "-c"]), "", "refused");
    assert_eq!(told(&["run", "x", "sh", "--", "--", "sh", "-c"]), "sh,sh x\n");
    assert_eq!(told(&["run", "x", "no such program", "-w", "5", "b", "--", "sh", "-c"]), "b,b no%20such%20program x\n");
    assert_eq!(told(&["run", "x", "--", "sh", "-c"]), "x,\n");
    assert_eq!(told(&["run", "x", "sh", "-c"]), "x,\n");
    assert_eq!(vault.say(&["run", "x", "echo", "a"]).out, "a\n");
}

#[test]
fn a_run_without_a_command_is_refused() {
    refused(&["run", "x"], "vaultlock run NAME -- COMMAND");
    refused(&["run", "x", "--"], "vaultlock run NAME -- COMMAND");
    refused(&["run", "x", "--", ""], "the command's name is empty");
    refused(&["run"], "NAME");
    refused(&["run", "x", "-c", "true", "ls"], "cannot be used with");
}

#[test]
fn bad_durations_are_refused() {
    for bad in ["", "soon", "-1", "1e30", "nan", "inf", "5 parsecs", "999999999999999999999", "1.2.3"] {
        for option in ["--wait", "--ttl", "--kill-after"] {
            refused(&["run", &format!("{option}={bad}"), "x", "--", "true"], option);
        }
    }
    refused(&["run", "-w", "-1", "x", "--", "true"], "-1");
}

#[test]
fn a_ladder_that_does_not_fit_is_refused_with_the_number_to_change() {
    refused(&["run", "--ttl", "0", "x", "--", "true"], "a ttl of 0s is out of range");
    refused(&["run", "--ttl", "999ms", "x", "--", "true"], "choose one from 1s");
    refused(&["run", "--ttl", "31s", "x", "--", "true"], "the store's max_ttl of 30s");
    refused(&["run", "--ttl", "25h", "x", "--", "true"], "out of range");
    refused(&["run", "--ttl", "2s", "-k", "5s", "x", "--", "true"], "--kill-after 5s does not fit into a ttl of 2s");
}

#[test]
fn bad_signals_are_refused() {
    refused(&["run", "--signal", "SOAP", "x", "--", "true"], "there is no signal \"SOAP\"");
    refused(&["run", "--signal", "0", "x", "--", "true"], "there is no signal");
    refused(&["run", "--signal", "99", "x", "--", "true"], "there is no signal");
    for idle in ["STOP", "sigcont", "TSTP", "19"] {
        refused(&["run", "--signal", idle, "x", "--", "true"], "does not ask a job to end");
    }
    let vault = Vault::new();
    for good in ["TERM", "sigint", "9", "hup"] {
        assert_eq!(vault.run(&["--signal", good], "x", &["true"]).code, 0, "{good}");
    }
}

#[test]
fn bad_numbers_and_choices_are_refused() {
    for bad in ["256", "-1", "x", ""] {
        refused(&["run", &format!("--conflict-exit-code={bad}"), "x", "--", "true"], "--conflict-exit-code");
    }
    refused(&["run", "--stragglers", "hug", "x", "--", "true"], "leave, wait, kill");
    refused(&["run", "--if-unavailable", "cry", "x", "--", "true"], "fail, skip, run");
    refused(&["-q", "-v", "run", "x", "--", "true"], "cannot be used with");
    refused(&["run", "--no-such-option", "x", "--", "true"], "--no-such-option");
    refused(&["rum", "x", "--", "true"], "rum");
}

#[test]
fn bad_stores_are_refused() {
    for (store, complaint) in [
        ("ftp://h/x", "there is no engine ftp://"),
        ("file://host/dir", "three slashes"),
        ("file:///tmp/x?colour=red", "no parameter \"colour\""),
        ("file:///tmp/x?max_ttl=10ms", "max_ttl in the store's URL must be from 1s"),
        ("file:///tmp/x?max_ttl=99h", "max_ttl in the store's URL must be from 1s"),
        ("file:///tmp/x?max_ttl=soon", "max_ttl in the store's URL"),
        ("", "the store's URL is empty"),
    ] {
        refused(&["--store", store, "run", "x", "--", "true"], complaint);
        refused(&["run", "x", "--store", store, "--", "true"], complaint);
    }
}

#[test]
fn help_and_version_are_answers() {
    let vault = Vault::new();
    for (words, part) in
        [(["run", "--help"], "Exit codes:"), (["--help", "-q"], "completions"), (["--version", "-q"], "vaultlock 0")]
    {
        let done = vault.say(&words);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{words:?}");
        assert!(done.out.contains(part), "{words:?} {done:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let done = vault.say(&["completions", shell]);
        assert!(done.code == 0 && done.out.contains("vaultlock"), "{shell}");
    }
}
