//! What the checker knows of one run, and until when its job may live.

use std::time::Duration;

use vaultlock::time::Tick;

use crate::log::Asked;

/// A process that has been killed may show a last sign of life for so long.
const DYING: Duration = Duration::from_millis(50);

pub struct Run {
    pub asked: Asked,
    pub since: Tick,
    pub started: Option<Tick>,
    /// The job's leader has ended by itself.
    pub ended: bool,
    pub gone: Option<Tick>,
    /// The job of the same lock that started after this one, and when.
    pub next: Option<(u64, Tick)>,
    pub sentry_killed: bool,
    /// Killed or frozen.
    pub sentry_hit: bool,
    worker_killed: bool,
    dead_by: Option<Tick>,
}

impl Run {
    pub fn new(asked: Asked, since: Tick) -> Run {
        Run {
            asked,
            since,
            started: None,
            ended: false,
            gone: None,
            next: None,
            sentry_killed: false,
            sentry_hit: false,
            worker_killed: false,
            dead_by: None,
        }
    }

    pub fn runs(&self) -> bool {
        self.started.is_some() && !self.ended && self.gone.is_none()
    }

    /// Its worker was killed or frozen: nobody renews its lease.
    pub fn worker_down(&mut self, at: Tick, killed: bool) {
        self.worker_killed |= killed;
        // A job that had not started may be started when the worker goes on.
        if self.started.is_some() && self.dead_by.is_none() {
            self.dead_by = Some(at + self.asked.ttl.mul_f64(0.99) + DYING);
        }
    }

    pub fn worker_thawed(&mut self, at: Tick) {
        if !self.worker_killed && self.dead_by.is_some_and(|dead_by| at < dead_by) {
            self.dead_by = None;
        }
    }

    /// By how much a sign of life comes too late.
    pub fn late(&self, at: Tick) -> Option<Duration> {
        let dead_by = self.dead_by.filter(|_| !(self.asked.loose && self.sentry_hit))?;
        (at > dead_by).then(|| at.since(dead_by))
    }
}

/// A panic, a crash, wrong words, or a job that could not do its work: nothing that a fault excuses.
pub fn is_a_failure_of_ours(code: i32) -> bool {
    matches!(code, 64 | 70 | 101 | 126 | 127 | -4 | -6 | -7 | -8 | -11 | 134 | 139)
}
