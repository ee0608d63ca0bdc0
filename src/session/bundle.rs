//! The claims of one run to all its locks, as a machine like the [`Claim`] is: one claim after the other, in one order for
//! everybody, so that no two runs can each hold what the other waits for.
//!
//! The rule: who waits for a lock holds only locks that come before it. The next claim joins when the one before is in. Who
//! is in beats on while the later ones wait. If one that was in is lost before the job has started, and must queue again, all
//! that come after it are given back first. The job may start when all are in; from then on the loss of one is the loss of
//! all, and the lease is as old as the oldest.

use super::words::{Answer, Ending, News, Step};
use super::{Claim, Standing};
use crate::mutant::{self, Mutant};
use crate::store;
use crate::time::{Tick, Wall};

/// Claims in the order in which they are taken.
pub struct Bundle {
    claims: Vec<Claim>,
    /// So many have begun; the later ones have not asked for anything.
    begun: usize,
    /// Whether the store made the later ones ready.
    prepared: bool,
    /// Whom the last step is about.
    at: usize,
    /// Who is asked first what is next: each in turn, so that an unanswered one holds nobody up for longer than itself.
    first: usize,
    /// Until when the last wait was to last.
    until: Tick,
    news: Option<News>,
    granted: bool,
    lost: bool,
    /// The oldest of the leases, as it was told.
    told: Tick,
    leaving: bool,
    ending: Option<Ending>,
    unreleased: Option<(Vec<usize>, String)>,
}

impl Bundle {
    /// # Panics
    /// If there is no claim.
    pub fn new(mut claims: Vec<Claim>) -> Bundle {
        assert!(!claims.is_empty(), "a run has a lock");
        let several = claims.len() > 1;
        claims.iter_mut().for_each(|claim| claim.together = several);
        Bundle {
            claims,
            begun: 1,
            prepared: false,
            at: 0,
            first: 0,
            until: Tick::NEVER,
            news: None,
            granted: false,
            lost: false,
            told: Tick(0),
            leaving: false,
            ending: None,
            unreleased: None,
        }
    }

    /// Whom the last step is about, by its place in the order.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Whether some have not begun to ask for their ticket.
    pub fn has_unbegun(&self) -> bool {
        self.begun < self.claims.len()
    }

    /// The store has made all tickets ready: what was never asked for must be taken back too.
    pub fn prepared(&mut self) {
        self.prepared = true;
    }

    /// The job is dead, or there is none: give everything back.
    pub fn leave(&mut self, now: Tick) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.claims[..self.begun].iter_mut().for_each(|claim| claim.leave(now));
        if self.prepared {
            self.claims[self.begun..].iter_mut().for_each(|claim| claim.leave_unborn(now));
            self.begun = self.claims.len();
        }
    }

    /// While paused the places are kept, but nobody is let in.
    pub fn pause(&mut self, paused: bool) {
        self.claims.iter_mut().for_each(|claim| claim.pause(paused));
    }

    /// A wait is over: at its time, or early because of a wake or the bell.
    pub fn woken(&mut self, now: Tick) {
        if self.claims.len() == 1 {
            return self.claims[0].woken(now);
        }
        if now >= self.until {
            return;
        }
        // A wake is for who waits. With nobody in a queue it was the line, which is everybody's.
        let queues = self.claims[self.at].is_waiting();
        for claim in self.claims[..self.begun].iter_mut().filter(|claim| claim.is_waiting() == queues) {
            claim.woken(now);
        }
    }

    /// What to do next, by `now`; `wall` is this host's wall clock, a floor for the fences.
    pub fn next(&mut self, now: Tick, wall: Wall) -> Step {
        loop {
            self.arrange(now);
            if let Some(news) = self.news.take() {
                return Step::Tell(news);
            }
            let leaving = self.leaving;
            if let Some(step) = self.poll(now, wall) {
                return step;
            }
            if self.leaving && self.claims[..self.begun].iter().all(Claim::is_over) {
                return Step::End(self.end());
            }
            // Who has been told to leave only now was asked before it was.
            if self.leaving == leaving && !self.arrange(now) {
                return Step::Wait(self.until);
            }
        }
    }

    /// The store's answer to the last request, which was sent at `sent`.
    pub fn answer(&mut self, sent: Tick, now: Tick, wall: Wall, answer: Result<Answer, store::Error>) {
        self.claims[self.at].answer(sent, now, wall, answer);
    }

    /// Who begins, who must stand back, and whether all are in; whether that changed anything.
    fn arrange(&mut self, now: Tick) -> bool {
        if self.claims.len() == 1 || self.granted || self.leaving {
            return false;
        }
        match self.front() {
            front if front < self.begun - 1 => self.fall_back(front, now),
            front if front < self.begun => false,
            _ if self.has_unbegun() => {
                let (before, rest) = self.claims.split_at_mut(self.begun);
                rest[0].follow(before);
                self.begun += 1;
                true
            }
            _ => self.grant(now),
        }
    }

    /// The first that is not in; of those begun, if they are not all in.
    fn front(&self) -> usize {
        self.claims[..self.begun].iter().position(|claim| !claim.is_in()).unwrap_or(self.begun)
    }

    /// The one in front must queue again: those after it give back what they hold, or their place, before it asks.
    fn fall_back(&mut self, front: usize, now: Tick) -> bool {
        if mutant::on(Mutant::HoldsOn) {
            return false;
        }
        let later = front + 1..self.begun;
        self.claims[later.clone()].iter_mut().for_each(|claim| claim.leave(now));
        if !self.claims[later.clone()].iter().all(Claim::is_over) {
            return false;
        }
        if let Some(why) = self.claims[later.clone()].iter_mut().find_map(|claim| claim.kept.take()) {
            // Held on in the store, by nobody who knows of it: only the end of this run frees it.
            self.ending.get_or_insert(why);
            self.leave(now);
            return true;
        }
        self.claims[later].iter_mut().for_each(Claim::begin_again);
        self.begun = front + 1;
        true
    }

    /// All are in. The job may start if each of the leases is young enough.
    fn grant(&mut self, now: Tick) -> bool {
        if !self.claims.iter().all(|claim| claim.is_ready(now)) {
            self.claims.iter_mut().for_each(|claim| claim.freshen(now));
            return false;
        }
        let fences = self.claims.iter().filter_map(|claim| claim.fence).collect();
        self.claims.iter_mut().for_each(|claim| claim.granted = true);
        (self.granted, self.told) = (true, self.oldest());
        self.news = Some(News::Granted { fences, sent: self.told });
        true
    }

    /// The send time of the beat that the run's lease hangs on.
    fn oldest(&self) -> Tick {
        let bases = self.claims.iter().map(|claim| claim.base.unwrap_or(Tick(0)));
        let oldest = if mutant::on(Mutant::YoungestBase) { bases.max() } else { bases.min() };
        oldest.unwrap_or(Tick(0))
    }

    /// Asks each in turn; `None` if all wait, which is noted.
    fn poll(&mut self, now: Tick, wall: Wall) -> Option<Step> {
        let (front, begun) = (self.front(), self.begun);
        let held_up = (!self.granted && !self.leaving && front + 1 < begun && !mutant::on(Mutant::HoldsOn)).then_some(front);
        let (mut until, mut waiter) = (Tick::NEVER, None);
        let first = self.first;
        for at in (0..begun).map(|step| (first + step) % begun).filter(|at| Some(*at) != held_up) {
            while !self.claims[at].is_over() {
                match self.claims[at].next(now, wall) {
                    Step::Ask(request) => {
                        (self.at, self.first) = (at, at + 1);
                        return Some(Step::Ask(request));
                    }
                    Step::Tell(news) => {
                        if let Some(news) = self.heard(at, news) {
                            return Some(Step::Tell(news));
                        }
                    }
                    Step::End(ending) => {
                        self.ended(at, ending, now);
                        break;
                    }
                    Step::Wait(next) => {
                        until = until.min(next);
                        waiter = waiter.or(self.claims[at].is_waiting().then_some(at));
                        break;
                    }
                }
            }
        }
        (self.until, self.at) = (until, waiter.unwrap_or(0));
        None
    }

    /// What one claim's news is for the run.
    fn heard(&mut self, at: usize, news: News) -> Option<News> {
        let others_suffer = || self.claims.iter().enumerate().any(|(other, claim)| other != at && claim.is_in_trouble());
        match news {
            News::Waiting(standing) => return Some(News::Waiting(Standing { at, ..standing })),
            News::Renewed { .. } if self.claims.len() > 1 => {
                let oldest = self.oldest();
                let renewed = oldest > self.told;
                self.told = self.told.max(oldest);
                return renewed.then_some(News::Renewed { sent: oldest });
            }
            // One line, one server: it is said once.
            News::Trouble(_) | News::Recovered if others_suffer() => return None,
            News::Lost { .. } if std::mem::replace(&mut self.lost, true) => return None,
            News::Lost { loss, .. } => return Some(News::Lost { at, loss }),
            _ => {}
        }
        Some(news)
    }

    /// One has ended. Unless that was what it was told to do, the run ends so, and gives back the others.
    fn ended(&mut self, at: usize, ending: Ending, now: Tick) {
        self.claims[at].over = true;
        match ending {
            Ending::Left => {}
            Ending::Unreleased { trouble, .. } => self.unreleased.get_or_insert_with(|| (Vec::new(), trouble)).0.push(at),
            Ending::Busy(standing) => {
                let standing = standing.map(|standing| Standing { at, ..standing });
                self.ending.get_or_insert(Ending::Busy(standing));
            }
            other => {
                self.ending.get_or_insert(other);
            }
        }
        if self.claims.len() == 1 || self.ending.is_some() {
            self.leave(now);
        }
    }

    fn end(&mut self) -> Ending {
        match (self.ending.take(), self.unreleased.take()) {
            (Some(ending), _) => ending,
            (None, Some((mut which, trouble))) => {
                which.sort_unstable();
                Ending::Unreleased { which, trouble }
            }
            (None, None) => Ending::Left,
        }
    }
}
