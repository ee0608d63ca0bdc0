//! How soon a lock is granted again when everything of its holder was killed, where nothing else disturbs it.

use std::collections::BTreeSet;
use std::time::Duration;

use vaultlock::time::Tick;

use super::{Checker, Rule};
use crate::log::{Asked, Fault, Kind, Whom};

/// Whoever waits for so long stands in the queue.
const QUEUED: Duration = Duration::from_millis(100);

/// A recovery that is being watched.
pub struct Trial {
    fault: u64,
    holder: u64,
    ttl: Duration,
    /// Those who stood in the queue and were to wait as long as it takes.
    waiting: BTreeSet<u64>,
    /// When the last of the holder's processes was gone.
    cleared: Option<Tick>,
}

impl Checker {
    /// Whether this fault makes a recovery that can be measured: everything of a running job is killed.
    pub(super) fn try_recovery(&self, at: Tick, fault: &Fault) -> Option<Trial> {
        let holder = fault.job.filter(|_| fault.kind == Kind::Kill && fault.whom == Whom::All)?;
        let run = self.runs.get(&holder).filter(|run| self.is_measurable(at, &run.asked))?;
        let waiting = self.patient(at, fault.lock.as_ref()?).collect();
        Some(Trial { fault: fault.number, holder, ttl: run.asked.ttl, waiting, cleared: None })
    }

    /// Whether this run holds its lock, somebody waits for it as long as it takes, and nothing else is wrong with it.
    pub fn is_measurable(&self, at: Tick, asked: &Asked) -> bool {
        let Some(lock) = self.locks.get(&asked.lock).filter(|_| !asked.loose && self.holder(&asked.lock) == Some(asked.job))
        else {
            return false;
        };
        let open = self.faults.values().any(|other| other.lock.as_ref().is_none_or(|other| *other == asked.lock));
        // Who waits for another lock too may have this one without a start.
        let several = lock.waiting.iter().any(|job| self.runs[job].asked.run.is_some()) || asked.run.is_some();
        !open && !several && at.since(lock.troubled) >= self.rules.settled && self.patient(at, &asked.lock).next().is_some()
    }

    fn patient(&self, at: Tick, lock: &str) -> impl Iterator<Item = u64> {
        let waiting = self.locks.get(lock).into_iter().flat_map(|lock| &lock.waiting);
        let waits = move |job: &&u64| self.runs[job].asked.wait.is_none() && at.since(self.runs[job].since) >= QUEUED;
        waiting.filter(waits).copied()
    }

    /// A run has ended without its turn; with the last one who waited for it there is no recovery to be seen.
    pub(super) fn no_turn(&mut self, name: &str, job: u64) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        lock.waiting.remove(&job);
        if let Some(trial) = &mut lock.trial {
            trial.waiting.remove(&job);
            if trial.waiting.is_empty() {
                lock.trial = None;
            }
        }
    }

    pub(super) fn cleared(&mut self, at: Tick, number: u64) {
        self.faults.remove(&number);
        for trial in self.locks.values_mut().filter_map(|lock| lock.trial.as_mut()).filter(|trial| trial.fault == number) {
            trial.cleared = Some(at);
        }
    }

    /// Somebody started.
    pub(super) fn recovered(&mut self, name: &str, at: Tick) {
        let Some(trial) = self.locks.get_mut(name).and_then(|lock| lock.trial.take()) else { return };
        // Not yet said to be gone: the driver was slower than the next holder.
        let took = trial.cleared.map_or(Duration::ZERO, |cleared| at.since(cleared));
        self.verdict.recoveries.push(took);
        self.judge(&trial, took, at);
    }

    /// Something else goes wrong with a lock: what follows is no measure any more.
    pub(super) fn trouble(&mut self, name: Option<&str>, at: Tick) {
        let names: Vec<String> = match name {
            Some(name) => vec![name.to_owned()],
            None => self.locks.keys().cloned().collect(),
        };
        for name in names {
            self.end_trial(&name, at);
            if let Some(lock) = self.locks.get_mut(&name) {
                lock.troubled = at;
            }
        }
    }

    /// Nobody has started until now.
    pub(super) fn end_trial(&mut self, name: &str, at: Tick) {
        let Some(trial) = self.locks.get_mut(name).and_then(|lock| lock.trial.take()) else { return };
        if let Some(cleared) = trial.cleared {
            self.judge(&trial, at.since(cleared), at);
        }
    }

    fn judge(&mut self, trial: &Trial, took: Duration, at: Tick) {
        let bound = self.rules.recovery(trial.ttl);
        if took > bound {
            let say = || format!("after everything of it was killed its lock was not granted for {took:?}, not {bound:?}");
            self.found(Rule::Recovery, trial.holder, at, say);
        }
    }
}
