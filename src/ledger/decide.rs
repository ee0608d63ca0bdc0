//! The one function that decides: a view, who asks, what they have watched, and the time; out comes what to do.

use std::time::Duration;

use super::policy::{Keep, Rate};
use super::queue::Ahead;
use super::room::{Obstacle, obstacle};
use super::watched::present;
use super::{Commit, Holder, Listed, StopReason, Ticket, View, Watched, enter, stops};
use crate::mutant::{self, Mutant};
use crate::time::{Tick, Wall};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Me {
    pub ticket: Ticket,
    /// The highest fence this host remembers for the lock; 0 if none.
    pub remembered: u64,
    /// This host's wall clock, a floor for the fence.
    pub wall: Wall,
    /// This is the first that I see of the lock.
    pub joining: bool,
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
    /// Others are to make room for me: this commit asks them to end.
    AskToStop(Commit),
    /// Not yet; look again at the latest at `until`, or when woken.
    Wait { until: Tick, why: Why },
    /// As many wait as I am ready to wait behind.
    Full { waiting: usize },
    /// I am asked to end.
    Stop(StopReason),
    /// My ticket is not in the store any more.
    Gone,
}

/// What a waiter waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Living holders leave no room, to me or to one before me that I may not pass.
    Held,
    /// There is room, and it is the turn of a waiter before me.
    Queued,
    /// The store may have forgotten a holder; at `until` any such holder is dead.
    Unsure,
    /// What room there is is kept for others.
    Kept(Keep),
    /// As many have been let in as this rate allows; the next is due then, on the store's clock.
    Rated { rate: Rate, at: Wall },
    /// Who held the lock is gone, and has it kept until then, on the store's clock.
    Resting { at: Wall },
    /// So many wait already.
    Full(usize),
}

/// Decides for `me`. `watched` must have looked at this very view.
pub fn decide(view: &View, me: &Me, watched: &Watched, now: Tick) -> Decision {
    let id = &me.ticket.id;
    let obeys = |why: &StopReason| *why != StopReason::Superseded || !mutant::on(Mutant::SupersededStays);
    if let Some(stop) = view.ledger.stops.iter().find(|stop| stop.id == *id && obeys(&stop.why)) {
        return Decision::Stop(stop.why.clone());
    }
    let Some(mine) = view.living(id) else { return Decision::Gone };
    if let Some(holder) = view.ledger.holder(id) {
        return if view.ledger.epoch == view.epoch {
            Decision::Hold { fence: holder.fence }
        } else {
            Decision::Adopt(enter::adopt(view, me))
        };
    }
    if stops::is_superseded(view, mine) && obeys(&StopReason::Superseded) {
        return Decision::Stop(StopReason::Superseded);
    }
    let decision = queue(view, me, mine, watched, now);
    let waiting = stops::others_that_wait(view, mine);
    let is_full = me.joining && me.ticket.policy.max_waiters.is_some_and(|most| waiting >= most as usize);
    match decision {
        Decision::Enter(_) => decision,
        _ if is_full => Decision::Full { waiting },
        _ => decision,
    }
}

/// Decides for one that waits.
fn queue(view: &View, me: &Me, mine: &Listed, watched: &Watched, now: Tick) -> Decision {
    if let Some(commit) = stops::supersede(view, me, mine) {
        return Decision::AskToStop(commit);
    }
    if let Some(until) = watched.sure_at(view, now).filter(|at| *at > now) {
        return Decision::Wait { until, why: Why::Unsure };
    }
    let lapses_at = |holder: &Holder| watched.lapses_at(view, &holder.id, judged_by(holder, me), now);
    let (living, lapsed): (Vec<&Holder>, Vec<&Holder>) =
        view.ledger.holders.iter().partition(|holder| lapses_at(holder).is_none_or(|at| at > now));
    let rests = watched.rests(view, now);
    // Those that rest keep their room as those that live do.
    let present = present(&living, &rests);
    let (ahead, gone) = Ahead::look(view, mine, &present, watched, now);
    let due = watched.due_at(view, &me.ticket).filter(|(at, _)| *at > now);
    let on_store = |at: Tick| Wall(watched.store_now(view, now).0.saturating_add(now.until(at).as_millis() as u64));
    if let Some(obstacle) = obstacle(&present, &me.ticket) {
        // Who keeps its room for a time is not asked to leave before that is over: it would be of no use.
        let asks = ahead.is_empty() && due.is_none() && rests.is_empty();
        if let Some(commit) = asks.then(|| stops::preempt(view, me, &living)).flatten() {
            return Decision::AskToStop(commit);
        }
        let over = rests.iter().map(|(until, _)| *until).min();
        let lapses = living.iter().filter_map(|holder| lapses_at(holder)).chain(over.filter(|_| ahead.is_empty()));
        let why = match obstacle {
            _ if fits(&living, &me.ticket) => Why::Resting { at: on_store(over.unwrap_or(now)) },
            Obstacle::Holders => Why::Held,
            Obstacle::Kept(keep) => Why::Kept(keep),
        };
        return Decision::Wait { until: lapses.min().unwrap_or(Tick::NEVER), why };
    }
    if let Some((at, rate)) = due {
        // One alone looks when it is due: those behind it have time until their beat.
        let until = if ahead.is_empty() { at } else { Tick::NEVER };
        return Decision::Wait { until, why: Why::Rated { rate, at: on_store(at) } };
    }
    match ahead.wait_for(view, watched, now) {
        Some(not_yet) if !mutant::on(Mutant::Barge) => not_yet,
        _ => Decision::Enter(enter::enter(view, me, mine, &lapsed, &gone, watched.store_now(view, now))),
    }
}

fn fits(holders: &[&Holder], ticket: &Ticket) -> bool {
    obstacle(holders, ticket).is_none()
}

/// The ttl by which a holder is judged: its own, whatever the observer's is.
fn judged_by(holder: &Holder, me: &Me) -> Duration {
    if mutant::on(Mutant::MyTtl) { me.ticket.ttl() } else { holder.ttl() }
}
