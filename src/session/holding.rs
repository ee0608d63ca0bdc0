//! A claim among the holders: beats, and what a changed ledger means for it.

use std::time::Duration;

use super::claim::{Claim, Phase};
use super::words::{Ending, Loss, News, Request, Step};
use crate::ledger::{Commit, Decision, StopReason, commit};
use crate::mutant::{self, Mutant};
use crate::store::Beat;
use crate::time::{Tick, Wall};

impl Claim {
    /// My own commit let me in, or a view shows that it did.
    pub(super) fn let_in(&mut self, now: Tick, fence: u64) {
        self.fence = Some(fence);
        self.hold_on(now);
    }

    pub(super) fn hold(&mut self, now: Tick, beat_at: Tick, look: bool) -> Step {
        match (look, now < beat_at) {
            (true, _) => Step::Ask(Request::View),
            (false, true) => Step::Wait(beat_at),
            (false, false) => Step::Ask(Request::Beat(Vec::new())),
        }
    }

    pub(super) fn beat_in_hand(&mut self, sent: Tick, now: Tick, wall: Wall, beat: Beat) {
        let Beat::Alive { version, epoch, .. } = beat else {
            return if mutant::on(Mutant::GoneRenews) { self.renewed(sent) } else { self.judge(now, Some(Decision::Gone)) };
        };
        self.renewed(sent);
        let changed = |view: &crate::ledger::View| view.ledger.version != version || view.epoch != epoch;
        if self.view.as_ref().is_none_or(changed) {
            self.phase = Phase::Holding { beat_at: sent + self.timing.beat, look: true };
        } else {
            let decision = self.decide(now, wall);
            self.judge(now, decision);
        }
    }

    fn renewed(&mut self, sent: Tick) {
        self.base = Some(sent);
        self.phase = Phase::Holding { beat_at: sent + self.timing.beat, look: false };
        if self.granted {
            self.news.push(News::Renewed { sent });
        }
    }

    /// The store began a new life with me among the holders. Only one whose job has lived by this lease all the time knows
    /// that nobody came after it: a claim that never heard of its entry may have been swept, and another let in, in what
    /// was lost. It gives the holding back and queues again.
    pub(super) fn carry_over(&mut self, adopt: Commit) {
        let carries = self.granted || mutant::on(Mutant::AdoptUnheard);
        let release = self.view.as_ref().and_then(|view| commit::give_up(view, &self.ticket.id));
        self.phase = Phase::Committing(release.filter(|_| !carries).unwrap_or(adopt));
    }

    /// What a decision means for one who has been let in.
    pub(super) fn judge(&mut self, now: Tick, decision: Option<Decision>) {
        match decision {
            Some(Decision::Hold { .. }) => {
                self.hear_of_limit();
                self.hold_on(now);
            }
            Some(Decision::Adopt(commit)) => self.carry_over(commit),
            Some(Decision::Stop(why)) => self.lose(now, Loss::Stopped(why)),
            Some(Decision::Gone) => self.lose(now, Loss::Forgotten),
            Some(_) if mutant::on(Mutant::SweptGoesOn) => self.hold_on(now),
            // My ticket is there, but the ledger names me no more.
            Some(_) => self.lose(now, Loss::Swept),
            None => self.phase = Phase::Holding { beat_at: now, look: true },
        }
    }

    /// Somebody may have given the job more time.
    fn hear_of_limit(&mut self) {
        let holder = self.view.as_ref().and_then(|view| view.ledger.holder(&self.ticket.id));
        let (Some(limit), Some(known)) = (holder.and_then(|holder| holder.limit_ms), self.ticket.limit_ms) else { return };
        if limit > known {
            self.ticket.limit_ms = Some(limit);
            self.news.push(News::Extended { by: Duration::from_millis(limit - known) });
        }
    }

    /// Tells that the job may start, once: after a fresh beat if too little of the lease is left to start anything.
    fn hold_on(&mut self, now: Tick) {
        let base = self.base.unwrap_or(Tick(0));
        let beat_at = base + self.timing.beat;
        if !self.granted && !self.together {
            if let Some(fence) = self.fence.filter(|_| self.is_fresh(now)) {
                self.granted = true;
                self.news.push(News::Granted { fences: vec![fence], sent: base });
            } else {
                self.phase = Phase::Holding { beat_at: now, look: false };
                return;
            }
        }
        self.phase = Phase::Holding { beat_at, look: false };
    }

    /// Whether enough of the lease is left to start a job.
    pub(super) fn is_fresh(&self, now: Tick) -> bool {
        now + self.timing.beat <= self.timing.stop_at(self.base.unwrap_or(Tick(0))) || mutant::on(Mutant::NoRecheck)
    }

    /// The lock is gone. Without a job there is nothing to mourn: queue again.
    fn lose(&mut self, now: Tick, loss: Loss) {
        match loss {
            _ if self.granted => {
                self.news.push(News::Lost { at: 0, loss });
                self.phase = Phase::Lost;
            }
            // Asked to end before the job began, it holds the lock all the same: first give that back.
            Loss::Stopped(StopReason::Preempted) => {
                match self.view.as_ref().and_then(|view| commit::give_up(view, &self.ticket.id)) {
                    Some(release) => self.phase = Phase::Committing(release),
                    None => self.rejoin(),
                }
            }
            Loss::Stopped(why) => {
                self.ending = Some(Ending::Stopped(why));
                self.leave(now);
            }
            Loss::Forgotten | Loss::Swept => self.rejoin(),
        }
    }
}
