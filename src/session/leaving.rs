//! A claim on its way out: a holder gives the lock back, a waiter its place.

use super::claim::{Claim, Phase};
use super::words::{Ending, Request, Step};
use crate::ledger::{Commit, commit, room::next_to_enter};
use crate::store::Outcome;
use crate::time::Tick;

impl Claim {
    pub(super) fn go(&mut self, look: bool) -> Step {
        match &self.view {
            // Never joined, or the first answer is still out: dropping my id keeps a late one from making a ghost.
            None => Step::Ask(Request::View),
            Some(_) if look => Step::Ask(Request::View),
            Some(view) => {
                let id = &self.ticket.id;
                let release = if self.granted { commit::release } else { commit::give_up };
                let commit = release(view, id).unwrap_or_else(|| commit::withdraw(view, id));
                Step::Ask(Request::Commit(Box::new(commit)))
            }
        }
    }

    pub(super) fn left(&mut self, until: Tick, outcome: Outcome) {
        match outcome {
            Outcome::Done(None) => self.phase = Phase::Ended,
            Outcome::Done(Some(view)) => {
                // Who joined after my last view is not in the wake I sent along.
                let known = self.view.as_ref().map(|known| next_to_enter(known, &view.ledger, &self.ticket.id));
                let next = next_to_enter(&view, &view.ledger, &self.ticket.id);
                self.phase = if next.is_empty() || known == Some(next.clone()) {
                    Phase::Ended
                } else {
                    Phase::PassingOn(Commit { show: false, ..commit::wake(&view, next) })
                };
            }
            Outcome::Conflict(view) => {
                self.view = Some(view);
                self.phase = Phase::Leaving { until, look: false };
            }
        }
    }

    /// The store can't be told. Who held a lock says so; a waiter's ticket just lapses.
    pub(super) fn fail_to_leave(&mut self, why: Ending) {
        let passed_on = matches!(self.phase, Phase::PassingOn(_));
        if self.granted && !passed_on {
            self.ending.get_or_insert(Ending::Unreleased { which: vec![0], trouble: self.trouble.clone() });
        }
        self.kept = Some(why).filter(|_| !passed_on);
        self.ending.get_or_insert(Ending::Left);
        self.phase = Phase::Ended;
    }
}
