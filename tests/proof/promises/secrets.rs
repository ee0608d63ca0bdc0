//! P13: a password reaches the server alone. Each way of giving it meets each situation, and what ps, the logs, the job
//! and the server's own data show is searched for it.

mod site;
mod situations;

use std::cell::RefCell;
use std::fs;

use self::site::{Site, WAYS, Way};
use self::situations::SITUATIONS;
use super::row::{Found, Row};
use super::stage::Stage;
use super::{Setting, lanes};
use crate::support::running::{Done, Running, wait_for};
use crate::support::verdict::CANARY;

pub fn measure(setting: &Setting) -> Vec<Row> {
    let all = SITUATIONS.len() * WAYS.len();
    // Quickly: each situation once, with the ways in turn.
    let scenarios: Vec<usize> = match setting.full {
        true => (0..all).collect(),
        false => (0..SITUATIONS.len()).map(|situation| situation * WAYS.len() + situation % WAYS.len()).collect(),
    };
    let found = lanes::run(
        3,
        scenarios.len(),
        |_| Site::open(),
        |site, number| {
            let scenario = scenarios[number];
            let ((name, situation), way) = (SITUATIONS[scenario / WAYS.len()], &WAYS[scenario % WAYS.len()]);
            let play = Play::new(setting, site, way, format!("{name}, {}", way.says));
            situation(&play);
            play.close()
        },
    );
    let what = format!("redis: {} ways to give a password in {} situations", WAYS.len(), SITUATIONS.len());
    let note = "searched: command lines, output of vaultlock and job, the job's environment, notes, keys, CLIENT LIST";
    vec![Row::new("P13 secrets stay secret", what).noted(note).add_all(found)]
}

/// One scenario.
struct Play<'a> {
    site: &'a Site,
    way: &'a Way,
    stage: Stage,
    name: String,
    found: RefCell<Found>,
}

impl<'a> Play<'a> {
    fn new(setting: &Setting, site: &'a Site, way: &'a Way, name: String) -> Play<'a> {
        Play { site, way, stage: Stage::on(setting, String::new()), name, found: RefCell::new(Found::trial()) }
    }

    /// vaultlock with these words on the store of this URL, given as the way says.
    fn start_on(&self, url: &str, words: &[&str]) -> Running {
        let given = if self.way.on_command_line { vec!["--store", url] } else { Vec::new() };
        let mut command = self.stage.command(&[&given[..], words].concat());
        if !self.way.on_command_line {
            command.env("VAULTLOCK_STORE", url);
        }
        if self.way.by_auth {
            command.env("REDISCLI_AUTH", CANARY);
        }
        // What the job may know: where its files are, and the measured program.
        command.env("F", self.stage.dir()).env("V", self.stage.binary());
        self.stage.start(command)
    }

    fn start(&self, words: &[&str]) -> Running {
        self.start_on(&self.way.url(self.site), words)
    }

    /// It ends with this code, and shows no secret.
    fn ends(&self, running: Running, code: i32) {
        let done = running.end();
        self.found
            .borrow_mut()
            .expect(done.code == code, || format!("{}: code {} and not {code}: {}", self.name, done.code, done.err));
        self.search_done(&done);
    }

    fn say(&self, words: &[&str], code: i32) {
        self.ends(self.start(words), code);
    }

    /// A run whose job writes down its pid and then waits; returns once it does. All its processes are searched.
    fn hold(&self, options: &[&str]) -> Running {
        let job = "trap 'exit 143' TERM; echo $$ > $F/pid; while [ ! -e $F/go ]; do sleep 0.01; done";
        let running = self.start(&[&["run", "-v"], options, &["x", "--", "sh", "-c", job]].concat());
        wait_for("the job's pid", || self.text("pid").ends_with('\n'));
        self.search_processes();
        running
    }

    fn let_go(&self) {
        fs::write(self.stage.file("go"), "").unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.stage.file(name)).unwrap_or_default()
    }

    /// What ps shows of everybody's words, and what the job's environment says.
    fn search_processes(&self) {
        let job: Option<i32> = self.text("pid").trim().parse().ok();
        for pid in self.stage.alive() {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let is_vaultlock = String::from_utf8_lossy(&read("comm")).starts_with("vaultlock");
            // What was typed is there for all to see; the warning said so.
            if !(self.way.on_command_line && is_vaultlock) {
                self.search("a command line", &read("cmdline"));
            }
            if is_vaultlock {
                let known = [read("cmdline"), read("environ")].concat();
                let given = String::from_utf8_lossy(&known).contains(CANARY);
                self.found.borrow_mut().expect(given, || format!("{}: there was no secret to show", self.name));
            }
            if job == Some(pid) {
                let environ = read("environ");
                // The caller's own variable is passed on like any other.
                let words = environ.split(|byte| *byte == 0).filter(|word| !word.starts_with(b"REDISCLI_AUTH="));
                self.search("the job's environment", &words.collect::<Vec<_>>().join(&b'\n'));
            }
        }
    }

    fn search_done(&self, done: &Done) {
        let out = done.out.lines().filter(|line| !line.starts_with("REDISCLI_AUTH="));
        self.search("the output", out.collect::<Vec<_>>().join("\n").as_bytes());
        self.search("the messages", done.err.as_bytes());
    }

    fn search(&self, what: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        self.found.borrow_mut().expect(!text.contains(CANARY), || format!("{}: {what} shows it: {text}", self.name));
    }

    /// What is left behind: on the server, and in this host's notes.
    fn close(self) -> Found {
        drop(self.stage);
        let found = self.found.into_inner();
        let mut search = Found::default();
        for (what, text) in self.site.traces() {
            search.expect(!String::from_utf8_lossy(&text).contains(CANARY), || format!("{}: {what} shows it", self.name));
        }
        Found { violations: [found.violations, search.violations].concat(), ..found }
    }
}
