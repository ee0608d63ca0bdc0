//! How the guard ends a job before its time: the stop signal, SIGKILL after the grace or before the lease ends, and again
//! until every process is dead. For a lease that is lost, and for a job that takes too long (`--max-run`) while it is kept.

use std::time::Duration;

use super::guard::{Guard, State};
use super::orders::{Order, Reason, Saying};
use crate::exit::Exit;
use crate::job::Verdict;
use crate::ledger::StopReason;
use crate::mutant::{self, Mutant};
use crate::session::Loss;
use crate::time::Tick;
use crate::timing::Timing;

/// From one attempt to kill what would not die to the next.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How long the job may run, and until when that is.
#[derive(Default)]
pub(super) struct Limit {
    max_run: Option<Duration>,
    /// Known once the job has started.
    ends_at: Option<Tick>,
}

impl Limit {
    pub(super) fn ends_at(&self) -> Tick {
        self.ends_at.unwrap_or(Tick::NEVER)
    }
}

impl Limit {
    /// Makes it longer; says how long it is then.
    pub(super) fn extend(&mut self, by: Duration) -> Duration {
        self.max_run = self.max_run.map(|max_run| max_run.saturating_add(by));
        self.ends_at = self.ends_at.map(|ends_at| ends_at + by);
        self.max_run.unwrap_or_default()
    }
}

impl Guard {
    /// The job may run for this long from its start.
    #[must_use]
    pub fn within(mut self, max_run: Option<Duration>) -> Guard {
        self.limit.max_run = max_run;
        self
    }

    /// The job starts.
    pub(super) fn start(&mut self, fences: Vec<u64>, now: Tick) -> Order {
        self.state = State::Running { stopped: false };
        self.limit.ends_at = self.limit.max_run.map(|max_run| now + max_run);
        Order::Start { fences }
    }

    /// The job may take so much longer, if it has not been told to stop.
    pub(super) fn extended(&mut self, by: Duration) -> Vec<Order> {
        match self.state {
            State::Waiting | State::Marking(_) | State::Running { .. } | State::Lingering => {
                vec![Order::Say(Saying::Extended(self.limit.extend(by)))]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn overtime(&mut self, now: Tick) -> Vec<Order> {
        self.verdict = Some(Verdict::Code(Exit::Overtime.code()));
        let mut orders = vec![Order::Say(Saying::Overtime(self.limit.max_run.unwrap_or_default()))];
        // What was left behind got no stop signal when its leader ended either.
        if self.state == State::Lingering {
            orders.extend(self.kill(now));
        } else {
            self.state = State::Stopping { kill_at: now + self.timing.grace };
            orders.push(Order::Stop);
        }
        orders
    }

    /// When the lease asks for this step of the ladder; never, where there is none.
    pub(super) fn lapses_at(&self, step: fn(&Timing, Tick) -> Tick) -> Tick {
        if self.unlocked { Tick::NEVER } else { step(&self.timing, self.sent) }
    }

    pub(super) fn lapse(&mut self, now: Tick) -> Vec<Order> {
        let unrenewed = now.since(self.sent);
        self.stop(Reason::Lapsed { unrenewed, trouble: self.trouble.clone() }, now)
    }

    /// The lease is lost: the stop signal, and SIGKILL after the grace or before the lease ends.
    pub(super) fn stop(&mut self, reason: Reason, now: Tick) -> Vec<Order> {
        if !self.has_job() || self.lost {
            return Vec::new();
        }
        let superseded = matches!(reason, Reason::Loss { loss: Loss::Stopped(StopReason::Superseded), .. });
        let exit = if superseded { Exit::Superseded } else { Exit::Lost };
        self.verdict = Some(Verdict::Code(exit.code()));
        self.lost = true;
        let mut orders = vec![Order::Say(Saying::Lost(reason))];
        let kill_at = self.timing.kill_at(self.sent).min(now + self.timing.grace);
        match self.state {
            // It has been told to stop already, for another reason.
            State::Stopping { kill_at: sooner } if now < sooner.min(kill_at) => {
                self.state = State::Stopping { kill_at: sooner.min(kill_at) };
            }
            State::Running { .. } if now < kill_at => {
                self.state = State::Stopping { kill_at };
                orders.push(Order::Stop);
            }
            _ => orders.extend(self.kill(now)),
        }
        orders
    }

    pub(super) fn kill(&mut self, now: Tick) -> Vec<Order> {
        self.state = State::Killing { again_at: now + KILL_AGAIN };
        if mutant::on(Mutant::ReleaseBeforeDead) {
            return vec![Order::Leave];
        }
        vec![Order::Kill]
    }

    pub(super) fn killed(&mut self, killed: Result<(), Vec<i32>>, now: Tick) -> Vec<Order> {
        match killed {
            Ok(()) if matches!(self.state, State::Killing { .. }) => self.release_now(),
            Ok(()) => Vec::new(),
            // Better a lock that stays than one handed over beside a living job.
            Err(pids) => {
                self.state = State::Killing { again_at: now + KILL_AGAIN };
                vec![Order::Say(Saying::Unkillable(pids))]
            }
        }
    }
}
