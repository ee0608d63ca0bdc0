//! The life of one claim as a machine without a clock and without a store: ask it what is next, tell it the answer.
//!
//! ```text
//! Joining -> Waiting -> Committing -> Holding -> Leaving -> Ended
//!    |          ^------------'  ^       (conflict, no answer, or others were woken)
//!    '--------------------------'       (straight in: nothing stood in the way)
//! ```
//!
//! Two rules carry the promise. The lease is based on the *send* time of a beat that was acknowledged, never on its
//! answer; and a retry is not a renewal: asking again for a ticket that exists moves nothing. Every time-out is
//! resolved by a view, never by a guess.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::entangled::Entanglement;
use super::words::{Answer, Ending, News, Request, Step};
use crate::ledger::{Commit, Decision, Id, Life, Me, Straight, Ticket, View, Watched, Why, decide, decide::Decision as D};
use crate::mutant::{self, Mutant};
use crate::store::{self, Kind, Liveness, Outcome};
use crate::time::{Tick, Wall};
use crate::timing::Timing;

/// For so long a clock that is within 1 % of the store's is as good for counting grants.
const LONGEST_RECKONING: Duration = Duration::from_secs(5);

/// One claim to one lock.
pub struct Claim {
    pub(super) ticket: Ticket,
    pub(super) timing: Timing,
    pub(super) kind: Kind,
    /// The highest fence this host remembers, or this claim has seen: the store may forget it.
    pub(super) remembered: u64,
    /// No longer than this does it wait for its turn.
    pub(super) patience: Tick,
    pub(super) phase: Phase,
    pub(super) watched: Watched,
    pub(super) view: Option<View>,
    /// When the store showed it.
    viewed: Tick,
    /// The send time of the last acknowledged beat: what the lease hangs on.
    pub(super) base: Option<Tick>,
    /// When the store last answered, or was first asked.
    pub(super) heard: Option<Tick>,
    /// Not before this is the store asked again after a failure.
    pub(super) again_at: Tick,
    pub(super) failures: u32,
    pub(super) trouble: String,
    pub(super) news: Vec<News>,
    /// The job is stopped: keep the place, but do not start anything.
    pub(super) paused: bool,
    /// The fence, once among the holders.
    pub(super) fence: Option<u64>,
    /// One of several: once let in it is held until all are, and only then the job may start.
    pub(super) together: bool,
    /// Whether the job may have been started.
    pub(super) granted: bool,
    /// Why the store still has it, if it could not be given back.
    pub(super) kept: Option<Ending>,
    pub(super) entanglement: Entanglement,
    /// The bundle has heard how it ended.
    pub(super) over: bool,
    /// What to end with once everything is given back, where that is not simply having left.
    pub(super) ending: Option<Ending>,
}

/// Where a claim is in its life.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// Asking for a ticket; `first` is when it was first asked for.
    Joining {
        first: Option<Tick>,
    },
    /// In the queue: to look, or to wait until then.
    Waiting(Pause),
    /// The commit that was decided on is to be sent: it lets me in, carries my holding over to a new life of the store, rouses
    /// those before me, or asks others to end.
    Committing(Commit),
    /// Among the holders; the next beat is due then. `look`: the ledger changed, so view it first.
    Holding {
        beat_at: Tick,
        look: bool,
    },
    /// Among the holders no more; waiting to be told that the job is dead.
    Lost,
    /// Giving back what there is to give back, until then at the longest.
    Leaving {
        until: Tick,
        look: bool,
    },
    /// A last commit that only passes the wake on.
    PassingOn(Commit),
    Ended,
}

/// What a waiter does between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    Look,
    /// With `look`, what is known will not do to decide then.
    Rest {
        until: Tick,
        look: bool,
    },
}

impl Claim {
    /// A claim with this ticket that waits until `patience`. `remembered` is the highest fence this host knows of;
    /// `watched` is what it has seen of the lock before.
    pub fn new(ticket: Ticket, timing: Timing, kind: Kind, patience: Tick, remembered: u64, watched: Watched) -> Claim {
        Claim {
            ticket,
            timing,
            kind,
            remembered,
            patience,
            phase: Phase::Joining { first: None },
            watched,
            view: None,
            viewed: Tick(0),
            base: None,
            heard: None,
            again_at: Tick(0),
            failures: 0,
            trouble: String::new(),
            news: Vec::new(),
            paused: false,
            fence: None,
            together: false,
            granted: false,
            kept: None,
            entanglement: Entanglement::default(),
            over: false,
            ending: None,
        }
    }

    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// What this claim has seen of the lock, for the next one on this host.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// The job is dead, or there is none: give back what is held and leave the queue.
    pub fn leave(&mut self, now: Tick) {
        let lease_ends = self.base.map_or(now, |sent| sent + self.timing.ttl);
        let until = lease_ends.min(now + self.timing.request * 2);
        match self.phase {
            Phase::Leaving { .. } | Phase::PassingOn(_) | Phase::Ended => {}
            Phase::Joining { first: None } => self.phase = Phase::Ended,
            // It may be there although no answer came: let the view tell.
            Phase::Committing(_) => self.phase = Phase::Leaving { until, look: true },
            _ => self.phase = Phase::Leaving { until, look: self.view.is_none() },
        }
        self.again_at = Tick(0);
    }

    /// While paused a claim keeps its place but is not let in.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if let Phase::Waiting(pause) = &mut self.phase {
            *pause = Pause::Look;
        }
    }

    /// A wait is over: at its time, or early because of a wake or the bell.
    pub fn woken(&mut self, now: Tick) {
        match &mut self.phase {
            Phase::Waiting(Pause::Rest { until, .. }) if now < *until => self.phase = Phase::Waiting(Pause::Look),
            // The line to the store died, perhaps with the store and all it knew: look first thing.
            Phase::Holding { beat_at, .. } if now < *beat_at => *beat_at = now,
            _ => {}
        }
    }

    /// What to do next, by `now`; `wall` is this host's wall clock, a floor for the fence.
    pub fn next(&mut self, now: Tick, wall: Wall) -> Step {
        if !self.news.is_empty() {
            return Step::Tell(self.news.remove(0));
        }
        if let Some(ending) = self.give_up(now) {
            return self.end(ending);
        }
        if now < self.again_at {
            return Step::Wait(self.again_at);
        }
        match self.phase.clone() {
            Phase::Joining { first } => {
                self.phase = Phase::Joining { first: first.or(Some(now)) };
                Step::Ask(self.join(wall))
            }
            Phase::Waiting(pause) => self.queue(now, wall, pause),
            Phase::Committing(commit) => Step::Ask(Request::Commit(Box::new(commit))),
            Phase::Holding { beat_at, look } => self.hold(now, beat_at, look),
            Phase::Lost => Step::Wait(Tick::NEVER),
            Phase::Leaving { look, .. } => self.go(look),
            Phase::PassingOn(commit) => Step::Ask(Request::Commit(Box::new(commit))),
            Phase::Ended => Step::End(self.ending.take().unwrap_or(Ending::Left)),
        }
    }

    /// Where the kernel tells who lives there is no way to send one request less.
    fn join(&self, wall: Wall) -> Request {
        if self.paused || self.kind.liveness == Liveness::Kernel {
            return Request::Take;
        }
        Request::Enter(Straight { remembered: self.remembered, wall })
    }

    /// The store's answer to the last request, which was sent at `sent`.
    pub fn answer(&mut self, sent: Tick, now: Tick, wall: Wall, answer: Result<Answer, store::Error>) {
        let sent = if mutant::on(Mutant::AckTime) { now } else { sent };
        match answer {
            Ok(answer) => {
                if self.failures > 0 {
                    self.news.push(News::Recovered);
                }
                self.failures = 0;
                self.heard = Some(now);
                self.again_at = Tick(0);
                self.take_in(sent, now, wall, answer);
            }
            Err(error) => self.suffer(now, error),
        }
    }

    fn take_in(&mut self, sent: Tick, now: Tick, wall: Wall, answer: Answer) {
        if let Answer::View(_) | Answer::Outcome(Outcome::Done(Some(_)) | Outcome::Conflict(_)) = &answer {
            self.viewed = now;
        }
        match (self.phase.clone(), answer) {
            (_, Answer::Survey(view)) => self.surveyed(view),
            (Phase::Joining { first }, Answer::View(view)) => {
                // The first attempt may have been the one that made the ticket: a retry renews nothing.
                self.base = Some(first.filter(|_| !mutant::on(Mutant::RetryRenews)).unwrap_or(sent));
                self.see(view, now, wall);
            }
            (Phase::Waiting(_), Answer::View(view)) => {
                if self.kind.liveness == Liveness::Kernel {
                    self.base = Some(sent);
                }
                self.see(view, now, wall);
            }
            (Phase::Waiting(_), Answer::Beat(beat)) => self.beat_in_queue(sent, now, wall, beat),
            (Phase::Committing(commit), Answer::Outcome(Outcome::Done(shown))) => {
                // What it was based on is what was seen last.
                match shown.or_else(|| self.view.take().map(|view| view.after(&commit))) {
                    Some(view) => self.see(view, now, wall),
                    None => self.phase = Phase::Waiting(Pause::Look),
                }
            }
            (Phase::Committing(_), Answer::Outcome(Outcome::Conflict(view))) => self.see(view, now, wall),
            (Phase::Holding { .. }, Answer::View(view)) => self.see(view, now, wall),
            (Phase::Holding { .. }, Answer::Beat(beat)) => self.beat_in_hand(sent, now, wall, beat),
            (Phase::Leaving { until, .. }, Answer::View(view)) => {
                self.view = Some(view);
                self.phase = Phase::Leaving { until, look: false };
            }
            (Phase::Leaving { until, .. }, Answer::Outcome(outcome)) => self.left(until, outcome),
            (Phase::PassingOn(_), _) => self.phase = Phase::Ended,
            (phase, answer) => unreachable!("{answer:?} answers nothing that was asked in {phase:?}"),
        }
    }

    /// Takes note of a view and decides.
    pub(super) fn see(&mut self, view: View, now: Tick, wall: Wall) {
        self.remembered = self.remembered.max(view.ledger.fence);
        self.watched.look(&view, &self.ticket, now);
        self.view = Some(view);
        self.think(now, wall);
    }

    pub(super) fn decide(&self, now: Tick, wall: Wall) -> Option<Decision> {
        let joining = matches!(self.phase, Phase::Joining { .. });
        let me = Me { ticket: self.ticket.clone(), remembered: self.remembered, wall, joining };
        self.view.as_ref().map(|view| decide(view, &me, &self.watched, now))
    }

    fn think(&mut self, now: Tick, wall: Wall) {
        let decision = self.decide(now, wall);
        if self.fence.is_some() {
            return self.judge(now, decision);
        }
        match decision {
            None => self.phase = Phase::Waiting(Pause::Look),
            Some(D::Enter(_) | D::AskToStop(_)) if self.paused => self.rest(now, Why::Queued, Tick::NEVER),
            Some(D::Enter(_)) if self.is_out_of_date(now) => self.phase = Phase::Waiting(Pause::Look),
            Some(D::Enter(commit) | D::AskToStop(commit)) => self.phase = Phase::Committing(commit),
            Some(D::Rouse(commit)) => {
                self.watched.rouse();
                self.phase = Phase::Committing(commit);
            }
            Some(D::Adopt(commit)) => self.carry_over(commit),
            Some(D::Hold { fence }) => self.let_in(now, fence),
            Some(D::Wait { until, why }) => self.rest(now, why, until),
            Some(D::Full { waiting }) => {
                self.ending = Some(Ending::Busy(self.standing(Why::Full(waiting), now)));
                self.leave(now);
            }
            Some(D::Stop(why)) => {
                self.ending = Some(Ending::Stopped(why));
                self.leave(now);
            }
            Some(D::Gone) => self.rejoin(),
        }
    }

    /// Grants that are counted or rest are dated by the store's clock. In ten minutes mine may be six seconds off it.
    fn is_out_of_date(&self, now: Tick) -> bool {
        let plain = |view: &View| view.ledger.rated.is_none() && view.ledger.rests.is_empty() && self.ticket.policy.is_none();
        !self.view.as_ref().is_some_and(plain) && now.0 > (self.viewed + LONGEST_RECKONING).0
    }

    /// My ticket is gone from under me while I waited: start again at the tail, under an id nobody has dropped.
    pub(super) fn rejoin(&mut self) {
        if !mutant::on(Mutant::SameId) {
            let digest = Sha256::digest(self.ticket.id.as_str().as_bytes());
            self.ticket.id = Id::from_random(digest[..16].try_into().expect("a digest has 32 bytes"));
        }
        (self.base, self.fence) = (None, None);
        self.entanglement = Entanglement::default();
        self.phase = Phase::Joining { first: None };
    }

    pub(super) fn end(&mut self, ending: Ending) -> Step {
        self.phase = Phase::Ended;
        Step::End(ending)
    }

    /// The holders' ids and the waiter's right ahead: whom a waiter watches.
    pub(super) fn watched_ids(&self) -> Vec<Id> {
        let Some(view) = &self.view else { return Vec::new() };
        let holders = view.ledger.holders.iter().map(|holder| holder.id.clone());
        let ahead = view.waiters().take_while(|listed| listed.ticket.id != self.ticket.id).last();
        holders.chain(ahead.map(|listed| listed.ticket.id.clone())).collect()
    }

    /// How long the first holder has been quiet, as the store saw it in the last view.
    pub(super) fn holder_quiet(&self) -> Option<Duration> {
        let view = self.view.as_ref()?;
        match view.ticket(&view.ledger.holders.first()?.id)?.life {
            Life::Beat { quiet, .. } => quiet,
            Life::Alive | Life::Dead => None,
        }
    }
}
