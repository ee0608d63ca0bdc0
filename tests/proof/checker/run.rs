//! What the checker knows of one run, and until when its job may live.

use std::collections::BTreeMap;
use std::time::Duration;

use vaultlock::time::Tick;

use crate::log::{Asked, Fault, Kind, Whom};

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
    deadlines: BTreeMap<u64, Deadline>,
}

/// When a job must be dead, because a fault keeps its lease from being renewed.
struct Deadline {
    by: Tick,
    kind: Kind,
    whom: Whom,
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
            deadlines: BTreeMap::new(),
        }
    }

    pub fn runs(&self) -> bool {
        self.started.is_some() && !self.ended && self.gone.is_none()
    }

    /// Nobody renews its lease any more: the worker is killed or frozen, or no answer of the store gets through to it.
    pub fn cut_off(&mut self, at: Tick, fault: &Fault) {
        // A job that had not started may be started when it is over.
        if self.started.is_some() && self.gone.is_none() && stops_renewal(fault.kind, fault.whom) {
            let by = at + self.asked.ttl.mul_f64(0.99) + DYING;
            self.deadlines.insert(fault.number, Deadline { by, kind: fault.kind, whom: fault.whom });
        }
    }

    /// It may have been renewed again, unless that comes too late.
    pub fn back_again(&mut self, at: Tick, fault: &Fault) {
        if !is_frozen_worker(fault.kind, fault.whom) {
            self.deadlines.retain(|number, deadline| at >= deadline.by || *number != fault.number);
        } else if !self.deadlines.values().any(|deadline| deadline.kind == Kind::Kill) {
            // To thaw a process undoes all that froze it.
            self.deadlines.retain(|_, deadline| at >= deadline.by || !is_frozen_worker(deadline.kind, deadline.whom));
        }
    }

    /// By how much a sign of life comes too late.
    pub fn late(&self, at: Tick) -> Option<Duration> {
        if self.asked.loose && self.sentry_hit {
            return None;
        }
        self.deadlines.values().map(|deadline| at.since(deadline.by)).max().filter(|late| !late.is_zero())
    }
}

fn is_frozen_worker(kind: Kind, whom: Whom) -> bool {
    kind == Kind::Freeze && whom.has_worker()
}

fn stops_renewal(kind: Kind, whom: Whom) -> bool {
    match kind {
        Kind::Kill | Kind::Freeze => whom.has_worker() || whom.is_everyones(),
        Kind::Restart | Kind::Wipe => true,
        Kind::Swallow | Kind::Hold => true,
        _ => false,
    }
}

/// A panic, a crash, wrong words, or a job that could not do its work: nothing that a fault excuses.
pub fn is_a_failure_of_ours(code: i32) -> bool {
    matches!(code, 64 | 70 | 101 | 126 | 127 | -4 | -6 | -7 | -8 | -11 | 134 | 139)
}
