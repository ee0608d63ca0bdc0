//! Going in: the commit that adds its author to the holders and sweeps the dead, and the fence that comes with it.

use super::commit::{Commit, Guard};
use super::room::next_to_enter;
use super::stops::forget_done;
use super::{Holder, Id, Life, Listed, Me, Memory, View, fence, rate, rest};
use crate::mutant::{self, Mutant};
use crate::time::Wall;

/// The commit that lets me in at `now` by the store's clock, and sweeps those found dead.
pub(super) fn enter(view: &View, me: &Me, mine: &Listed, lapsed: &[&Holder], gone: &[&Listed], now: Wall) -> Commit {
    let ticket = &mine.ticket;
    let fence = next_fence(view, me.remembered, me.wall);
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.epoch = view.epoch.clone();
    ledger.fence = fence;
    ledger.holders.retain(|holder| lapsed.iter().all(|dead| dead.id != holder.id));
    ledger.rated = rate::count(&ledger, ticket, now);
    let entered = Holder {
        id: ticket.id.clone(),
        mode: ticket.mode,
        slots: ticket.slots,
        priority: ticket.priority,
        fence,
        ttl_ms: ticket.ttl_ms,
        since: view.now,
        who: ticket.who.clone(),
        limit_ms: ticket.limit_ms,
        group: ticket.policy.group.clone(),
        keep: ticket.policy.keep,
    };
    ledger.rests = rest::count(&ledger, ticket, &entered, now);
    ledger.holders.push(entered);
    let dead = lapsed.iter().map(|holder| &holder.id).chain(gone.iter().map(|listed| &listed.ticket.id));
    forget_done(&mut ledger, view, &dead.clone().cloned().collect::<Vec<_>>());
    let judged = dead.clone().filter(|_| !mutant::on(Mutant::BlindSweep)).map(|id| judged(view, id));
    let guards = judged.chain([Guard::Present(ticket.id.clone())]).collect();
    // Whom a request that stands is about may have gone since the view: who leaves next forgets it.
    let show = !ledger.stops.is_empty();
    let drop = dead.filter(|id| view.ticket(id).is_some()).cloned().collect();
    Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        wake: next_to_enter(view, &ledger, &ticket.id),
        ledger: Some(ledger),
        drop,
        guards,
        settle: match &view.memory {
            Memory::Unsure { mark, .. } => Some(mark.clone()),
            Memory::Intact => None,
        },
        show,
    }
}

/// The guard that a claim called dead is still in the state in which it was so called: no sweep without its proof.
pub(super) fn judged(view: &View, id: &Id) -> Guard {
    match view.ticket(id).map(|listed| listed.life) {
        None => Guard::Absent(id.clone()),
        Some(Life::Beat { count, .. }) => Guard::Still(id.clone(), Some(count)),
        Some(Life::Alive | Life::Dead) => Guard::Still(id.clone(), None),
    }
}

/// A ledger without a past may have had one that was lost; so may one from another life of the store, at its end.
pub(super) fn next_fence(view: &View, remembered: u64, wall: Wall) -> u64 {
    let blank = view.ledger.version == 0 && !mutant::on(Mutant::BlankIsNew);
    let may_have_lost = blank || view.ledger.epoch != view.epoch;
    fence::next(view.ledger.fence, fence::floor(view.now, wall), remembered, may_have_lost)
}

/// The commit that carries my holding over into a new life of the store.
pub(super) fn adopt(view: &View, me: &Me) -> Commit {
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.epoch = view.epoch.clone();
    forget_done(&mut ledger, view, &[]);
    // With the epoch goes the sign that grants may have been lost: the leap must not be lost with it.
    if !mutant::on(Mutant::NoLeapOnAdopt) {
        ledger.fence = next_fence(view, me.remembered, me.wall);
    }
    Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        ledger: Some(ledger),
        drop: Vec::new(),
        guards: vec![Guard::Present(me.ticket.id.clone())],
        wake: Vec::new(),
        settle: None,
        show: true,
    }
}
