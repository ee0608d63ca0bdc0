//! When recoveries are measured: storms take turns with trials, in which some locks are spared all faults but the one.

use std::collections::HashMap;
use std::time::Duration;

use vaultlock::time::Tick;

/// No longer than this for a holder that can be killed to turn up.
const SEARCH: Duration = Duration::from_secs(3);
/// Longer than any recovery may take: then the checker has seen it.
const RECOVERY: Duration = Duration::from_secs(6);

/// The one thing that has locks on trial.
pub struct Trials {
    locks: usize,
    settled: Duration,
    /// How long a storm lasts.
    storm: Duration,
    next: Tick,
    first: usize,
    on: HashMap<usize, Trial>,
}

struct Trial {
    /// From when its holder may be killed, and until when at the latest.
    from: Tick,
    to: Tick,
    /// The job that was killed.
    struck: Option<u64>,
}

impl Trials {
    pub fn new(locks: usize, settled: Duration) -> Trials {
        Trials { locks, settled, storm: settled * 2, next: Tick(0), first: 0, on: HashMap::new() }
    }

    /// No faults that touch every lock.
    pub fn are_on(&self) -> bool {
        !self.on.is_empty()
    }

    /// Whether a lock is to be left alone.
    pub fn spare(&self, lock: &str) -> bool {
        self.on.keys().any(|spared| crate::caller::lock_name(*spared) == lock)
    }

    /// The locks whose holders are to be killed now.
    pub fn turn(&mut self, now: Tick) -> Vec<usize> {
        if self.next == Tick(0) {
            self.next = now + self.storm;
        }
        if self.on.is_empty() && now >= self.next {
            let from = now + self.settled + Duration::from_millis(50);
            // Half of them, another half each time.
            for offset in 0..self.locks.div_ceil(2) {
                let trial = Trial { from, to: from + SEARCH, struck: None };
                self.on.insert((self.first + offset) % self.locks, trial);
            }
            self.first = (self.first + self.locks.div_ceil(2)) % self.locks;
        }
        self.on.iter().filter(|(_, trial)| trial.struck.is_none() && now >= trial.from).map(|(lock, _)| *lock).collect()
    }

    pub fn struck(&mut self, lock: usize, job: u64, now: Tick) {
        if let Some(trial) = self.on.get_mut(&lock) {
            (trial.struck, trial.to) = (Some(job), now + RECOVERY);
        }
    }

    /// Ends the trials that are over: somebody has started since, or it takes too long.
    pub fn settle(&mut self, now: Tick, recovered: impl Fn(usize, u64) -> bool) {
        self.on.retain(|lock, trial| now < trial.to && !trial.struck.is_some_and(|job| recovered(*lock, job)));
        if self.on.is_empty() && now >= self.next {
            self.next = now + self.storm;
        }
    }
}
