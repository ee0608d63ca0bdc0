//! A folder for the jobs of one test, the built binary on one store, and the processes that come of it.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::signals;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use vaultlock::store::locate::Location;

use crate::log::{JOB, Log};

pub const BINARY: &str = env!("CARGO_BIN_EXE_vaultlock");
/// Every process of a stage has this in its environment, with the stage's own mark.
const MARK: &str = "REDIS_STAGE_MARK";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder (`$F` for the jobs) and a store. Whatever still runs is killed at the end.
pub struct Stage {
    folder: TempDir,
    mark: String,
    url: String,
    /// Every store that was named, to take away what this host noted of it.
    named: RefCell<Vec<String>>,
}

/// One started vaultlock. Its output goes to files: a pipe would wait for what a job leaves behind.
pub struct Running {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// How it ended: the code (minus the signal's number if a signal ended vaultlock itself), and what it said.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
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
        Stage { folder, mark, named: RefCell::new(vec![url.clone()]), url }
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
        let mut command = Command::new(BINARY);
        signals::heed(&mut command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VAULTLOCK_")) {
            command.env_remove(name);
        }
        command.env_remove("REDISCLI_AUTH").args(words).env("VAULTLOCK_STORE", &self.url).env(MARK, &self.mark);
        command.env("F", self.folder.path()).env("V", BINARY).stdin(Stdio::null());
        // A group of its own, as a shell gives to each of its jobs.
        command.process_group(0);
        command
    }

    pub fn start(&self, mut command: Command) -> Running {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.file(&format!("{number}.out")), self.file(&format!("{number}.err")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Running { child: command.spawn().unwrap(), out, err }
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

    /// All living processes of this stage.
    pub fn alive(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.mark);
        let has = |pid: &i32| {
            let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            text.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
        };
        let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(has).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let alive = self.alive();
            alive.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
            if alive.is_empty() || Instant::now() > end {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        // What this host noted of a store that is gone.
        for url in self.named.take() {
            if let Some(notes) = Location::parse(&url).ok().and_then(|location| location.notes_dir()) {
                let _ = fs::remove_dir_all(notes);
            }
        }
    }
}

impl Running {
    /// The process that the shell would know.
    pub fn sentry(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn worker(&self) -> i32 {
        let mut found = None;
        wait_for("a worker", || {
            found = children(self.sentry()).into_iter().find(|pid| comm(*pid) == "vaultlock-w");
            found.is_some()
        });
        found.unwrap()
    }

    pub fn both(&self) -> [i32; 2] {
        [self.sentry(), self.worker()]
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn end(mut self) -> Done {
        wait_for("the end of vaultlock", || self.is_over());
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        Done { code, out: fs::read_to_string(&self.out).unwrap(), err: self.err() }
    }

    /// What it has said on standard error so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned()
    }
}

impl Done {
    /// It ended with this code and said one line with each of these parts in it.
    #[track_caller]
    pub fn said_one_line(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.err.lines().count()), (code, 1), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{:?} lacks {part:?}", self.err);
        }
    }

    /// It ended well and said nothing.
    #[track_caller]
    pub fn was_silent(&self, code: i32) {
        assert_eq!((self.code, self.err.as_str()), (code, ""));
    }
}

/// Polls until `good`, and fails after [`PATIENCE`].
#[track_caller]
pub fn wait_for(what: &str, mut good: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !good() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// Watches for `span` that something stays so.
#[track_caller]
pub fn stays(what: &str, span: Duration, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        assert!(so(), "it did not stay so: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}
