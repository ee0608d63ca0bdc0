//! A lock broken from outside: its holder, or one that waits, is asked to end as by any other request. Who asks has no ticket;
//! it removes the claim itself only once that is proven dead, or by force.

use std::time::Duration;

use super::commit::{Commit, Guard};
use super::enter::judged;
use super::rest;
use super::room::next_to_enter;
use super::stops::{ask, forget_done, is_asked};
use super::{Breaker, Id, Life, Listed, StopReason, View, Watched};
use crate::time::{Tick, Wall};

/// What an operator wants.
#[derive(Clone, Debug)]
pub struct Break {
    /// The public name of the claim that is to end.
    pub session: String,
    pub breaker: Breaker,
    /// Only if the ledger has this version.
    pub if_version: Option<u64>,
    /// Remove the claim at once, whether its job has ended or not.
    pub force: bool,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// It has not been asked to end yet.
    Ask(Commit),
    /// It is dead beyond doubt: nobody else will remove it.
    Sweep(Commit),
    /// It has been asked, and is not waited for.
    Force(Commit),
    /// It has been asked; what it last said lapses then.
    Wait(Tick),
    /// No such claim is here.
    Absent,
    /// The ledger has another version than was meant.
    Changed(u64),
    /// As many requests stand as a ledger can hold.
    Crowded,
    /// A living claim is kept by its host's kernel: nobody can remove that.
    Kept,
}

impl Break {
    /// Whom it is about: among the holders, or those that wait and are listed.
    pub fn target(&self, view: &View) -> Option<Listed> {
        let holder = view.ledger.holders.iter().find(|holder| holder.id.session() == self.session);
        match holder {
            Some(holder) => Some(view.ticket(&holder.id).cloned().unwrap_or_else(|| Listed::dead(holder))),
            None => view.waiters().find(|listed| listed.ticket.id.session() == self.session).cloned(),
        }
    }

    /// Whether the claim that was asked is there no more. Of many that wait not all are listed: it may be one of the others
    /// for as long as the request for it stands.
    pub fn is_done(&self, view: &View, asked: &Id) -> bool {
        let all_listed = view.waiters().count() >= view.waiting;
        self.target(view).is_none() && (all_listed || !is_asked(view, asked))
    }

    /// What to do by what is seen; `watched` must have looked at this very view, and `wall` is this host's clock.
    pub fn next(&self, view: &View, watched: &Watched, now: Tick, wall: Wall) -> Move {
        let Some(Listed { ticket, life, .. }) = self.target(view) else { return Move::Absent };
        let id = &ticket.id;
        let asked = is_asked(view, id);
        if let Some(version) = self.if_version.filter(|_| !asked)
            && version != view.ledger.version
        {
            return Move::Changed(view.ledger.version);
        }
        let lapses_at = watched.lapses_at(view, id, Duration::from_millis(ticket.ttl_ms), now);
        if lapses_at.is_some_and(|at| at <= now) {
            return Move::Sweep(removal(view, id, vec![judged(view, id)]));
        }
        if self.force && life == Life::Alive {
            return Move::Kept;
        }
        if !asked {
            let why = StopReason::Broken(self.breaker.clone());
            return ask(view, id, (0, wall), vec![(id.clone(), why)]).map_or(Move::Crowded, Move::Ask);
        }
        if self.force {
            let mut commit = removal(view, id, Vec::new());
            commit.ledger.iter_mut().for_each(|ledger| rest::forget(ledger, id));
            return Move::Force(commit);
        }
        Move::Wait(lapses_at.unwrap_or(Tick::NEVER))
    }
}

/// The commit that takes a claim out of the lock, as it would have left itself.
fn removal(view: &View, id: &Id, guards: Vec<Guard>) -> Commit {
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.holders.retain(|holder| holder.id != *id);
    forget_done(&mut ledger, view, std::slice::from_ref(id));
    Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        wake: next_to_enter(view, &ledger, id),
        // Only one that waits can be here before there is a first version.
        ledger: (view.ledger.version > 0).then_some(ledger),
        drop: view.ticket(id).map(|listed| listed.ticket.id.clone()).into_iter().collect(),
        guards,
        settle: None,
        show: false,
    }
}
