//! What is done under the locks: a job is run, or they are kept for a process that is not ours.

use std::ffi::OsString;
use std::os::fd::RawFd;

use super::handle::Handle;
use crate::job::{Command, Process};

pub enum Work {
    Run(Job),
    Keep(Keep),
}

/// A command to run, and what it is told of the run.
pub struct Job {
    pub program: OsString,
    pub args: Vec<OsString>,
    pub isolate: bool,
    /// What its environment says of the run; fence and session are known once it holds the lock.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// `VAULTLOCK_HELD` as this run found it, and what it adds for each lock, up to where the session follows.
    pub chain: String,
    pub levels: Vec<String>,
}

/// A process to keep the locks for.
pub struct Keep {
    pub process: Process,
    /// Whether it is ended when the lease is lost.
    pub is_stopped: bool,
    /// Who has it may give the locks back.
    pub handle: Handle,
}

impl Job {
    /// The job for a run that holds its locks by these sessions and with these fences; without the locks there are none.
    pub(super) fn command(&self, fences: &[u64], sessions: &[String], inherit: &[RawFd]) -> Command {
        let mut env = self.env.clone();
        env.extend(self.told(fences, sessions));
        Command { program: self.program.clone(), args: self.args.clone(), env, inherit: inherit.to_vec(), isolate: self.isolate }
    }

    /// What the job's environment says of what it holds. Without the locks there is no fence and no session, and no
    /// enclosing run to speak of.
    fn told(&self, fences: &[u64], sessions: &[String]) -> Vec<(OsString, Option<OsString>)> {
        let several = fences.len() > 1;
        let all = |fences: &[u64]| fences.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let mut told = vec![
            ("VAULTLOCK_FENCE".into(), fences.first().map(|fence| fence.to_string().into())),
            ("VAULTLOCK_FENCES".into(), several.then(|| all(fences).into())),
            ("VAULTLOCK_SESSION".into(), sessions.first().filter(|_| !fences.is_empty()).map(Into::into)),
        ];
        if !fences.is_empty() {
            let levels = self.levels.iter().zip(sessions).map(|(level, session)| format!("{level}{session}"));
            let chain = Some(self.chain.clone()).filter(|chain| !chain.is_empty());
            let held = chain.into_iter().chain(levels).collect::<Vec<_>>().join(" ");
            told.push(("VAULTLOCK_HELD".into(), Some(held.into())));
        }
        told
    }
}
