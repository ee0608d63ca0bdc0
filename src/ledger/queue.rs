//! Who stands before me: whom I let go first, whom I may pass, and for how long a head that does not move is waited for.

use std::time::Duration;

use super::decide::{Decision, Why};
use super::room::{Obstacle, may_pass, obstacle};
use super::{Holder, Listed, View, Watched, commit};
use crate::mutant::{self, Mutant};
use crate::time::Tick;

/// A waiter of rank r acts on a vacancy that nobody used for r times this: a frozen head is passed, not waited for.
const RANK_STEP: Duration = Duration::from_secs(1);

/// A hand-over takes less. A vacancy older than this was not heard of by those whose turn it is, or they can't act.
const ROUSE_AFTER: Duration = Duration::from_millis(250);

/// So many of those before me are roused: more than can be frozen at once, and fewer than a herd.
const ROUSED: usize = 8;

/// The living waiters before me, without those whom I may pass.
pub(super) struct Ahead<'a> {
    /// Those who are listed and could go in.
    able: Vec<&'a Listed>,
    /// All who may be able to, listed or not.
    count: usize,
    /// One of them can't go in yet, and goes first all the same: a writer that waits for readers to leave.
    pub held_back: bool,
}

impl<'a> Ahead<'a> {
    /// Those before `mine`, and the dead ones among them.
    pub fn look(view: &'a View, mine: &Listed, living: &[&Holder], watched: &Watched, now: Tick) -> (Ahead<'a>, Vec<&'a Listed>) {
        let before: Vec<&Listed> = view.waiters().filter(|other| (other.order, other.seq) < (mine.order, mine.seq)).collect();
        let unlisted = view.ahead.saturating_sub(before.len());
        let (dead, waiting): (Vec<&Listed>, Vec<&Listed>) =
            before.into_iter().partition(|other| watched.waiter_lapsed(view, &other.ticket, now));
        // Who keeps to a slower rate than mine has no turn before it is due.
        let due = |ticket| watched.due_at(view, ticket).map_or(now, |(at, _)| at.max(now));
        let mine_due = due(&mine.ticket);
        let waiting = waiting.into_iter().filter(|other| due(&other.ticket) <= mine_due);
        let standing = |other: &&Listed| -> Option<Obstacle> { obstacle(living, &other.ticket) };
        let (able, stuck): (Vec<&Listed>, Vec<&Listed>) = waiting.partition(|other| standing(other).is_none());
        let held_back = stuck.iter().any(|other| !may_pass(&mine.ticket, standing(other)));
        (Ahead { count: able.len() + unlisted, able, held_back }, dead)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0 && !self.held_back
    }

    /// What to do while it is the turn of those before me.
    pub fn wait_for(&self, view: &View, watched: &Watched, now: Tick) -> Option<Decision> {
        if self.held_back {
            return Some(Decision::Wait { until: Tick::NEVER, why: Why::Held });
        }
        if self.count > 0 && mutant::on(Mutant::NoRank) {
            return Some(Decision::Wait { until: Tick::NEVER, why: Why::Queued });
        }
        let room = watched.room_since().unwrap_or(now);
        let turn = room + RANK_STEP * u32::try_from(self.count).unwrap_or(u32::MAX);
        if self.is_empty() || now >= turn {
            return None;
        }
        let rouse_at = room + ROUSE_AFTER;
        Some(match watched.has_roused() {
            false if now >= rouse_at => {
                let first = self.able.iter().take(ROUSED).map(|listed| listed.ticket.id.clone());
                Decision::Rouse(commit::wake(view, first.collect()))
            }
            false => Decision::Wait { until: rouse_at, why: Why::Queued },
            true => Decision::Wait { until: turn, why: Why::Queued },
        })
    }
}
