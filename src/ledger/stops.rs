//! Requests that a claim end: who may ask whom, and for how long a request stands. It removes nobody: who is asked stops its
//! job and leaves by itself.

use std::cmp::Reverse;

use super::commit::{Commit, Guard};
use super::enter::next_fence;
use super::policy::Supersede;
use super::room::obstacle;
use super::{Holder, Id, Ledger, Life, Listed, Me, Stop, StopReason, View};
use crate::time::Wall;

/// So many requests may stand at once; further ones wait until some of these are done.
pub const MOST_STOPS: usize = 256;

/// Forgets the requests whose target has gone: it is among the `ended`, or all that wait are listed and it is not.
pub(super) fn forget_done(ledger: &mut Ledger, view: &View, ended: &[Id]) {
    let all_listed = view.waiters().count() >= view.waiting;
    let holders = &ledger.holders;
    let is_gone = |id: &Id| ended.contains(id) || (all_listed && view.ticket(id).is_none());
    ledger.stops.retain(|stop| holders.iter().any(|holder| holder.id == stop.id) || !is_gone(&stop.id));
}

/// Asks holders of a lower priority to make room: only as many as are needed, the lowest first, of equals the last to come.
pub(super) fn preempt(view: &View, me: &Me, living: &[&Holder]) -> Option<Commit> {
    let ticket = &me.ticket;
    if !ticket.policy.preempt {
        return None;
    }
    let mut staying: Vec<&Holder> = living.iter().copied().filter(|holder| !is_asked(view, &holder.id)).collect();
    let mut lower: Vec<&Holder> = staying.iter().copied().filter(|holder| holder.priority < ticket.priority).collect();
    lower.sort_by_key(|holder| (holder.priority, Reverse(holder.fence)));
    let mut asked: Vec<&Holder> = Vec::new();
    for holder in lower {
        if obstacle(&staying, ticket).is_none() {
            break;
        }
        staying.retain(|other| other.id != holder.id);
        asked.push(holder);
    }
    if obstacle(&staying, ticket).is_some() {
        return None;
    }
    // Who was asked before it was enough may not have been needed.
    for holder in asked.clone().into_iter().rev() {
        staying.push(holder);
        if obstacle(&staying, ticket).is_none() {
            asked.retain(|other| other.id != holder.id);
        } else {
            staying.pop();
        }
    }
    let whom = asked.into_iter().map(|holder| (holder.id.clone(), StopReason::Preempted)).collect();
    ask(view, &me.ticket.id, (me.remembered, me.wall), whom)
}

/// Asks the older ones of my group to end: the newest wins.
pub(super) fn supersede(view: &View, me: &Me, mine: &Listed) -> Option<Commit> {
    let how = me.ticket.policy.supersede?;
    let older = view.tickets.iter().filter(|other| {
        let holds = view.ledger.holder(&other.ticket.id).is_some();
        is_of_group(other, mine) && other.seq < mine.seq && (how == Supersede::Running || !holds)
    });
    let ids = older.map(|other| other.ticket.id.clone()).filter(|id| !is_asked(view, id));
    ask(view, &me.ticket.id, (me.remembered, me.wall), ids.map(|id| (id, StopReason::Superseded)).collect())
}

/// Whether a newer one of my group is here that replaces me. It says so by a request as well, but on a store where who joins
/// first can be seen last, of two that come together the older one would be seen by nobody.
pub(super) fn is_superseded(view: &View, mine: &Listed) -> bool {
    let newer = |other: &&Listed| other.seq > mine.seq && other.ticket.policy.supersede.is_some();
    view.tickets.iter().filter(newer).any(|other| is_of_group(other, mine))
}

/// Claims that wait, and have not been asked to end nor are about to be, beside mine.
pub(super) fn others_that_wait(view: &View, mine: &Listed) -> usize {
    let replaced =
        |other: &Listed| is_asked(view, &other.ticket.id) || (mine.ticket.policy.supersede.is_some() && is_of_group(other, mine));
    // Those who came after me found me waiting, not I them.
    let no_matter = view
        .waiters()
        .filter(|other| other.ticket.id == mine.ticket.id || other.seq > mine.seq || other.life == Life::Dead || replaced(other));
    view.waiting.saturating_sub(no_matter.count())
}

fn is_of_group(other: &Listed, mine: &Listed) -> bool {
    let group = &mine.ticket.policy.group;
    other.life != Life::Dead && group.is_some() && other.ticket.policy.group == *group
}

pub(super) fn is_asked(view: &View, id: &Id) -> bool {
    view.ledger.stops.iter().any(|stop| stop.id == *id)
}

/// The commit that asks them, as long as `present` has its ticket.
pub(super) fn ask(view: &View, present: &Id, (remembered, wall): (u64, Wall), whom: Vec<(Id, StopReason)>) -> Option<Commit> {
    let mut ledger = view.ledger.clone();
    forget_done(&mut ledger, view, &[]);
    let room = MOST_STOPS.saturating_sub(ledger.stops.len());
    let stops: Vec<Stop> = whom.into_iter().take(room).map(|(id, why)| Stop { id, why }).collect();
    if stops.is_empty() {
        return None;
    }
    ledger.version += 1;
    // With its first version goes the sign that grants may have been lost: the leap must not be lost with it.
    if view.ledger.version == 0 {
        ledger.fence = next_fence(view, remembered, wall);
    }
    let wake = stops.iter().map(|stop| stop.id.clone()).collect();
    ledger.stops.extend(stops);
    Some(Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        ledger: Some(ledger),
        drop: Vec::new(),
        guards: vec![Guard::Present(present.clone())],
        wake,
        settle: None,
        show: true,
    })
}
