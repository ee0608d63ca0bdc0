//! The guard between the grant and the start, where `--guard` has a resource's high-water mark raised first: earlier writers
//! may still be at work there, and are waited for as long as the lease allows.

use std::time::Duration;

use super::guard::{Guard, State};
use super::orders::{Order, Reason, Saying};
use crate::exit::Exit;
use crate::job::Verdict;
use crate::time::Tick;
use crate::timing::Timing;

/// A longer wait for earlier writers is worth a word.
const SHORT: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is to be done before the job starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Marking {
    fences: Vec<u64>,
    since: Tick,
    told: bool,
    pub(super) again_at: Tick,
}

impl Guard {
    /// A high-water mark is to be raised before the job starts.
    #[must_use]
    pub fn marking(mut self, marks: bool) -> Guard {
        self.marks = marks;
        self
    }

    pub(super) fn mark_or_start(&mut self, fences: Vec<u64>, now: Tick) -> Order {
        match fences.first().copied().filter(|_| self.marks) {
            Some(fence) => {
                self.state = State::Marking(Marking { fences, since: now, told: false, again_at: Tick::NEVER });
                Order::Mark { fence }
            }
            None => self.start(fences, now),
        }
    }

    /// Raising it may have taken its time: the lease is looked at once more.
    pub(super) fn marked(&mut self, now: Tick) -> Vec<Order> {
        match &self.state {
            State::Marking(_) if now >= self.lapses_at(Timing::stop_at) => self.too_late(now),
            State::Marking(marking) => {
                let fences = marking.fences.clone();
                vec![self.start(fences, now)]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn mark_busy(&mut self, now: Tick) -> Vec<Order> {
        let State::Marking(marking) = &mut self.state else { return Vec::new() };
        marking.again_at = now + LOOK_AGAIN;
        let tell = now.since(marking.since) >= SHORT && !std::mem::replace(&mut marking.told, true);
        if tell { vec![Order::Say(Saying::MarkBusy)] } else { Vec::new() }
    }

    pub(super) fn mark_again(&mut self, now: Tick) -> Vec<Order> {
        match &self.state {
            State::Marking(_) if now >= self.lapses_at(Timing::stop_at) => self.too_late(now),
            State::Marking(marking) => vec![Order::Mark { fence: marking.fences[0] }],
            _ => Vec::new(),
        }
    }

    /// Let in, but too little of the lease is left for a job.
    pub(super) fn too_late(&mut self, now: Tick) -> Vec<Order> {
        let mut orders = vec![Order::Say(Saying::TooLate(now.since(self.sent)))];
        orders.extend(self.release(Verdict::Code(Exit::Lost.code())));
        orders
    }

    /// The lease is gone, and there is no job to stop for it.
    pub(super) fn lost_unstarted(&mut self, reason: Reason) -> Vec<Order> {
        self.lost = true;
        let mut orders = vec![Order::Say(Saying::LostUnstarted(reason))];
        orders.extend(self.release(Verdict::Code(Exit::Lost.code())));
        orders
    }
}
