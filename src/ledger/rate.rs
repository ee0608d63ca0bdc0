//! At most so many grants in so long a time: when the next is due, and what is counted.

use super::policy::{MOST_GRANTS, Rate, Rated};
use super::{Ledger, Ticket};
use crate::time::Wall;

/// The rates that a claim obeys: its own, and the one by which the last was let in.
fn rates<'a>(ledger: &'a Ledger, ticket: &'a Ticket) -> impl Iterator<Item = Rate> + use<'a> {
    ticket.policy.rate.into_iter().chain(ledger.rated.as_ref().map(|rated| rated.rate))
}

/// The rate that lets a claim in last, and when that is on the store's clock; `None` if nothing counts against it.
pub fn due(ledger: &Ledger, ticket: &Ticket) -> Option<(Wall, Rate)> {
    let granted = &ledger.rated.as_ref()?.granted;
    let next = |rate: Rate| {
        let oldest = granted.len().checked_sub(rate.grants as usize)?;
        Some((Wall(granted[oldest].0.saturating_add(rate.per_ms)), rate))
    };
    rates(ledger, ticket).filter_map(next).max_by_key(|(at, _)| *at)
}

/// What is counted once `ticket` is let in at `now`. A rate is in force for as long as a grant by it counts, whoever comes.
pub fn count(ledger: &Ledger, ticket: &Ticket, now: Wall) -> Option<Rated> {
    let old = ledger.rated.clone().filter(|rated| {
        let last = rated.granted.last().copied().unwrap_or(Wall(0));
        last.0.saturating_add(rated.rate.per_ms) > now.0
    });
    let rate = ticket.policy.rate.or(old.as_ref().map(|rated| rated.rate))?;
    let longest = rates(ledger, ticket).map(|rate| rate.per_ms).max().unwrap_or(rate.per_ms);
    let mut granted: Vec<Wall> = ledger.rated.as_ref().map(|rated| rated.granted.clone()).unwrap_or_default();
    // A clock that was set back must not make the past a future that nobody may go into.
    granted.iter_mut().for_each(|at| *at = (*at).min(now));
    granted.retain(|at| at.0.saturating_add(longest) > now.0);
    granted.push(now);
    let excess = granted.len().saturating_sub(MOST_GRANTS as usize);
    granted.drain(..excess);
    Some(Rated { rate, granted })
}
