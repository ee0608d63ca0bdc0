//! What a claim asks the store to change, all or nothing.

use super::rest;
use super::room::next_to_enter;
use super::stops::forget_done;
use super::view::View;
use super::{Id, Ledger};
use crate::mutant::{self, Mutant};

/// One atomic change. The store carries it out only if the ledger's version, the epoch and every guard still hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The version this change is based on; 0 where no ledger was.
    pub version: u64,
    pub epoch: String,
    /// The next ledger. `None` leaves the ledger and its version alone: a waiter that withdraws, or wakes others.
    pub ledger: Option<Ledger>,
    /// Tickets that end with this change; an id once dropped never returns.
    pub drop: Vec<Id>,
    pub guards: Vec<Guard>,
    /// Waiters to wake after it: those whose decision it changes, and nobody else.
    pub wake: Vec<Id>,
    /// The mark of an unsure memory that its author has waited out.
    pub settle: Option<String>,
    /// Whether its author wants to see the lock as it is afterwards. What it saw before and did itself tells the rest.
    pub show: bool,
}

/// What must still be so when a commit is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No such ticket.
    Absent(Id),
    /// The ticket exists and has not beaten since: `None` where the store itself knows who is dead.
    Still(Id, Option<u64>),
    /// The ticket exists.
    Present(Id),
}

/// A holder leaves the lock; `None` if the view does not show it as a living holder any more: then who comes next sweeps it.
pub fn release(view: &View, id: &Id) -> Option<Commit> {
    view.ledger.holder(id)?;
    view.living(id)?;
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.holders.retain(|holder| holder.id != *id);
    forget_done(&mut ledger, view, std::slice::from_ref(id));
    let wake = next_to_enter(view, &ledger, id);
    // A flushed store counts its versions anew: one that comes late must not fit a ledger that knows nothing of its author.
    let guards = if mutant::on(Mutant::BlindRelease) { Vec::new() } else { vec![Guard::Present(id.clone())] };
    // Of a lock that is free the one who is woken hears, and whoever joined meanwhile is seen by it.
    let handed_on = ledger.holders.is_empty() && !wake.is_empty();
    Some(Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        ledger: Some(ledger),
        drop: vec![id.clone()],
        guards,
        wake,
        settle: None,
        show: !handed_on,
    })
}

/// The same for one that entered and has not started anything: with it goes its rest.
pub fn give_up(view: &View, id: &Id) -> Option<Commit> {
    let mut commit = release(view, id)?;
    commit.ledger.iter_mut().for_each(|ledger| rest::forget(ledger, id));
    Some(commit)
}

/// A waiter leaves the queue. It may be the one that was woken, so it passes the wake on.
/// If it was asked to, the request goes with it.
pub fn withdraw(view: &View, id: &Id) -> Commit {
    let mut ledger = view.ledger.clone();
    let asked = view.ticket(id).is_some() && ledger.stops.iter().any(|stop| stop.id == *id);
    if asked {
        ledger.version += 1;
        forget_done(&mut ledger, view, std::slice::from_ref(id));
    }
    let wakes = wake(view, next_to_enter(view, &ledger, id));
    // As for a release: one from before a flush must not fit the ledger after it.
    let guards = asked.then(|| Guard::Present(id.clone())).into_iter().collect();
    Commit { drop: vec![id.clone()], ledger: asked.then_some(ledger), guards, ..wakes }
}

/// Wakes and changes nothing.
pub fn wake(view: &View, wake: Vec<Id>) -> Commit {
    Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        ledger: None,
        drop: Vec::new(),
        guards: Vec::new(),
        wake,
        settle: None,
        show: true,
    }
}
