//! The processes of one run, in their parts.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use vaultlock::time::{Clock, Tick};

use crate::process::Process;
use crate::support::running::children;

const LOOK: Duration = Duration::from_micros(500);

pub struct Processes {
    pub sentry: Process,
    pub worker: Process,
    /// The job's leader and its daemons.
    pub job: Vec<Process>,
}

impl Processes {
    /// All that come of this sentry. Its only child is the worker, whose children are the job's and what that has left.
    pub fn of(sentry: i32) -> Processes {
        let mut pids = vec![sentry];
        let mut next = 0;
        while let Some(pid) = pids.get(next) {
            pids.extend(children(*pid));
            next += 1;
        }
        let mut found = pids.into_iter().filter_map(Process::open);
        let (sentry, worker) = (found.next().expect("a sentry"), found.next().expect("a worker"));
        Processes { sentry, worker, job: found.collect() }
    }

    pub fn vaultlock(&self) -> [&Process; 2] {
        [&self.sentry, &self.worker]
    }

    pub fn send_all(&self, signal: Signal) {
        self.vaultlock().into_iter().chain(&self.job).for_each(|process| process.send(signal));
    }

    /// When the last of worker and job was seen to have ended; `None` if one lives at `until`.
    pub fn last_end(&self, until: Tick) -> Option<Tick> {
        while Clock::Boottime.now() < until {
            if std::iter::once(&self.worker).chain(&self.job).all(Process::is_gone) {
                return Some(Clock::Boottime.now());
            }
            sleep(LOOK);
        }
        None
    }
}

/// Whether a SIGSTOP has taken effect on all of them, or they are dead.
pub fn stand_still<'a>(processes: impl IntoIterator<Item = &'a Process>) -> bool {
    processes.into_iter().all(|process| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, after)| after.starts_with(['T', 'Z', 'X']))
    })
}
