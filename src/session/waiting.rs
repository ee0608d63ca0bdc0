//! A claim in the queue: when it looks, when it beats, and when it has waited enough.

use std::time::Duration;

use super::claim::{Claim, Pause, Phase};
use super::words::{Ending, News, Request, Standing, Step};
use crate::ledger::{Decision, Id, Life, Listed, Why};
use crate::mutant::{self, Mutant};
use crate::store::{Beat, Liveness};
use crate::time::{Tick, Wall};
use crate::timing;

/// How long after a holder's next beat is due a waiter listens for it: the sooner it hears the last one, the sooner it
/// knows that no more will come.
const LISTEN_AFTER: Duration = Duration::from_millis(50);

impl Claim {
    pub(super) fn queue(&mut self, now: Tick, wall: Wall, pause: Pause) -> Step {
        if now >= self.patience {
            let (why, until) = match self.decide(now, wall) {
                Some(Decision::Wait { until, why }) => (why, until),
                _ => (Why::Queued, now),
            };
            self.ending = Some(Ending::Busy(self.standing(why, until)));
            self.leave(now);
            return self.next(now, wall);
        }
        if let Some(step) = self.search(now, wall) {
            return step;
        }
        match pause {
            Pause::Look => Step::Ask(Request::View),
            Pause::Rest { until, .. } if now < until => Step::Wait(until),
            Pause::Rest { .. } if self.kind.liveness == Liveness::Kernel || mutant::on(Mutant::IdleWaiters) => {
                Step::Ask(Request::View)
            }
            Pause::Rest { .. } if now >= self.beat_at(now) => Step::Ask(Request::Beat(self.watched_ids())),
            Pause::Rest { look: true, .. } => Step::Ask(Request::View),
            Pause::Rest { .. } => {
                // The moment came that the last decision named: decide again by what is known.
                match self.view.take() {
                    Some(view) => self.see(view, now, wall),
                    None => self.phase = Phase::Waiting(Pause::Look),
                }
                self.next(now, wall)
            }
        }
    }

    /// Not my turn: rest until something can have changed.
    pub(super) fn rest(&mut self, now: Tick, why: Why, until: Tick) {
        // A vacancy is used by others at any moment.
        let look = why == Why::Queued;
        if let Some(standing) = self.standing(why.clone(), until) {
            self.news.push(News::Waiting(standing));
        }
        let until = until.min(self.beat_at(now)).min(self.search_due(now)).min(self.patience).max(now + Duration::from_millis(1));
        self.phase = Phase::Waiting(Pause::Rest { until, look });
    }

    pub(super) fn beat_in_queue(&mut self, sent: Tick, now: Tick, wall: Wall, beat: Beat) {
        let Beat::Alive { version, epoch, others, quiet } = beat else { return self.rejoin() };
        self.base = Some(sent);
        if mutant::on(Mutant::NoPoll) {
            self.phase = Phase::Waiting(Pause::Rest { until: self.beat_at(now).min(self.patience), look: false });
            return;
        }
        let asked = self.watched_ids();
        for (id, count) in &others {
            self.watched.hear(id, *count, &epoch, now);
            self.update_life(id, *count, quiet);
        }
        let all_there = asked.iter().all(|id| others.iter().any(|(other, _)| other == id));
        match self.view.take() {
            Some(view) if all_there && view.ledger.version == version && view.epoch == epoch => {
                self.see(view, now, wall);
            }
            view => {
                self.view = view;
                self.phase = Phase::Waiting(Pause::Look);
            }
        }
    }

    /// A waiter's place in the last view.
    pub(super) fn standing(&self, why: Why, until: Tick) -> Option<Standing> {
        let view = self.view.as_ref()?;
        Some(Standing { at: 0, holders: view.ledger.holders.clone(), ahead: view.ahead, why, until, now: view.now })
    }

    /// When the next beat is due: every `timing.beat`, moved forward to just after the holder's own next one.
    fn beat_at(&self, now: Tick) -> Tick {
        let due = self.base.map_or(now, |base| base + self.timing.beat);
        let Some((period, quiet)) = self.holder_rhythm() else { return due };
        let heard = self.base.unwrap_or(now) + LISTEN_AFTER;
        let next = heard + period.saturating_sub(quiet);
        // Shifted by less than half a beat it still is one request a beat; by more it would be two.
        if next < due && next > due - self.timing.beat / 2 { next } else { due }
    }

    /// The time between the first holder's beats, and for how long it had been quiet when last heard.
    fn holder_rhythm(&self) -> Option<(Duration, Duration)> {
        let view = self.view.as_ref().filter(|view| view.ahead == 0)?;
        let period = view.ledger.holders.first()?.ttl().min(view.max_ttl) / timing::BEATS_PER_TTL;
        Some((period, self.holder_quiet()?))
    }

    fn update_life(&mut self, id: &Id, count: u64, quiet: Option<Duration>) {
        let Some(view) = self.view.as_mut() else { return };
        let first_holder = view.ledger.holders.first().map(|holder| holder.id.clone());
        // Whoever the store itself knows to live has no beats to count.
        let counted = |listed: &&mut Listed| matches!(listed.life, Life::Beat { .. }) && listed.ticket.id == *id;
        for listed in view.tickets.iter_mut().filter(counted) {
            let quiet = quiet.filter(|_| first_holder.as_ref() == Some(id));
            listed.life = Life::Beat { count, quiet };
        }
    }
}
