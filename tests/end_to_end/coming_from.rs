//! The table of other lock commands in README: each line of ours is run as it stands there, free and busy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::vault::{BINARY, Done, Vault};

/// What the table's jobs are called; each says that it ran.
const JOBS: [&str; 6] = ["backup", "report", "make", "deploy.sh", "a", "b"];

/// A line of the table: the words of the other command, and ours.
struct Line {
    before: String,
    ours: String,
}

#[test]
fn each_line_runs_the_same_job() {
    for line in table() {
        // One of them keeps its lock for a while.
        let vault = with_jobs();
        let done = shell(&vault, &line.ours);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", line.ours);
        assert!(ran_the_end_of(&vault, &line.ours), "{} ran {:?}", line.ours, vault.text("ran"));
    }
}

#[test]
fn each_line_that_does_not_wait_ends_with_the_code_of_the_other_command() {
    let vault = with_jobs();
    let mut tried = 0;
    for line in table() {
        let Some(code) = code_of_busy(&line.before) else { continue };
        // To wait for a minute is not what is tried here.
        let ours = line.ours.replace("-w 60", "-w 0");
        let name = lock_of(&ours);
        let _ = fs::remove_file(vault.file("ran"));
        let held = vault.hold(&[], &name);
        let done = shell(&vault, &ours);
        assert_eq!((done.code, vault.text("ran").as_str()), (code, ""), "{ours} said {}", done.err);
        vault.let_go(&name);
        held.end().was_silent(0);
        for sign in ["held", "go"] {
            fs::remove_file(vault.file(&format!("{sign}-{name}"))).unwrap();
        }
        tried += 1;
    }
    assert!(tried >= 10, "only {tried} lines say what busy is");
}

#[test]
fn flock_itself_ends_as_the_table_says() {
    let vault = with_jobs();
    let flocks: Vec<Line> = table().into_iter().filter(|line| line.before.starts_with("flock ")).collect();
    assert!(flocks.len() >= 3);
    for line in flocks {
        let before = line.before.replace("/var/lock/", &format!("{}/", vault.file("").display())).replace("-w 60", "-w 0");
        let _ = fs::remove_file(vault.file("ran"));
        assert_eq!(shell(&vault, &before).code, 0, "{before}");
        assert!(ran_the_end_of(&vault, &line.ours), "{before}");
        if let Some(code) = code_of_busy(&line.before) {
            let file = before.split_whitespace().find(|word| word.ends_with(".lock")).unwrap().to_owned();
            vault.write("line", &before);
            assert_eq!(shell(&vault, &format!("flock {file} sh line")).code, code, "{before}");
        }
    }
}

/// What the other command ends with where the lock is busy, by its own manual; `None` if it waits for ever.
fn code_of_busy(before: &str) -> Option<i32> {
    let words: Vec<&str> = before.split_whitespace().filter(|word| !word.contains('=')).collect();
    let has = |word: &str| words.contains(&word);
    match words[0] {
        "flock" if has("-E") => Some(0),
        "flock" => (has("-n") || has("-w")).then_some(1),
        "setlock" if has("-nx") => Some(0),
        "setlock" => has("-n").then_some(111),
        "lckdo" => (!has("-w")).then_some(75),
        "sem" => has("--st").then_some(1),
        "consul" => has("-timeout").then_some(1),
        "etcdctl" => None,
        "cronlock" => Some(200),
        other => panic!("what does {other} do when its lock is busy?"),
    }
}

fn table() -> Vec<Line> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = readme.split("| before | with vaultlock |\n| --- | --- |\n").nth(1).expect("README has the table");
    let lines = rows.lines().take_while(|row| row.starts_with('|')).map(|row| {
        let cells: Vec<&str> = row.split('`').collect();
        let [_, before, _, ours, _] = cells[..] else { panic!("{row}") };
        Line { before: before.to_owned(), ours: ours.to_owned() }
    });
    lines.collect()
}

/// The lock that a line of ours names: what stands before `--` or `-c`.
fn lock_of(ours: &str) -> String {
    let words: Vec<&str> = ours.split_whitespace().collect();
    let end = words.iter().position(|word| ["--", "-c"].contains(word)).unwrap();
    words[end - 1].to_owned()
}

/// Whether the last job of a line was the last to run, with its words.
fn ran_the_end_of(vault: &Vault, ours: &str) -> bool {
    let job = ours.rsplit_once(" -- ").or_else(|| ours.rsplit_once(" -c ")).unwrap().1.trim_matches('\'');
    let last = job.rsplit("&& ").next().unwrap().trim_start_matches("./");
    vault.text("ran").lines().last() == Some(last)
}

fn with_jobs() -> Vault {
    let vault = Vault::new();
    for job in JOBS {
        let file = vault.write(job, &format!("#!/bin/sh\necho {job} \"$@\" | sed 's/ *$//' >> $F/ran\n"));
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    vault
}

/// A line typed into a shell in the folder of the jobs. The one store of the test stands for each that is named.
fn shell(vault: &Vault, line: &str) -> Done {
    let line: Vec<&str> = line.split_inclusive(' ').filter(|word| !word.starts_with("VAULTLOCK_STORE=")).collect();
    let mut shell = vault.wrap("sh", &["-c", &line.concat()]);
    let here = vault.file("").display().to_string();
    let binary = Path::new(BINARY).parent().unwrap().display().to_string();
    shell.env("PATH", format!("{here}:{binary}:{}", std::env::var("PATH").unwrap())).current_dir(here);
    vault.start(shell).end()
}
