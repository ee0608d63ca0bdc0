//! A folder for the jobs of one test, the built binary on one store, and the processes that come of it.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use vaultlock::store::locate::Location;

use crate::log::{JOB, Log};
pub use crate::support::running::{Done, Running, send, send_all, stays, wait_for};
use crate::support::running::{end_marked, marked, on_store};
use crate::support::skew::{Skew, dynamic_vaultlock};

pub const BINARY: &str = env!("CARGO_BIN_EXE_vaultlock");
/// Every process of a stage has this in its environment, with the stage's own mark.
const MARK: &str = "REDIS_STAGE_MARK";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder (`$F` for the jobs) and a store. Whatever still runs is killed at the end.
pub struct Stage {
    folder: TempDir,
    mark: String,
    url: String,
    /// Every store that was named, to take away what this host noted of it.
    named: RefCell<Vec<String>>,
    /// The environment of those who live by another clock than the host's.
    clock: RefCell<Vec<(String, PathBuf)>>,
}

impl Stage {
    /// A stage on a server just started, whose leases are three seconds at the most.
    pub fn new(url: &str) -> Stage {
        Stage::on(format!("{url}?max_ttl=3s&fresh=true"))
    }

    /// A stage on the store of this very URL.
    pub fn on(url: String) -> Stage {
        let folder = tempfile::Builder::new().prefix("vl-stage-").tempdir().unwrap();
        fs::write(folder.path().join("job"), JOB).unwrap();
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Stage { folder, mark, named: RefCell::new(vec![url.clone()]), clock: RefCell::default(), url }
    }

    /// Whoever is started from now on lives by this clock.
    pub fn live_by(&self, clock: &Skew) {
        *self.clock.borrow_mut() = clock.environment();
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file in the folder; empty while there is none.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// vaultlock with these words, on this store by the environment.
    pub fn command(&self, words: &[&str]) -> Command {
        self.named.borrow_mut().extend(words.iter().filter(|word| word.contains("://")).map(ToString::to_string));
        let program = if self.clock.borrow().is_empty() { BINARY } else { dynamic_vaultlock() };
        self.wrap(program, words)
    }

    /// Any program, told of the store as vaultlock is; `$V` is the binary.
    pub fn wrap(&self, program: &str, words: &[&str]) -> Command {
        let clock = self.clock.borrow();
        let mut command = on_store(program.as_ref(), words, &self.url);
        command.envs(clock.iter().cloned()).env(MARK, &self.mark).env("F", self.folder.path()).env("V", BINARY);
        command
    }

    pub fn start(&self, command: Command) -> Running {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Running::start(command, self.file(&format!("{number}.out")), self.file(&format!("{number}.err")))
    }

    /// `vaultlock WORDS`, to its end.
    pub fn say(&self, words: &[&str]) -> Done {
        self.start(self.command(words)).end()
    }

    /// `vaultlock run OPTIONS x -- COMMAND`, to its end.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Done {
        self.say(&[&["run"], options, &["x", "--"], command].concat())
    }

    /// A logging job under the lock x, started but perhaps still waiting. It ends at [`Stage::let_go`]; a `stubborn` one
    /// does not obey TERM.
    pub fn queue(&self, options: &[&str], job: &[&str]) -> Running {
        let script = self.file("job").display().to_string();
        self.start(self.command(&[&["run"], options, &["x", "--", "sh", &script], job].concat()))
    }

    /// The same, returning once the job has begun: as the next one of the log.
    pub fn hold(&self, options: &[&str], job: &[&str]) -> Running {
        let before = self.log().jobs.len();
        let mut running = self.queue(options, job);
        wait_for("the job's start", || {
            let over = running.is_over();
            assert!(!over, "it ended before the job began: {}", running.err());
            self.log().jobs.len() > before
        });
        running
    }

    /// A waiter for the lock x, once it stands in the queue.
    pub fn wait_behind(&self, options: &[&str], job: &[&str]) -> Running {
        let before = self.status("x")["waiting"].as_u64().unwrap();
        let running = self.queue(options, job);
        wait_for("a waiter", || self.status("x")["waiting"].as_u64().unwrap() > before);
        running
    }

    /// Lets every job end, this one's successors too.
    pub fn let_go(&self) {
        self.write("go", "");
    }

    pub fn log(&self) -> Log {
        Log::read(&self.text("log"))
    }

    /// Waits until so many jobs have begun; returns the last one's start as the job saw it, in seconds since boot.
    pub fn wait_for_jobs(&self, count: usize) -> f64 {
        wait_for(&format!("{count} jobs"), || self.log().jobs.len() >= count);
        self.log().jobs[count - 1].start
    }

    /// What `status NAME --json` says.
    pub fn status(&self, name: &str) -> Value {
        let done = self.say(&["status", name, "--json"]);
        assert_eq!((done.code, done.err.as_str()), (0, ""));
        serde_json::from_str(&done.out).unwrap()
    }

    /// The session of the first that holds x, or waits for it: of the `holders` or of the `queue`.
    pub fn session(&self, of: &str) -> String {
        self.status("x")[of][0]["session"].as_str().unwrap().to_owned()
    }

    fn mark(&self) -> String {
        format!("{MARK}={}", self.mark)
    }

    /// All living processes of this stage.
    pub fn alive(&self) -> Vec<i32> {
        marked(&self.mark())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end_marked(&self.mark());
        // What this host noted of a store that is gone.
        for url in self.named.take() {
            if let Some(notes) = Location::parse(&url).ok().and_then(|location| location.notes_dir()) {
                let _ = fs::remove_dir_all(notes);
            }
        }
    }
}

/// On this engine one that waits is broken, and then the holder; both say by whom and why.
pub fn is_broken_with_its_reason(stage: &Stage) {
    let holder = stage.hold(&["--ttl", "2s"], &[]);
    let waiter = stage.wait_behind(&[], &[]);
    for (of, running, code, said) in
        [("queue", waiter, 75, "db1 is on fire while it waited"), ("holders", holder, 121, "db1 is on fire; stopping the job")]
    {
        let session = stage.session(of);
        let done = stage.say(&["break", "x", "--session", &session, "--reason", "db1 is on fire"]);
        assert!(done.code == 0 && done.out.contains(&session) && done.out.ends_with("it is gone\n"), "{done:?}");
        running.end().said_one_line(code, &["x: it was broken by ", said]);
    }
    let again = stage.say(&["break", "x", "--session", "000000000000", "--reason", "gone"]);
    again.said_one_line(75, &["nothing was done"]);
    stage.run(&["-n"], &["true"]).was_silent(0);
}
