//! A started vaultlock, and the processes that come of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::signals;

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(40);

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

/// All living processes that have `NAME=VALUE` in their environment.
pub fn marked(mark: &str) -> Vec<i32> {
    let has = |pid: &i32| {
        let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        text.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has).collect()
}

/// Kills them until none is left.
pub fn end_marked(mark: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let alive = marked(mark);
        alive.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
        if alive.is_empty() || Instant::now() > end {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A program with these words, on this store by the environment and on nothing else that the caller's shell says of stores.
pub fn on_store(program: &Path, words: &[&str], url: &str) -> Command {
    let mut command = Command::new(program);
    signals::heed(&mut command);
    for (name, _) in std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("VAULTLOCK_") || name.starts_with("PG")
    }) {
        command.env_remove(name);
    }
    for name in ["REDISCLI_AUTH", "ETCDCTL_USER", "ETCDCTL_PASSWORD"] {
        command.env_remove(name);
    }
    command.args(words).env("VAULTLOCK_STORE", url).stdin(Stdio::null());
    // A group of its own, as a shell gives to each of its jobs.
    command.process_group(0);
    command
}

impl Running {
    /// Starts it, with its output in these files.
    pub fn start(mut command: Command, out: PathBuf, err: PathBuf) -> Running {
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = None;
        wait_for("a start", || match command.spawn() {
            // A program just copied, which another test's fork still has open for writing.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => false,
            started => child.replace(started.unwrap()).is_none(),
        });
        Running { child: child.unwrap(), out, err }
    }

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

    /// The job's leader.
    pub fn job(&self) -> i32 {
        let worker = self.worker();
        let mut found = None;
        wait_for("a job", || {
            found = children(worker).into_iter().find(|pid| comm(*pid) != "vaultlock-w");
            found.is_some()
        });
        found.unwrap()
    }

    pub fn both(&self) -> [i32; 2] {
        [self.sentry(), self.worker()]
    }

    pub fn send(&self, signal: Signal) {
        send(self.sentry(), signal);
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn end(mut self) -> Done {
        wait_for("the end of vaultlock", || self.is_over());
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Done { code, out: text(&self.out), err: text(&self.err) }
    }

    /// What it has said on standard output so far.
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
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

pub fn send_all(pids: &[i32], signal: Signal) {
    pids.iter().for_each(|pid| send(*pid, signal));
}

pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, after)| !after.starts_with('Z'))
}

pub fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

pub fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Context switches of all threads of a process so far; none of one that is gone.
pub fn switches(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let number = |line: &str| line.split_whitespace().last().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    texts.map(|text| text.lines().filter(|line| line.contains("ctxt_switches:")).map(number).sum::<u64>()).sum()
}

/// The sentry, worker and standby of the keeper of a process's locks; of the first it finds, where there are several.
pub fn keeper_of(process: i32) -> Option<[i32; 3]> {
    let wanted = process.to_string();
    let keeps = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.windows(2).any(|pair| pair == [b"--while-pid".as_slice(), wanted.as_bytes()])
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let sentry = pids.filter(keeps).find(|pid| comm(*pid) == "vaultlock" && !children(*pid).is_empty())?;
    let worker = children(sentry).into_iter().find(|pid| comm(*pid) == "vaultlock-w")?;
    let standby = children(worker).into_iter().find(|pid| comm(*pid) == "vaultlock-s")?;
    Some([sentry, worker, standby])
}
