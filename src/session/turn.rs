//! The claims carried out: asks the store what they want asked, waits when they want to wait, and hands up the news.
//! Whoever turns a session is its heartbeat, so it must do nothing else that can block.

use std::mem;
use std::os::fd::{AsFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Bundle, Ending, News, Notes, Standing};
use crate::bell::{Bell, listen};
use crate::ledger::Why;
use crate::name::Name;
use crate::session::words::{Answer, Request, Step};
use crate::store::{self, Liveness, Store};
use crate::time::{Clock, Tick, Wall};

/// The claims of one run on a real store.
pub struct Session {
    locks: Vec<Name>,
    bundle: Bundle,
    store: Box<dyn Store>,
    clock: Clock,
    notes: Vec<Notes>,
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
    /// `locks` and `notes` belong to the bundle's claims, in their order.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new(locks: Vec<Name>, bundle: Bundle, store: Box<dyn Store>, notes: Vec<Notes>) -> std::io::Result<Session> {
        let clock = store.kind().clock;
        Ok(Session { locks, bundle, store, clock, notes, orders: Orders::new()? })
    }

    /// Before the process splits: readies the tickets that have not been asked for yet, so that both halves keep what the
    /// claims' lives will hang on.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub fn prepare_all(&mut self) -> Result<(), store::Error> {
        if self.bundle.has_unbegun() && self.answers_at_once() {
            self.keep_open()?;
            self.bundle.prepared();
        }
        Ok(())
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// What the claims are called in public, in their order.
    pub fn names(&self) -> Vec<String> {
        self.bundle.claims().iter().map(|claim| claim.ticket().id.session()).collect()
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
                Next::Wait(until) => self.wait(until),
                Next::Step => {}
            }
        }
    }

    /// Goes on until there is news, or something to wait for: then `None`.
    pub fn turn_at_once(&mut self) -> Option<Turn> {
        loop {
            match self.step() {
                Next::Turn(turn) => return Some(turn),
                Next::Wait(_) => return None,
                Next::Step => {}
            }
        }
    }

    fn step(&mut self) -> Next {
        self.obey();
        match self.bundle.next(self.clock.now(), Wall::now()) {
            Step::Ask(request) => {
                self.ask(request);
                Next::Step
            }
            Step::Wait(until) => Next::Wait(until),
            Step::Tell(news) => Next::Turn(Turn::News(self.note(news))),
            Step::End(ending) => Next::Turn(Turn::End(self.note_end(ending))),
        }
    }

    fn wait(&mut self, until: Tick) {
        let bell = self.orders.bell.clone();
        let at = self.bundle.at();
        let waited = self.store.wait(&self.locks[at], &self.bundle.claims()[at].ticket().id, until, bell.as_fd());
        if waited.is_err() {
            // Nothing but speed hangs on being woken: without it, look at the time that was named.
            let _ = listen(&[bell.as_fd()], until, self.clock);
        }
        self.bundle.woken(self.clock.now());
    }

    /// The descriptors that the job must keep open for as long as it lives.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub fn keep_open(&mut self) -> Result<Vec<RawFd>, store::Error> {
        let mut open = Vec::new();
        for (lock, claim) in self.locks.iter().zip(self.bundle.claims()) {
            open.extend(self.store.prepare(lock, claim.ticket())?);
        }
        Ok(open)
    }

    fn obey(&mut self) {
        for order in self.orders.taken() {
            match order {
                Order::Leave => self.bundle.leave(self.clock.now()),
                Order::Pause => self.bundle.pause(true),
                Order::Resume => self.bundle.pause(false),
            }
        }
    }

    fn ask(&mut self, request: Request) {
        let at = self.bundle.at();
        let (lock, ticket) = (&self.locks[at], self.bundle.claims()[at].ticket());
        let sent = self.clock.now();
        let answer = match request {
            Request::Take => self.store.take(lock, ticket).map(Answer::View),
            Request::Enter(straight) => self.store.enter(lock, ticket, &straight).map(Answer::View),
            Request::Beat(with) => self.store.beat(lock, &ticket.id, &with).map(Answer::Beat),
            Request::View => self.store.view(lock, Some(&ticket.id)).map(Answer::View),
            Request::Commit(commit) => self.store.commit(lock, &ticket.id, &commit).map(Answer::Outcome),
            Request::Survey(lock) => match self.store.view(&lock, None) {
                Err(unreachable @ store::Error::Unreachable(_)) => Err(unreachable),
                // What is wrong with another lock is no reason to end this run.
                seen => Ok(Answer::Survey(seen.ok())),
            },
        };
        self.bundle.answer(sent, self.clock.now(), Wall::now(), answer);
    }

    fn note(&mut self, news: News) -> News {
        if let News::Granted { fences, .. } = &news {
            for (notes, fence) in self.notes.iter_mut().zip(fences) {
                // Only a floor for a wiped store: a host that can't write it has the clock's.
                let _ = notes.remember(*fence);
            }
        }
        news
    }

    fn note_end(&mut self, ending: Ending) -> Ending {
        // A holder that lapses must be watched by somebody, and a vacancy that a frozen waiter lets go by.
        let vacant = |standing: &Standing| standing.why == Why::Queued;
        match &ending {
            Ending::Busy(standing) if !self.store.kind().knows_the_dead() || standing.as_ref().is_some_and(vacant) => {
                let at = standing.as_ref().map_or(0, |standing| standing.at);
                let _ = self.notes[at].leave(self.bundle.claims()[at].watched());
            }
            _ => {}
        }
        ending
    }
}
