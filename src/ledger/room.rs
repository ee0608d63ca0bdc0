//! Who fits beside whom: readers together, a writer alone, so many in the slots, and some of these kept for the urgent.
//! Callers that disagree are held to the narrowest: the fewest slots and every kept one, of the holders and the asker.

use super::policy::Keep;
use super::{Holder, Id, Ledger, Life, Mode, Ticket, View};
use crate::mutant::{self, Mutant};

/// Holders a lock can have at once; the ledger stays small enough to be read at every change.
pub const MOST_HOLDERS: usize = 200;

/// What keeps a claim from going in beside these holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// They leave no room.
    Holders,
    /// The room they leave is kept for those of a priority that it has not.
    Kept(Keep),
}

/// What stands between a claim and the lock while these hold it; `None` if it fits.
pub fn obstacle(living: &[&Holder], ticket: &Ticket) -> Option<Obstacle> {
    let fits = living.len() < MOST_HOLDERS
        && match ticket.mode {
            Mode::Shared => living.iter().all(|holder| holder.mode == Mode::Shared),
            Mode::Exclusive => {
                living.iter().all(|holder| holder.mode == Mode::Exclusive) && living.len() < slots(living, ticket.slots) as usize
            }
        };
    if !fits {
        return Some(Obstacle::Holders);
    }
    kept(living, ticket).map(Obstacle::Kept)
}

/// How many may hold the lock together: the fewest that anybody concerned counts on.
fn slots(living: &[&Holder], mine: u32) -> u32 {
    living.iter().map(|holder| holder.slots).min().map_or(mine, |fewest| fewest.min(mine))
}

/// The most demanding kept slots that a claim may not use and that are all that is left.
fn kept(living: &[&Holder], ticket: &Ticket) -> Option<Keep> {
    if ticket.mode == Mode::Shared || mutant::on(Mutant::KeepIgnored) {
        return None;
    }
    let slots = slots(living, ticket.slots);
    let rules = living.iter().filter_map(|holder| holder.keep).chain(ticket.policy.keep);
    let bars = |keep: &Keep| {
        let common = living.iter().filter(|holder| holder.priority < keep.priority).count();
        ticket.priority < keep.priority && common >= slots.saturating_sub(keep.slots) as usize
    };
    rules.filter(bars).max_by_key(|keep| keep.priority)
}

/// Whether a claim may go in before one ahead of it that can't: the slots kept for the urgent are not that one's to wait for.
/// A writer, on the other hand, holds back the readers behind it.
pub fn may_pass(ticket: &Ticket, ahead: Option<Obstacle>) -> bool {
    match ahead {
        Some(Obstacle::Kept(keep)) => ticket.priority >= keep.priority,
        Some(Obstacle::Holders) => mutant::on(Mutant::WriterStarves),
        None => false,
    }
}

/// Who is to be woken when this ledger takes effect and `leaving` has left the queue: the first that fits and need not let
/// another go before it.
pub fn next_to_enter(view: &View, ledger: &Ledger, leaving: &Id) -> Vec<Id> {
    let holders: Vec<&Holder> = ledger.holders.iter().collect();
    let waits = |id: &Id| id != leaving && view.ledger.holder(id).is_none() && ledger.holder(id).is_none();
    let waiters = view.tickets.iter().filter(|listed| listed.life != Life::Dead && waits(&listed.ticket.id));
    let mut passed: Vec<Option<Obstacle>> = Vec::new();
    for listed in waiters {
        if !passed.iter().all(|ahead| may_pass(&listed.ticket, *ahead)) {
            continue;
        }
        match obstacle(&holders, &listed.ticket) {
            None => return vec![listed.ticket.id.clone()],
            Some(Obstacle::Holders) => return Vec::new(),
            kept => passed.push(kept),
        }
    }
    Vec::new()
}
