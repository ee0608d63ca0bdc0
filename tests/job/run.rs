//! One run of the driver, and its processes found by a mark in their environment.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::drive;

const MARK: &str = "JOB_TEST_MARK";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Run {
    pub folder: tempfile::TempDir,
    pub command: Command,
    mark: String,
    child: Option<Child>,
}

impl Run {
    /// `script` runs in `sh -c`; `$F` is a folder of its own.
    pub fn sh(script: &str) -> Run {
        Run::of(&["sh", "-c", script])
    }

    pub fn of(words: &[&str]) -> Run {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(words);
        Run::with(command)
    }

    /// A command that runs the driver somehow, e.g. within a shell; it finds it as `$D`.
    pub fn with(mut command: Command) -> Run {
        crate::signals::heed(&mut command);
        let folder = tempfile::tempdir().unwrap();
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        command.env(drive::FLAG, "1").env(MARK, &mark).env("F", folder.path());
        command.env("D", std::env::current_exe().unwrap()).env(drive::LOST, folder.path().join("lost"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run { folder, command, mark, child: None }
    }

    pub fn env(mut self, name: &str, value: &str) -> Run {
        self.command.env(name, value);
        self
    }

    pub fn start(mut self) -> Run {
        self.child = Some(self.command.spawn().unwrap());
        self
    }

    pub fn sentry(&self) -> i32 {
        self.child.as_ref().unwrap().id() as i32
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// The sentry's child by its name.
    pub fn worker(&self) -> i32 {
        let mut found = 0;
        until("a worker", || {
            let named = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "vaultlock-w\n");
            found = self.alive().into_iter().find(|pid| named(pid) && parent(*pid) == self.sentry()).unwrap_or(0);
            found != 0
        });
        found
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn lose(&self) {
        fs::write(self.file("lost"), "").unwrap();
    }

    /// Waits for a file that the job writes and returns what is in it.
    pub fn told(&self, name: &str) -> String {
        let path = self.file(name);
        until(name, || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
        fs::read_to_string(path).unwrap().trim_end().to_owned()
    }

    /// All living processes of this run.
    pub fn alive(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.mark);
        let has =
            |path: &Path| fs::read(path).is_ok_and(|text| text.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()));
        let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| has(Path::new(&format!("/proc/{pid}/environ")))).collect()
    }

    pub fn wait_for_count(&self, count: usize) {
        until(&format!("{count} processes"), || self.alive().len() >= count);
    }

    /// Waits until none is left and says how long that took.
    pub fn wait_for_none(&self) -> Duration {
        let start = Instant::now();
        until("the end of all processes", || self.alive().is_empty());
        start.elapsed()
    }

    /// Waits for the sentry's end: its status, output and errors.
    pub fn end(&mut self) -> (ExitStatus, String, String) {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        until("the sentry's end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out));
        child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
        (status.unwrap(), out, err)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for pid in self.alive() {
            send(pid, Signal::SIGKILL);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

pub fn until(what: &str, mut good: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !good() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

pub fn parent(pid: i32) -> i32 {
    field(pid, 1).parse().unwrap_or(0)
}

/// R, S, T, Z ... or nothing for a process that is gone.
pub fn state(pid: i32) -> String {
    field(pid, 0)
}

/// The foreground group of the process's terminal.
pub fn foreground(pid: i32) -> i32 {
    field(pid, 5).parse().unwrap_or(0)
}

fn field(pid: i32, index: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    after.split(' ').nth(index).unwrap_or("").to_owned()
}
