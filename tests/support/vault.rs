//! A file store in a folder of its own, the built binary on it, and the processes that come of it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

pub use crate::running::{Done, Running, is_alive, send, send_all, stays, wait_for};
use crate::running::{end_marked, marked};
use crate::signals;

pub const BINARY: &str = env!("CARGO_BIN_EXE_vaultlock");
/// Every process of a vault has this in its environment, with the vault's own mark.
const MARK: &str = "VAULT_TEST_MARK";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder (`$F` for the jobs) with a store in it. Whatever still runs is killed at the end.
pub struct Vault {
    folder: TempDir,
    mark: String,
}

impl Default for Vault {
    fn default() -> Vault {
        Vault::new()
    }
}

impl Vault {
    pub fn new() -> Vault {
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Vault { folder: tempfile::tempdir().unwrap(), mark }
    }

    pub fn store(&self) -> PathBuf {
        self.file("store")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.file(name), text).unwrap();
        self.file(name)
    }

    /// The text of a file in the folder; empty while there is none.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Waits until a job has written a whole line to a file, and returns the text.
    pub fn told(&self, name: &str) -> String {
        wait_for(name, || self.text(name).ends_with('\n'));
        self.text(name).trim_end().to_owned()
    }

    /// vaultlock with these words, on this vault's store.
    pub fn command(&self, words: &[&str]) -> Command {
        self.wrap(BINARY, words)
    }

    /// Any program, told of the store as vaultlock is; `$V` is the binary.
    pub fn wrap(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        for inherited in ["NAME", "NAMES", "FENCE", "FENCES", "SESSION", "HELD", "STORE_WITHHELD", "STORE_FILE"] {
            command.env_remove(format!("VAULTLOCK_{inherited}"));
        }
        command.args(words).env("VAULTLOCK_STORE", self.store()).env(MARK, &self.mark);
        // The tester's own config file is none of the tests' business.
        command.env("XDG_CONFIG_HOME", self.file("none"));
        command.env("F", self.folder.path()).env("V", BINARY).stdin(Stdio::null());
        // A group of its own, as a shell gives to each of its jobs.
        command.process_group(0);
        signals::heed(&mut command);
        command
    }

    /// `vaultlock run OPTIONS NAME -- COMMAND`, to its end.
    pub fn run(&self, options: &[&str], name: &str, command: &[&str]) -> Done {
        self.spawn(options, name, command).end()
    }

    /// The same, left running.
    pub fn spawn(&self, options: &[&str], name: &str, command: &[&str]) -> Running {
        self.start(self.command(&[&["run"], options, &[name, "--"], command].concat()))
    }

    /// `vaultlock WORDS`, to its end.
    pub fn say(&self, words: &[&str]) -> Done {
        self.start(self.command(words)).end()
    }

    pub fn start(&self, command: Command) -> Running {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Running::start(command, self.file(&format!("{number}.out")), self.file(&format!("{number}.err")))
    }

    /// What `status NAME --json` says.
    pub fn status(&self, name: &str) -> Value {
        let done = self.say(&["status", name, "--json"]);
        assert_eq!((done.code, done.err.as_str()), (0, ""));
        serde_json::from_str(&done.out).unwrap()
    }

    /// A run that holds `name` until [`Vault::let_go`]; returns once it holds.
    pub fn hold(&self, options: &[&str], name: &str) -> Running {
        let script = format!("echo > $F/held-{name}; while [ ! -e $F/go-{name} ]; do sleep 0.01; done");
        let holder = self.spawn(options, name, &["sh", "-c", &script]);
        self.told_any(&format!("held-{name}"));
        holder
    }

    pub fn let_go(&self, name: &str) {
        self.write(&format!("go-{name}"), "");
    }

    /// Waits until a job has written anything to a file.
    pub fn told_any(&self, name: &str) {
        wait_for(name, || !self.text(name).is_empty());
    }

    pub fn wait_for_waiting(&self, name: &str, count: usize) {
        wait_for(&format!("{count} waiters"), || self.status(name)["waiting"] == count);
    }

    /// The folder of a lock with a plainly spelled name.
    pub fn lock_dir(&self, name: &str) -> PathBuf {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        self.store().join(boot.trim()).join(name)
    }

    /// The files in one part of a lock's folder (`ledger`, `tickets`, `bells`), hidden ones too, in name order.
    pub fn files(&self, name: &str, part: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.lock_dir(name).join(part)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        files
    }

    /// What the claims of a lock have left there: tickets and bells.
    pub fn traces(&self, name: &str) -> Vec<PathBuf> {
        [self.files(name, "tickets"), self.files(name, "bells")].concat()
    }

    /// The lock's present ledger, as a file.
    pub fn ledger(&self, name: &str) -> PathBuf {
        let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        self.files(name, "ledger").into_iter().max_by_key(number).expect("a ledger")
    }

    /// Every file below the store and what is in it: to see that nothing changed.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.store()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => folders.push(entry.path()),
                    kind if kind.is_file() => found.push((entry.path(), fs::read(entry.path()).unwrap())),
                    _ => found.push((entry.path(), Vec::new())),
                }
            }
        }
        found.sort();
        found
    }

    /// All living processes of this vault.
    pub fn alive(&self) -> Vec<i32> {
        marked(&self.mark())
    }

    fn mark(&self) -> String {
        format!("{MARK}={}", self.mark)
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        end_marked(&self.mark());
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
