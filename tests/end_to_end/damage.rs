//! State that this program did not write: it grants nothing, changes nothing, and says so in a line.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use vaultlock::ledger::codec::{self, Damage};
use vaultlock::time::Wall;

use crate::vault::{Done, Running, Vault, wait_for};

/// Refused with 125 and one line that says what is wrong and what to do; the store is as it was.
fn refused(vault: &Vault, what: &str, complaint: &str) {
    let before = vault.contents();
    let done = vault.run(&["-w", "1"], "x", &["sh", "-c", "echo > $F/granted"]);
    assert_eq!(done.code, 125, "{what}: {done:?}");
    assert!(!vault.file("granted").exists(), "{what}: granted");
    one_line(&done, what, complaint);
    assert!(vault.contents() == before, "{what}: the store was changed");
}

fn one_line(done: &Done, what: &str, complaint: &str) {
    let line = done.err.strip_prefix("vaultlock: ").unwrap_or_else(|| panic!("{what}: {done:?}"));
    assert!(line.contains(complaint) && line.lines().count() == 1, "{what}: {done:?}");
    assert!(line.starts_with(|c: char| c == '/' || c.is_lowercase()), "{what}: {done:?}");
}

/// A holder, once all that it makes in the store is there.
fn hold(vault: &Vault, options: &[&str]) -> Running {
    let holder = vault.hold(options, "x");
    wait_for("the holder's bell", || !vault.files("x", "bells").is_empty());
    holder
}

fn used() -> Vault {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    vault
}

/// A random number a call, the same ones in every run.
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

#[test]
fn a_ledger_cut_at_any_byte_grants_nothing() {
    let vault = used();
    let ledger = vault.ledger("x");
    let whole = fs::read(&ledger).unwrap();
    for length in 0..whole.len() {
        let cut = codec::unsealed(&whole[..length]);
        assert!(matches!(cut, Err(Damage::Seal)), "{length}: {cut:?}");
        // A process a byte would take a minute.
        if length % 16 == 0 || length + 1 == whole.len() {
            fs::write(&ledger, &whole[..length]).unwrap();
            refused(&vault, &format!("cut to {length}"), "is damaged (its digest does not fit: ");
            assert_eq!(vault.say(&["status", "x"]).code, 125);
        }
    }
    fs::write(&ledger, &whole).unwrap();
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 0);
}

#[test]
fn a_ticket_cut_at_any_byte_grants_nothing_and_its_job_goes_on() {
    let vault = Vault::new();
    let holder = hold(&vault, &[]);
    let ticket = vault.files("x", "tickets").remove(0);
    let whole = fs::read(&ticket).unwrap();
    for length in 0..whole.len() {
        let cut = codec::read_ticket(&whole[..length]);
        assert!(matches!(cut, Err(Damage::Syntax(..))), "{length}: {cut:?}");
        if length % 16 == 0 || length + 1 == whole.len() {
            fs::write(&ticket, &whole[..length]).unwrap();
            refused(&vault, &format!("cut to {length}"), "is damaged (not a ticket: ");
        }
    }
    fs::write(&ticket, &whole).unwrap();
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 75);
    vault.let_go("x");
    let done = holder.end();
    assert_eq!((done.code, done.err.as_str()), (0, ""));
}

/// A byte changed, taken out or put in.
fn mutated(text: &[u8], random: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut text = text.to_vec();
    let at = random() as usize % text.len();
    match random() % 3 {
        0 => text[at] = random() as u8,
        1 => drop(text.remove(at)),
        _ => text.insert(at, random() as u8),
    }
    text
}

#[test]
fn of_a_hundred_thousand_mutations_none_is_believed() {
    let vault = Vault::new();
    let _holder = hold(&vault, &[]);
    let ledger = vault.ledger("x");
    let whole = fs::read(&ledger).unwrap();
    let body = codec::unsealed(&whole).unwrap();
    let mut random = numbers(4711);
    for _ in 0..100_000 {
        let text = mutated(&whole, &mut random);
        let opened = catch_unwind(|| codec::unsealed(&text).is_ok());
        assert!(text == whole || matches!(opened, Ok(false)), "{}", String::from_utf8_lossy(&text));
        // Without its seal, as a server might hand it over: read as it stands or refused, but no panic.
        let text = mutated(body, &mut random);
        let read = catch_unwind(|| codec::read_ledger(&text, "x", version(&ledger), Wall::now()));
        let kept = read.as_ref().is_ok_and(|read| read.as_ref().map_or(true, |ledger| ledger.holders.len() == 1));
        assert!(kept, "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn mutations_of_a_live_ledger_grant_nothing() {
    let vault = Vault::new();
    let holder = hold(&vault, &["--ttl", "30s"]);
    let ledger = vault.ledger("x");
    let whole = fs::read(&ledger).unwrap();
    let mut random = numbers(42);
    for _ in 0..150 {
        let text = mutated(&whole, &mut random);
        fs::write(&ledger, &text).unwrap();
        let done = vault.run(&["-n"], "x", &["sh", "-c", "echo > $F/granted"]);
        let expected = if text == whole { 75 } else { 125 };
        assert_eq!(done.code, expected, "{}: {done:?}", String::from_utf8_lossy(&text));
        assert!(!vault.file("granted").exists());
    }
    fs::write(&ledger, &whole).unwrap();
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
}

/// One flipped digit of the holder's id, and the living holder is a stranger to its own lock.
#[test]
fn a_holder_whose_id_was_mangled_is_not_overtaken() {
    let vault = Vault::new();
    let store = format!("file://{}?max_ttl=1s", vault.store().display());
    let script = "echo > $F/up; while [ ! -e $F/end ]; do echo first >> $F/log; sleep 0.02; done; echo first >> $F/log";
    let first = vault.spawn(&["--store", &store], "x", &["sh", "-c", script]);
    vault.told_any("up");
    let ledger = vault.ledger("x");
    let text = fs::read_to_string(&ledger).unwrap();
    let at = text.find("\"id\":\"").unwrap() + 6;
    let digit = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
    fs::write(&ledger, [&text[..at], digit, &text[at + 1..]].concat()).unwrap();
    let second = vault.run(&["--store", &store, "-w", "4"], "x", &["sh", "-c", "echo second >> $F/log"]);
    vault.write("end", "");
    let first = first.end();
    let log = vault.text("log");
    let overlap = log.find("second").is_some_and(|turn| log[turn..].contains("first"));
    assert!(!overlap, "both ran at once: {first:?} {second:?}");
}

#[test]
fn forged_values_are_refused() {
    let vault = Vault::new();
    let holder = hold(&vault, &[]);
    let ledger = vault.ledger("x");
    let sealed = fs::read_to_string(&ledger).unwrap();
    let whole = sealed.lines().next().unwrap();
    let fence = whole.split("\"fence\":").nth(1).unwrap().split(',').next().unwrap();
    let far = "9007199254740991";
    let nested = format!("\"holders\":{}{}", "[".repeat(5000), "]".repeat(5000));
    for (from, to, complaint) in [
        ("\"fmt\":1", "\"fmt\":2", "written in format 2, which this version does not know: upgrade vaultlock"),
        ("\"name\":\"x\"", "\"name\":\"y\"", "it belongs to the lock \"y\""),
        ("\"name\":\"x\"", "\"name\":\"\\u001b[2Jy\"", "it belongs to the lock \"\\u{1b}[2Jy\""),
        (&format!("\"version\":{}", version(&ledger)), "\"version\":99", "its version is not the one it is kept under"),
        (&format!("\"fence\":{fence}"), &format!("\"fence\":{far}"), "its fence lies years ahead of the clock"),
        (&format!("\"fence\":{fence}"), "\"fence\":1", "a holder's fence is above the lock's"),
        ("\"ttl_ms\":30000", "\"ttl_ms\":1000000000", "a holder's ttl is out of range"),
        ("\"ttl_ms\":30000", "\"ttl_ms\":0", "a holder's ttl is out of range"),
        ("\"ttl_ms\":30000", "\"ttl_ms\":-5", "not a ledger"),
        ("\"fmt\":1", "\"fmt\":1,\"more\":1", "not a ledger: unknown field"),
        ("\"stops\":[]", "\"stops\":0", "not a ledger"),
        ("\"holders\":[", &nested, "not a ledger"),
        ("\"label\":\"", &format!("\"label\":\"{}", "a".repeat(500)), "a holder's label is too long"),
        ("\"label\":\"", &format!("\"label\":\"{}", "a".repeat(200_000)), "more than any honest ledger has"),
    ] {
        assert!(whole.contains(from), "{from} is not in {whole}");
        fs::write(&ledger, codec::sealed(&whole.replacen(from, to, 1))).unwrap();
        refused(&vault, &to.chars().take(60).collect::<String>(), complaint);
    }
    fs::write(&ledger, &sealed).unwrap();
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
}

/// S20: whoever asks for more than the store's `max_ttl` counts with that.
#[test]
fn a_forged_ttl_is_read_as_the_longest_allowed() {
    let vault = Vault::new();
    let store = format!("file://{}?max_ttl=1s", vault.store().display());
    assert_eq!(vault.run(&["--store", &store], "x", &["true"]).code, 0);
    let ledger = vault.ledger("x");
    let text = fs::read_to_string(&ledger).unwrap().lines().next().unwrap().to_owned();
    let ghost = "\"holders\":[{\"id\":\"00000000000000000000000000000000\",\"mode\":\"exclusive\",\"slots\":1,\"priority\":0,\
                 \"fence\":1,\"ttl_ms\":86400000,\"since\":1,\"who\":{\"label\":\"ghost\",\"host\":\"h\",\"pid\":1}}]";
    fs::write(&ledger, codec::sealed(&text.replacen("\"holders\":[]", ghost, 1))).unwrap();
    assert_eq!(vault.run(&["--store", &store, "-n"], "x", &["true"]).code, 75);
    assert_eq!(vault.run(&["--store", &store, "-w", "10"], "x", &["true"]).code, 0);
}

/// S10: a number from the store is for people. The process here stands for pid 1, which would survive anything.
#[test]
fn nobody_signals_a_process_that_a_ledger_names() {
    let vault = Vault::new();
    let mut bystander = vault.start(vault.wrap("sleep", &["1000"]));
    let holder = hold(&vault, &["--ttl", "1s"]);
    for place in [vault.ledger("x"), vault.files("x", "tickets").remove(0)] {
        let text = fs::read_to_string(&place).unwrap();
        let pid = format!("\"pid\":{}", holder.sentry());
        assert!(text.contains(&pid));
        let forged = text.lines().next().unwrap().replace(&pid, &format!("\"pid\":{}", bystander.sentry()));
        fs::write(&place, if text.ends_with('\n') { codec::sealed(&forged) } else { forged }).unwrap();
    }
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 75);
    let worker = holder.worker();
    crate::vault::send_all(&[holder.sentry(), worker], nix::sys::signal::Signal::SIGKILL);
    assert_eq!(vault.run(&["-w", "20"], "x", &["true"]).code, 0);
    assert!(!bystander.is_over(), "a process named in the store was killed");
}

#[test]
fn a_stranger_among_the_files_grants_nothing() {
    for (part, stranger, complaint) in [
        ("ledger", "7~", "is no version of a ledger"),
        ("ledger", "007", "is no version of a ledger"),
        ("ledger", "0", "is no version of a ledger"),
        ("ledger", "18446744073709551616", "is no version of a ledger"),
        ("ledger", "18446744073709551615", "is damaged"),
        ("tickets", "core", "is no ticket"),
        ("tickets", "1.2.3.00000000000000000000000000000000.5", "is no ticket"),
        ("tickets", "1.2.3.00000000000000000000000000000000", "is damaged"),
        ("ledger", "evil\u{1b}[31m\n", "is no version of a ledger"),
        ("tickets", "evil\u{1b}[31m\n", "is no ticket"),
    ] {
        let vault = used();
        fs::write(vault.lock_dir("x").join(part).join(stranger), "").unwrap();
        refused(&vault, stranger, complaint);
        let said = vault.run(&[], "x", &["true"]).err;
        assert!(!said.trim_end().contains(char::is_control), "{said:?}");
    }
}

fn version(ledger: &Path) -> u64 {
    ledger.file_name().unwrap().to_str().unwrap().parse().unwrap()
}
