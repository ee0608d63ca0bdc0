//! The session's turning: where the worker stands, or on a thread of its own, the heartbeat.
//!
//! A free lock is taken in less time than a thread takes to start and to be woken, a waiter has nothing else to do, and a
//! job of a few milliseconds needs no beat. So a session is turned where the worker stands, and moves to its thread when the
//! store takes its time, or when the job does.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::bell::Bell;
use crate::job::Deadline;
use crate::mutant::{self, Mutant};
use crate::session::{Ending, News, Order, Orders, Session, Turn};
use crate::store;
use crate::time::Tick;

/// TLS and JSON, nothing deep.
const STACK: usize = 512 * 1024;

/// While a session turns on the worker's own thread nobody hears a Ctrl-C: a store that takes longer is asked again from
/// the thread, with all the time there is.
const HURRY: Duration = Duration::from_millis(100);

/// A session, wherever it turns.
pub struct Heartbeat {
    place: Place,
    orders: Orders,
    bell: Bell,
    /// What came up before the process split.
    early: VecDeque<Upward>,
    deadline: Option<Deadline>,
    /// How long one request may take.
    request: Duration,
    /// Until when it has nothing to do, where it waits here for a store that answers.
    rest: Option<Tick>,
    over: bool,
}

enum Place {
    Here(Box<Session>),
    Apart(Receiver<Upward>),
    Moving,
}

/// What a turn brings up.
pub struct Upward {
    pub turn: Turn,
    /// Comes with the grant.
    pub held: Option<Held>,
}

/// What the job is given of the claim.
pub struct Held {
    /// What each claim is called in public, in the order of the locks.
    pub sessions: Vec<String>,
    /// Descriptors that must stay open for as long as it lives.
    pub keep_open: Vec<RawFd>,
}

impl Heartbeat {
    /// A session whose requests may take this long.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new(mut session: Session, request: Duration) -> io::Result<Heartbeat> {
        session.allow(HURRY.min(request));
        let (orders, bell) = (session.orders(), Bell::new()?);
        let place = Place::Here(Box::new(session));
        Ok(Heartbeat { place, orders, bell, early: VecDeque::new(), deadline: None, request, rest: None, over: false })
    }

    /// Before the process splits: turns a session that asks nobody but this host's kernel until it is let in or must wait.
    /// Says how it ended if it is over already; then there is nothing to split for.
    pub fn turn_early(&mut self) -> Option<Ending> {
        let local = matches!(&self.place, Place::Here(session) if session.answers_at_once());
        if local {
            self.turn_until_let_in();
        }
        match self.early.pop_back() {
            Some(Upward { turn: Turn::End(ending), .. }) => Some(ending),
            other => {
                self.early.extend(other);
                None
            }
        }
    }

    /// Also before it, if it is not over: sentry and worker share what the claims' lives hang on.
    ///
    /// # Errors
    /// The store refuses.
    pub fn prepare(&mut self) -> Result<(), store::Error> {
        match &mut self.place {
            Place::Here(session) => session.prepare_all(),
            Place::Apart(_) | Place::Moving => Ok(()),
        }
    }

    /// After it: renewals move `deadline`, and a session on a server is turned for the first time.
    pub fn begin(&mut self, deadline: Deadline) {
        self.deadline = Some(deadline);
        if self.early.is_empty() {
            self.turn_until_let_in();
        }
    }

    fn turn_until_let_in(&mut self) {
        let Place::Here(session) = &mut self.place else { return };
        while let Ok(turn) = session.turn_at_once() {
            let upward = finish_turn(session, turn, self.deadline.as_ref());
            let done = matches!(upward.turn, Turn::News(News::Granted { .. }) | Turn::End(_));
            self.early.push_back(upward);
            if done {
                return;
            }
        }
    }

    /// Is readable when [`Heartbeat::hear`] has something, where it turns apart.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// For whoever else has something for the one who hears it.
    pub fn ringer(&self) -> Bell {
        self.bell.clone()
    }

    /// Whether it still turns on the caller's thread, and so does not beat while the caller does other things.
    pub fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_)) && !self.over
    }

    /// Until when it has nothing to do, after [`Heartbeat::hear`] had no news: the caller may wait by [`Heartbeat::wait`].
    pub fn rest(&self) -> Option<Tick> {
        self.rest.filter(|_| self.is_here())
    }

    /// Waits where it stands for its turn, for `bell`, or for the end of its rest.
    pub fn wait(&mut self, bell: BorrowedFd<'_>) {
        if let (Place::Here(session), Some(until)) = (&mut self.place, self.rest.take()) {
            session.wait(until, bell);
        }
    }

    pub fn give(&self, order: Order) {
        self.orders.give(order);
    }

    /// The next news, if there is any now.
    pub fn hear(&mut self) -> Option<Upward> {
        if let Some(upward) = self.early.pop_front() {
            self.over |= matches!(upward.turn, Turn::End(_));
            return Some(upward);
        }
        let upward = match &mut self.place {
            Place::Here(session) if !self.over => {
                let turn = session.turn_at_once();
                self.rest = turn.as_ref().err().copied().filter(|_| session.is_answered());
                turn.ok().map(|turn| finish_turn(session, turn, self.deadline.as_ref()))
            }
            Place::Here(_) | Place::Moving => None,
            Place::Apart(news) => {
                self.bell.hush();
                let heard = news.try_recv().ok();
                if heard.is_some() {
                    // Only one is taken: whatever else is there must be heard again.
                    self.bell.ring();
                }
                heard
            }
        }?;
        self.over |= matches!(upward.turn, Turn::End(_));
        Some(upward)
    }

    /// Gives the session its thread.
    ///
    /// # Errors
    /// Out of threads.
    pub fn move_apart(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.place, Place::Moving) {
            Place::Here(mut session) => {
                session.allow(self.request);
                let (sender, news) = channel();
                let (deadline, bell) = (self.deadline.clone(), self.bell.clone());
                let turning = move || beat(*session, deadline.as_ref(), &sender, &bell);
                thread::Builder::new().name("heartbeat".into()).stack_size(STACK).spawn(turning)?;
                self.place = Place::Apart(news);
            }
            elsewhere => self.place = elsewhere,
        }
        Ok(())
    }
}

fn beat(mut session: Session, deadline: Option<&Deadline>, news: &Sender<Upward>, bell: &Bell) {
    loop {
        let turn = session.turn();
        let upward = finish_turn(&mut session, turn, deadline);
        let over = matches!(upward.turn, Turn::End(_));
        // Nobody hears it only if the process is ending.
        let _ = news.send(upward);
        bell.ring();
        if over {
            return;
        }
    }
}

/// The deadline moves here, before anybody else hears of the renewal: a worker whose main thread is busy must not lose
/// its job for it.
fn finish_turn(session: &mut Session, turn: Turn, deadline: Option<&Deadline>) -> Upward {
    match turn {
        Turn::News(News::Renewed { sent }) => {
            if let Some(deadline) = deadline {
                deadline.renew(sent);
            }
        }
        Turn::News(News::Granted { .. }) => {
            let keep_open = if mutant::on(Mutant::NoInheritedTicket) { Ok(Vec::new()) } else { session.keep_open() };
            return match keep_open {
                Ok(keep_open) => Upward { turn, held: Some(Held { sessions: session.names(), keep_open }) },
                Err(error) => Upward { turn: Turn::End(Ending::Failed(error)), held: None },
            };
        }
        _ => {}
    }
    Upward { turn, held: None }
}
