//! A lock broken from outside, as a machine like the [`super::Claim`] is: ask it what is next, tell it the answer.
//!
//! The holder's own guard stops its job. Who breaks the lock looks on until the claim is gone, and proves it dead itself
//! where nobody answers any more.

use std::time::Duration;

use super::words::{Answer, Request};
use crate::ledger::breaking::{Break, Move};
use crate::ledger::{Commit, Listed, View, Watched};
use crate::store::{self, Outcome};
use crate::time::{Tick, Wall};

/// Between two looks, doubling: most jobs end within a second, others take their grace.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One order to break a lock.
pub struct Breaking {
    order: Break,
    watched: Watched,
    phase: Phase,
    /// Whom it is about, as last seen.
    target: Option<Listed>,
    /// The request may have reached the ledger.
    asked: bool,
    /// This was told.
    told: bool,
    how: Option<How>,
    pause: Duration,
    news: Vec<News>,
}

enum Phase {
    Looking,
    /// To be sent; what it removes the claim by, if it does.
    Committing(Box<Commit>, Option<How>),
    Resting(Tick),
    Over(End),
}

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Ask the store this, as one without a ticket, then tell `answer` what it said.
    Ask(Request),
    /// Wait until then.
    Wait(Tick),
    Tell(News),
    End(End),
}

/// A fact for whoever gave the order.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The claim has been asked to end; if it does not answer any more, it lapses then.
    Asked(Tick),
    /// It is about to be removed, whatever becomes of its job.
    Forced,
    /// The store does not answer.
    Trouble(String),
}

/// What came of the order.
#[derive(Debug)]
pub enum End {
    /// The claim is there no more.
    Gone(How),
    /// There was no such claim.
    Absent,
    /// The ledger has this version, and not the one that was meant.
    Changed(u64),
    /// No further request can stand now.
    Crowded,
    /// It lives, and nothing but the end of its own processes removes it.
    Kept,
    Failed(store::Error),
}

/// How a broken claim went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It stopped its job and left.
    Left,
    /// It was found dead.
    Swept,
    /// It was removed by force.
    Forced,
}

impl Breaking {
    pub fn new(order: Break) -> Breaking {
        Breaking {
            order,
            watched: Watched::default(),
            phase: Phase::Looking,
            target: None,
            asked: false,
            told: false,
            how: None,
            pause: SHORTEST_PAUSE,
            news: Vec::new(),
        }
    }

    /// Whom it is about, as last seen.
    pub fn target(&self) -> Option<&Listed> {
        self.target.as_ref()
    }

    /// What to do next, by `now`; nothing more after an `End`.
    pub fn next(&mut self, now: Tick) -> Step {
        if !self.news.is_empty() {
            return Step::Tell(self.news.remove(0));
        }
        match &self.phase {
            Phase::Looking => Step::Ask(Request::View),
            Phase::Committing(commit, _) => Step::Ask(Request::Commit(commit.clone())),
            Phase::Resting(until) if now < *until => Step::Wait(*until),
            Phase::Resting(_) => Step::Ask(Request::View),
            Phase::Over(_) => match std::mem::replace(&mut self.phase, Phase::Looking) {
                Phase::Over(end) => Step::End(end),
                _ => unreachable!("it was over"),
            },
        }
    }

    /// The store's answer to the last request; `wall` is this host's clock.
    pub fn answer(&mut self, now: Tick, wall: Wall, answer: Result<Answer, store::Error>) {
        match answer {
            Ok(Answer::View(view)) => self.see(&view, now, wall),
            Ok(Answer::Outcome(outcome)) => {
                match (outcome, &self.phase) {
                    (Outcome::Done(_), Phase::Committing(_, how)) => {
                        (self.asked, self.how) = (true, *how);
                        self.phase = Phase::Looking;
                    }
                    // On a lock that changes hands all the time it takes more than one try.
                    _ => self.rest(now, Tick::NEVER),
                }
            }
            Ok(other) => unreachable!("{other:?} answers nothing that was asked"),
            Err(store::Error::Unreachable(trouble)) if self.asked || matches!(self.phase, Phase::Committing(..)) => {
                // The commit may have been carried out: the next look tells.
                self.asked = true;
                self.news.push(News::Trouble(trouble));
                self.rest(now, Tick::NEVER);
            }
            Err(error) => self.phase = Phase::Over(End::Failed(error)),
        }
    }

    fn see(&mut self, view: &View, now: Tick, wall: Wall) {
        if let Some(target) = self.order.target(view) {
            self.watched.look(view, &target.ticket, now);
            self.target = Some(target);
        }
        self.phase = match self.order.next(view, &self.watched, now, wall) {
            Move::Ask(commit) => Phase::Committing(Box::new(commit), None),
            Move::Sweep(commit) => Phase::Committing(Box::new(commit), Some(How::Swept)),
            Move::Force(commit) => {
                self.news.push(News::Forced);
                Phase::Committing(Box::new(commit), Some(How::Forced))
            }
            Move::Wait(lapses_at) => {
                self.asked = true;
                if !std::mem::replace(&mut self.told, true) {
                    self.news.push(News::Asked(lapses_at));
                }
                return self.rest(now, lapses_at);
            }
            Move::Absent => match self.target.as_ref().filter(|_| self.asked) {
                Some(target) if self.order.is_done(view, &target.ticket.id) => {
                    Phase::Over(End::Gone(self.how.unwrap_or(How::Left)))
                }
                Some(_) => return self.rest(now, Tick::NEVER),
                None => Phase::Over(End::Absent),
            },
            Move::Changed(version) => Phase::Over(End::Changed(version)),
            Move::Crowded => Phase::Over(End::Crowded),
            Move::Kept => Phase::Over(End::Kept),
        };
    }

    fn rest(&mut self, now: Tick, lapses_at: Tick) {
        self.phase = Phase::Resting(lapses_at.min(now + self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
