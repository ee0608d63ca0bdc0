//! The claim carried out: asks the store what the claim wants asked, waits when it wants to wait, and hands up the news.
//! Whoever turns a session is its heartbeat, so it must do nothing else that can block.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Claim, Ending, News, Notes, Standing};
use crate::bell::{Bell, listen};
use crate::ledger::Why;
use crate::name::Name;
use crate::session::words::{Answer, Request, Step};
use crate::store::{self, Liveness, Store};
use crate::time::{Clock, Tick, Wall};

/// A claim on a real store.
pub struct Session {
    lock: Name,
    claim: Claim,
    store: Box<dyn Store>,
    clock: Clock,
    notes: Notes,
    orders: Orders,
}

enum Next {
    Step,
    Wait(Tick),
    Turn(Turn),
}

/// What comes out of a turn.
#[derive(Debug)]
#[must_use]
pub enum Turn {
    News(News),
    /// The last one.
    End(Ending),
}

/// What a session can be told while it turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The job is dead, or there will be none: give back what is held.
    Leave,
    /// Keep the place in the queue, but do not go in.
    Pause,
    /// Go on.
    Resume,
}

/// The way to tell it, from another thread.
#[derive(Clone, Debug)]
pub struct Orders {
    bell: Bell,
    given: Arc<Mutex<Vec<Order>>>,
}

impl Orders {
    fn new() -> std::io::Result<Orders> {
        Ok(Orders { bell: Bell::new()?, given: Arc::default() })
    }

    pub fn give(&self, order: Order) {
        self.given.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(order);
        self.bell.ring();
    }

    fn taken(&self) -> Vec<Order> {
        self.bell.hush();
        mem::take(&mut self.given.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Session {
    /// # Errors
    /// Out of descriptors.
    pub fn new(lock: Name, claim: Claim, store: Box<dyn Store>, notes: Notes) -> std::io::Result<Session> {
        let clock = store.kind().clock;
        Ok(Session { lock, claim, store, clock, notes, orders: Orders::new()? })
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// What the claim is called in public.
    pub fn name(&self) -> String {
        self.claim.ticket().id.session()
    }

    /// How long one request to the store may take from now on.
    pub fn allow(&mut self, request: Duration) {
        self.store.allow(request);
    }

    /// Whether its store answers every request without leaving this host's kernel.
    pub fn answers_at_once(&self) -> bool {
        self.store.kind().liveness == Liveness::Kernel
    }

    /// Goes on until there is news.
    pub fn turn(&mut self) -> Turn {
        loop {
            match self.step() {
                Next::Turn(turn) => return turn,
                Next::Wait(until) => {
                    let bell = self.orders.bell.clone();
                    self.wait(until, bell.as_fd());
                }
                Next::Step => {}
            }
        }
    }

    /// Goes on until there is news, or something to wait for until that moment.
    ///
    /// # Errors
    /// The moment, where there is no news.
    pub fn turn_at_once(&mut self) -> Result<Turn, Tick> {
        loop {
            match self.step() {
                Next::Turn(turn) => return Ok(turn),
                Next::Wait(until) => return Err(until),
                Next::Step => {}
            }
        }
    }

    /// Whether its store answered the last time it was asked.
    pub fn is_answered(&self) -> bool {
        self.claim.is_answered()
    }

    fn step(&mut self) -> Next {
        self.obey();
        match self.claim.next(self.clock.now(), Wall::now()) {
            Step::Ask(request) => {
                self.ask(request);
                Next::Step
            }
            Step::Wait(until) => Next::Wait(until),
            Step::Tell(news) => Next::Turn(Turn::News(self.note(news))),
            Step::End(ending) => Next::Turn(Turn::End(self.note_end(ending))),
        }
    }

    /// Waits for a wake, for `bell`, or for the moment that the last turn named.
    pub fn wait(&mut self, until: Tick, bell: BorrowedFd<'_>) {
        let waited = self.store.wait(&self.lock, &self.claim.ticket().id, until, bell);
        if waited.is_err() {
            // Nothing but speed hangs on being woken: without it, look at the time that was named.
            let _ = listen(&[bell], until, self.clock);
        }
        self.claim.woken(self.clock.now());
    }

    /// The descriptors that the job must keep open for as long as it lives.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub fn keep_open(&mut self) -> Result<Vec<RawFd>, store::Error> {
        self.store.prepare(&self.lock, self.claim.ticket())
    }

    fn obey(&mut self) {
        for order in self.orders.taken() {
            match order {
                Order::Leave => self.claim.leave(self.clock.now()),
                Order::Pause => self.claim.pause(true),
                Order::Resume => self.claim.pause(false),
            }
        }
    }

    fn ask(&mut self, request: Request) {
        let id = self.claim.ticket().id.clone();
        let sent = self.clock.now();
        let answer = match request {
            Request::Take => self.store.take(&self.lock, self.claim.ticket()).map(Answer::View),
            Request::Enter(straight) => self.store.enter(&self.lock, self.claim.ticket(), &straight).map(Answer::View),
            Request::Beat(with) => self.store.beat(&self.lock, &id, &with).map(Answer::Beat),
            Request::View => self.store.view(&self.lock, Some(&id)).map(Answer::View),
            Request::Commit(commit) => self.store.commit(&self.lock, &id, &commit).map(Answer::Outcome),
        };
        self.claim.answer(sent, self.clock.now(), Wall::now(), answer);
    }

    fn note(&mut self, news: News) -> News {
        if let News::Granted { fence, .. } = news {
            // Only a floor for a wiped store: a host that can't write it has the clock's.
            let _ = self.notes.remember(fence);
        }
        news
    }

    fn note_end(&mut self, ending: Ending) -> Ending {
        // A holder that lapses must be watched by somebody, and a vacancy that a frozen waiter lets go by.
        let vacant = |standing: &Standing| standing.why == Why::Queued;
        match &ending {
            Ending::Busy(standing) if !self.store.kind().knows_the_dead() || standing.as_ref().is_some_and(vacant) => {
                let _ = self.notes.leave(self.claim.watched());
            }
            _ => {}
        }
        ending
    }
}
