//! The session's turning: on a thread of its own, the heartbeat, as soon as there is anything to wait for.
//!
//! A lock that is free on a store in this host's kernel is taken in less time than a thread takes to start, and a job
//! of a few milliseconds needs no beat. So such a session is first turned where the worker stands, and moves to its
//! thread when it must wait or the job takes longer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::bell::Bell;
use crate::job::Deadline;
use crate::session::{Ending, News, Order, Orders, Session, Turn};

/// TLS and JSON, nothing deep.
const STACK: usize = 512 * 1024;

/// A session, wherever it turns.
pub struct Heartbeat {
    place: Place,
    orders: Orders,
    deadline: Deadline,
    bell: Bell,
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
    pub session: String,
    /// Descriptors that must stay open for as long as it lives.
    pub keep_open: Vec<RawFd>,
}

impl Heartbeat {
    /// A session that answers at once is turned here at first; any other has its thread from the start, for a server
    /// that hangs must not keep the user's Ctrl-C waiting.
    ///
    /// # Errors
    /// Out of descriptors or threads.
    pub fn start(session: Session, deadline: Deadline) -> io::Result<Heartbeat> {
        let (orders, bell, local) = (session.orders(), Bell::new()?, session.answers_at_once());
        let mut heartbeat = Heartbeat { place: Place::Here(Box::new(session)), orders, deadline, bell, over: false };
        if !local {
            heartbeat.move_apart()?;
        }
        Ok(heartbeat)
    }

    /// Is readable when [`Heartbeat::hear`] has something, where it turns apart.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Whether it still turns on the caller's thread, and so does not beat while the caller does other things.
    pub fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_)) && !self.over
    }

    pub fn give(&self, order: Order) {
        self.orders.give(order);
    }

    /// The next news, if there is any now.
    pub fn hear(&mut self) -> Option<Upward> {
        let upward = match &mut self.place {
            Place::Here(session) if !self.over => session.turn_at_once().map(|turn| finish_turn(session, turn, &self.deadline)),
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
            Place::Here(session) => {
                let (sender, news) = channel();
                let (deadline, bell) = (self.deadline.clone(), self.bell.clone());
                let turning = move || beat(*session, &deadline, &sender, &bell);
                thread::Builder::new().name("heartbeat".into()).stack_size(STACK).spawn(turning)?;
                self.place = Place::Apart(news);
            }
            elsewhere => self.place = elsewhere,
        }
        Ok(())
    }
}

fn beat(mut session: Session, deadline: &Deadline, news: &Sender<Upward>, bell: &Bell) {
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
fn finish_turn(session: &mut Session, turn: Turn, deadline: &Deadline) -> Upward {
    match turn {
        Turn::News(News::Renewed { sent }) => deadline.renew(sent),
        Turn::News(News::Granted { .. }) => {
            return match session.keep_open() {
                Ok(keep_open) => Upward { turn, held: Some(Held { session: session.name(), keep_open }) },
                Err(error) => Upward { turn: Turn::End(Ending::Failed(error)), held: None },
            };
        }
        _ => {}
    }
    Upward { turn, held: None }
}
