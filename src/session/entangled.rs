//! A waiter whose chain of enclosing runs may be part of a cycle: when it looks for one, and who withdraws.

use std::collections::BTreeMap;
use std::time::Duration;

use super::claim::{Claim, Phase};
use super::words::{Ending, Request, Step};
use crate::ledger::{Id, View, cycle::Search};
use crate::mutant::{self, Mutant};
use crate::time::{Tick, Wall};

/// Most waits are over sooner.
const FIRST_SEARCH: Duration = Duration::from_secs(1);
/// Who should withdraw may not see the cycle (it stands too far back in a long queue) or be frozen: after so many searches
/// that found it I do.
const MOST_FOUND: u32 = 5;

/// What a claim knows of cycles it may be in.
#[derive(Default)]
pub(super) struct Entanglement {
    search: Option<Search>,
    /// When to look next; set by the first wait.
    pub(super) due: Option<Tick>,
    found: u32,
    counts: BTreeMap<Id, u64>,
}

impl Claim {
    /// When a resting waiter is to look for a cycle; never, unless the processes around it hold something.
    pub(super) fn search_due(&mut self, now: Tick) -> Tick {
        if self.ticket.chain.is_empty() || mutant::on(Mutant::NoSearch) {
            return Tick::NEVER;
        }
        *self.entanglement.due.get_or_insert(now + FIRST_SEARCH.min(self.timing.beat))
    }

    /// Looks for a cycle when that is due, and withdraws if it is mine to.
    pub(super) fn search(&mut self, now: Tick, wall: Wall) -> Option<Step> {
        if self.entanglement.search.is_none() {
            self.entanglement.due.filter(|due| now >= *due)?;
            self.entanglement.due = Some(now + self.timing.beat);
            self.entanglement.search = self.view.as_ref().and_then(|view| Search::new(&self.ticket, view));
        }
        if let Some(lock) = self.entanglement.search.as_mut()?.next_lock() {
            return Some(Step::Ask(Request::Survey(lock)));
        }
        let (cycle, counts) = self.entanglement.search.take()?.end();
        self.entanglement.counts = counts;
        let Some(cycle) = cycle else {
            self.entanglement.found = 0;
            return None;
        };
        self.entanglement.found += 1;
        if cycle.withdraws != self.ticket.id.session() && self.entanglement.found < MOST_FOUND {
            return None;
        }
        self.ending = Some(Ending::Entangled(cycle));
        self.leave(now);
        Some(self.next(now, wall))
    }

    pub(super) fn break_off_search(&mut self) {
        self.entanglement.search = None;
    }

    /// One of the locks on the way, or nothing if it could not be seen.
    pub(super) fn surveyed(&mut self, view: Option<View>) {
        if let (Some(search), Phase::Waiting(_)) = (&mut self.entanglement.search, &self.phase) {
            search.look(view.as_ref(), &self.entanglement.counts);
        }
    }
}
