//! Runs inside runs that wait for each other: A holds 1 and asks for 2 inside its job, B holds 2 and asks for 1 inside its.
//!
//! A ticket carries the chain of locks that the processes around its claim hold. So whoever waits can go backwards: who waits
//! for a lock of my chain, what do the processes around that one hold, who waits for that, and so on. If one of them holds
//! what I wait for, none of us will ever go on. Pure: it says which lock to look at, and is told what was seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Holder, Id, Level, Life, Listed, Mode, Ticket, View};
use crate::name::Name;
use crate::timing::BEATS_PER_TTL;

/// Locks looked at in one search; nobody nests deeper by hand.
const MOST_VIEWS: usize = 24;

/// One search, from lock to lock.
#[derive(Debug)]
pub struct Search {
    /// The lock I wait for, and the sessions that hold it.
    goal: String,
    holders: Vec<String>,
    me: String,
    /// Levels to look at: whoever waits there waits for the waiter behind this step, or for me.
    next: VecDeque<(Level, Option<usize>)>,
    known: BTreeSet<(String, String)>,
    steps: Vec<Step>,
    views: usize,
    found: Option<Cycle>,
    /// The beats of the waiters that were seen, for the next search.
    counts: BTreeMap<Id, u64>,
}

/// A waiter on the way.
#[derive(Debug)]
struct Step {
    lock: String,
    session: String,
    label: String,
    /// Who holds the lock that it waits for: the waiter of this step, or I.
    before: Option<usize>,
}

/// Runs that wait for each other in a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// What I wait for.
    pub lock: String,
    /// Around whom that is held and what that one waits for, and so on; the last lock is held around me.
    pub ring: Vec<(String, String)>,
    /// The waiter that is to withdraw: the one with the largest session.
    pub withdraws: String,
}

impl Search {
    /// A search for the claim with this ticket, whose last view is this; `None` if it can't be part of a cycle.
    pub fn new(ticket: &Ticket, view: &View) -> Option<Search> {
        if ticket.chain.is_empty() || !each_keeps_out(&view.ledger.holders) {
            return None;
        }
        let mut search = Search {
            goal: view.ledger.name.clone(),
            holders: view.ledger.holders.iter().map(|holder| holder.id.session()).collect(),
            me: ticket.id.session(),
            next: VecDeque::new(),
            known: BTreeSet::new(),
            steps: Vec::new(),
            views: 0,
            found: None,
            counts: BTreeMap::new(),
        };
        search.follow(&ticket.chain, None);
        Some(search)
    }

    /// The lock to look at next; `None` when the search is over.
    pub fn next_lock(&mut self) -> Option<Name> {
        while self.found.is_none() && self.views < MOST_VIEWS {
            let (level, _) = self.next.front()?;
            if let Ok(name) = Name::new(&level.lock) {
                self.views += 1;
                return Some(name);
            }
            self.next.pop_front();
        }
        None
    }

    /// What is there; `None` if it could not be seen. `counts` are the beats that an earlier search saw.
    pub fn look(&mut self, view: Option<&View>, counts: &BTreeMap<Id, u64>) {
        let Some((level, before)) = self.next.pop_front() else { return };
        let Some(view) = view else { return };
        let held = view.ledger.holders.iter().any(|holder| holder.id.session() == level.session);
        if !held || !each_keeps_out(&view.ledger.holders) {
            return;
        }
        for waiter in view.waiters().filter(|listed| !listed.ticket.chain.is_empty()) {
            if let Life::Beat { count, .. } = waiter.life {
                self.counts.insert(waiter.ticket.id.clone(), count);
            }
            let session = waiter.ticket.id.session();
            if session == self.me || !lives(waiter, counts) {
                continue;
            }
            let label = waiter.ticket.who.label.clone();
            self.steps.push(Step { lock: level.lock.clone(), session, label, before });
            let step = self.steps.len() - 1;
            let holds = |level: &Level| level.lock == self.goal && self.holders.contains(&level.session);
            if waiter.ticket.chain.iter().any(holds) {
                self.found = Some(self.ring(step));
                return;
            }
            self.follow(&waiter.ticket.chain, Some(step));
        }
    }

    /// What came of it, and the beats that were seen.
    pub fn end(self) -> (Option<Cycle>, BTreeMap<Id, u64>) {
        (self.found, self.counts)
    }

    fn follow(&mut self, chain: &[Level], before: Option<usize>) {
        for level in chain.iter().filter(|level| level.lock != self.goal) {
            if self.known.insert((level.lock.clone(), level.session.clone())) {
                self.next.push_back((level.clone(), before));
            }
        }
    }

    /// From the one that holds what I wait for back to me.
    fn ring(&self, last: usize) -> Cycle {
        let (mut ring, mut withdraws, mut at) = (Vec::new(), self.me.clone(), Some(last));
        while let Some(step) = at.map(|at| &self.steps[at]) {
            ring.push((step.label.clone(), step.lock.clone()));
            withdraws = withdraws.max(step.session.clone());
            at = step.before;
        }
        Cycle { lock: self.goal.clone(), ring, withdraws }
    }
}

/// Whether the lock stays closed to a waiter for as long as any one of these holds it. Of several slots another may come free.
fn each_keeps_out(holders: &[Holder]) -> bool {
    matches!(holders, [one] if one.slots == 1) || holders.iter().any(|holder| holder.mode == Mode::Shared)
}

/// Whether a waiter is there for certain: the store knows, it has beaten when it was due, or it has beaten since an earlier
/// search. A dead one's parent may have gone on without it.
fn lives(waiter: &Listed, counts: &BTreeMap<Id, u64>) -> bool {
    match waiter.life {
        Life::Alive => true,
        Life::Dead => false,
        Life::Beat { count, quiet } => {
            let due = waiter.ticket.ttl() / BEATS_PER_TTL;
            quiet.is_some_and(|quiet| quiet <= due + due / 4)
                || counts.get(&waiter.ticket.id).is_some_and(|earlier| *earlier != count)
        }
    }
}
