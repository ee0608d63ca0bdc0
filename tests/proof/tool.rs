//! The lock command under torture: vaultlock, or a peer. What is asked of each is the same: this job, under this lock.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::skew::{Skew, dynamic_vaultlock};

pub enum Tool {
    /// The program, and what it has in its environment.
    Vaultlock(PathBuf, Vec<(String, PathBuf)>),
    Flock,
    Etcdctl,
}

impl Tool {
    pub fn vaultlock(binary: &Path) -> Tool {
        Tool::Vaultlock(binary.to_owned(), Vec::new())
    }

    /// By this clock. It must be linked dynamically for that.
    pub fn vaultlock_by(clock: &Skew) -> Tool {
        Tool::Vaultlock(dynamic_vaultlock().into(), clock.environment())
    }

    /// Its words up to the job's own. A peer is given no other options than its ttl, if it has one, and the first lock alone.
    pub fn command(&self, url: &str, locks: &[String], ttl: Duration, options: &[String]) -> Command {
        match self {
            Tool::Vaultlock(program, environment) => {
                let mut command = clean(program);
                command.arg("run").arg(format!("--ttl={}ms", ttl.as_millis())).args(options).args(locks).arg("--");
                command.env("VAULTLOCK_STORE", url).envs(environment.iter().cloned());
                command
            }
            Tool::Flock => {
                let mut command = clean("flock".as_ref());
                command.arg(Path::new(url).join(&locks[0]));
                command
            }
            Tool::Etcdctl => {
                let mut command = clean("etcdctl".as_ref());
                command.env("ETCDCTL_API", "3").arg(format!("--endpoints={url}"));
                command.arg("lock").arg(format!("--ttl={}", ttl.as_secs())).args([&locks[0], "--"]);
                command
            }
        }
    }
}

/// What the caller's shell says of stores is none of the torture's business.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VAULTLOCK_ST")) {
        command.env_remove(name);
    }
    command
}
