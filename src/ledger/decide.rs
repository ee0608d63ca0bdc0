//! The one function that decides: a view, who asks, what they have watched, and the time; out comes what to do.

use std::time::Duration;

use super::view::Memory;
use super::{Commit, Guard, Holder, Id, Ledger, Life, Listed, Mode, StopReason, Ticket, View, Watched, commit, fence};
use crate::mutant::{self, Mutant};
use crate::time::{Tick, Wall};

/// Holders a lock can have at once; the ledger stays small enough to be read at every change.
pub const MOST_HOLDERS: usize = 200;

/// A waiter of rank r acts on a vacancy that nobody used for r times this: a frozen head is passed, not waited for.
const RANK_STEP: Duration = Duration::from_secs(1);

/// A hand-over takes less. A vacancy older than this was not heard of by those whose turn it is, or they can't act.
const ROUSE_AFTER: Duration = Duration::from_millis(250);

/// So many of those before me are roused: more than can be frozen at once, and fewer than a herd.
const ROUSED: usize = 8;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Me {
    pub ticket: Ticket,
    /// The highest fence this host remembers for the lock; 0 if none.
    pub remembered: u64,
    /// This host's wall clock, a floor for the fence.
    pub wall: Wall,
}

/// What the asker is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is my turn: this commit lets me in.
    Enter(Commit),
    /// I hold the lock, with this fence.
    Hold { fence: u64 },
    /// I hold the lock in a store that began a new life: this commit carries my holding over.
    Adopt(Commit),
    /// The vacancy goes by unused: this commit wakes those before me, so that each of them counts its rank from now, and
    /// none is overtaken because it had not heard.
    Rouse(Commit),
    /// Not yet; look again at the latest at `until`, or when woken.
    Wait { until: Tick, why: Why },
    /// I am asked to end.
    Stop(StopReason),
    /// My ticket is not in the store any more.
    Gone,
}

/// What a waiter waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Living holders leave no room.
    Held,
    /// There is room, and it is the turn of a waiter before me.
    Queued,
    /// The store may have forgotten a holder; at `until` any such holder is dead.
    Unsure,
}

/// Decides for `me`. `watched` must have looked at this very view.
pub fn decide(view: &View, me: &Me, watched: &Watched, now: Tick) -> Decision {
    let id = &me.ticket.id;
    if let Some(stop) = view.ledger.stops.iter().find(|stop| stop.id == *id) {
        return Decision::Stop(stop.why);
    }
    let Some(mine) = view.living(id) else { return Decision::Gone };
    if let Some(holder) = view.ledger.holder(id) {
        return if view.ledger.epoch == view.epoch {
            Decision::Hold { fence: holder.fence }
        } else {
            Decision::Adopt(adopt(view, me))
        };
    }
    if let Some(until) = watched.sure_at(view, now).filter(|at| *at > now) {
        return Decision::Wait { until, why: Why::Unsure };
    }
    let lapses_at = |holder: &Holder| watched.lapses_at(view, &holder.id, judged_by(holder, me), now);
    let (living, lapsed): (Vec<&Holder>, Vec<&Holder>) =
        view.ledger.holders.iter().partition(|holder| lapses_at(holder).is_none_or(|at| at > now));
    if !has_room(living.iter().copied(), &me.ticket) {
        let lapses = living.iter().filter_map(|holder| lapses_at(holder));
        return Decision::Wait { until: lapses.min().unwrap_or(Tick::NEVER), why: Why::Held };
    }
    let (ahead, gone) = waiters_ahead(view, mine, watched, now);
    if !ahead.is_empty() && mutant::on(Mutant::NoRank) {
        return Decision::Wait { until: Tick::NEVER, why: Why::Queued };
    }
    match wait_for(&ahead, view, watched, now) {
        Some(not_yet) if !mutant::on(Mutant::Barge) => not_yet,
        _ => Decision::Enter(enter(view, me, mine, &lapsed, &gone)),
    }
}

/// What to do while it is the turn of those before me.
fn wait_for(ahead: &Ahead, view: &View, watched: &Watched, now: Tick) -> Option<Decision> {
    let room = watched.room_since().unwrap_or(now);
    let turn = room + RANK_STEP * u32::try_from(ahead.count).unwrap_or(u32::MAX);
    if ahead.is_empty() || now >= turn {
        return None;
    }
    let rouse_at = room + ROUSE_AFTER;
    Some(match watched.has_roused() {
        false if now >= rouse_at => {
            let first = ahead.listed.iter().take(ROUSED).map(|listed| listed.ticket.id.clone());
            Decision::Rouse(commit::wake(view, first.collect()))
        }
        false => Decision::Wait { until: rouse_at, why: Why::Queued },
        true => Decision::Wait { until: turn, why: Why::Queued },
    })
}

/// The ttl by which a holder is judged: its own, whatever the observer's is.
fn judged_by(holder: &Holder, me: &Me) -> Duration {
    if mutant::on(Mutant::MyTtl) { me.ticket.ttl() } else { holder.ttl() }
}

/// Whether a claim fits beside these holders.
pub(super) fn has_room<'a>(living: impl Iterator<Item = &'a Holder>, ticket: &Ticket) -> bool {
    let (mut held, mut shared) = (0u32, 0u32);
    for holder in living {
        held += 1;
        shared += u32::from(holder.mode == Mode::Shared);
    }
    held < MOST_HOLDERS as u32
        && match ticket.mode {
            Mode::Shared => shared == held,
            Mode::Exclusive => shared == 0 && held < ticket.slots,
        }
}

/// Who is to be woken when this ledger takes effect and `leaving` has left the queue: the first waiter, if it fits.
pub fn next_to_enter(view: &View, ledger: &Ledger, leaving: &Id) -> Vec<Id> {
    let first = view
        .tickets
        .iter()
        .filter(|listed| listed.life != Life::Dead)
        .find(|listed| listed.ticket.id != *leaving && view.ledger.holder(&listed.ticket.id).is_none());
    match first {
        Some(first) if has_room(ledger.holders.iter(), &first.ticket) => vec![first.ticket.id.clone()],
        _ => Vec::new(),
    }
}

/// The living waiters before me.
struct Ahead<'a> {
    listed: Vec<&'a Listed>,
    /// All of them, listed or not.
    count: usize,
}

impl Ahead<'_> {
    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The living waiters that stand before me, and the dead ones that do.
fn waiters_ahead<'a>(view: &'a View, mine: &Listed, watched: &Watched, now: Tick) -> (Ahead<'a>, Vec<&'a Listed>) {
    let before: Vec<&Listed> = view.waiters().filter(|other| (other.order, other.seq) < (mine.order, mine.seq)).collect();
    let unlisted = view.ahead.saturating_sub(before.len());
    let (dead, listed): (Vec<&Listed>, Vec<&Listed>) =
        before.into_iter().partition(|other| watched.waiter_lapsed(view, &other.ticket, now));
    (Ahead { count: listed.len() + unlisted, listed }, dead)
}

pub(super) fn enter(view: &View, me: &Me, mine: &Listed, lapsed: &[&Holder], gone: &[&Listed]) -> Commit {
    let ticket = &mine.ticket;
    let fence = next_fence(view, me);
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.epoch = view.epoch.clone();
    ledger.fence = fence;
    ledger.holders.retain(|holder| lapsed.iter().all(|dead| dead.id != holder.id));
    ledger.stops.retain(|stop| ledger.holders.iter().any(|holder| holder.id == stop.id));
    ledger.holders.push(Holder {
        id: ticket.id.clone(),
        mode: ticket.mode,
        slots: ticket.slots,
        priority: ticket.priority,
        fence,
        ttl_ms: ticket.ttl_ms,
        since: view.now,
        who: ticket.who.clone(),
    });
    let dead = lapsed.iter().map(|holder| &holder.id).chain(gone.iter().map(|listed| &listed.ticket.id));
    let judged = dead.clone().filter(|_| !mutant::on(Mutant::BlindSweep)).map(|id| judged(view, id));
    let guards = judged.chain([Guard::Present(ticket.id.clone())]).collect();
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
    }
}

/// The guard that a claim called dead is still in the state in which it was so called: no sweep without its proof.
fn judged(view: &View, id: &Id) -> Guard {
    match view.ticket(id).map(|listed| listed.life) {
        None => Guard::Absent(id.clone()),
        Some(Life::Beat { count, .. }) => Guard::Still(id.clone(), Some(count)),
        Some(Life::Alive | Life::Dead) => Guard::Still(id.clone(), None),
    }
}

/// A ledger without a past may have had one that was lost; so may one from another life of the store, at its end.
fn next_fence(view: &View, me: &Me) -> u64 {
    let blank = view.ledger.version == 0 && !mutant::on(Mutant::BlankIsNew);
    let may_have_lost = blank || view.ledger.epoch != view.epoch;
    fence::next(view.ledger.fence, fence::floor(view.now, me.wall), me.remembered, may_have_lost)
}

fn adopt(view: &View, me: &Me) -> Commit {
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.epoch = view.epoch.clone();
    // With the epoch goes the sign that grants may have been lost: the leap must not be lost with it.
    if !mutant::on(Mutant::NoLeapOnAdopt) {
        ledger.fence = next_fence(view, me);
    }
    Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        ledger: Some(ledger),
        drop: Vec::new(),
        guards: vec![Guard::Present(me.ticket.id.clone())],
        wake: Vec::new(),
        settle: None,
    }
}
