//! What can happen in a world, and the queue that says when.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use vaultlock::ledger::{Id, Ticket};
use vaultlock::session::words::{Answer, Request};
use vaultlock::time::Wall;

use crate::host::Time;

pub enum Event {
    /// A caller begins on this host.
    Begin { host: usize },
    /// A job asks for this lock.
    Nest { outer: usize, lock: usize },
    /// Something for one caller's processes.
    To { caller: usize, what: What },
    /// A request reaches the server.
    Arrive(Box<Message>),
    /// Something for the operator.
    Operate(Operate),
    /// The next thing goes wrong.
    Fault,
    /// And is put right.
    Cure(Cure),
    /// The server's replica catches up.
    Replicate,
}

pub enum Operate {
    /// It finds a claim that is in its way.
    Break,
    /// Its wait is over.
    Turn,
    /// Its request reaches the server.
    Arrive(Request),
    Answer(Box<Result<Answer, String>>),
}

/// For whom of a caller's processes, and what.
pub enum What {
    Worker(ToWorker),
    Sentry(ToSentry),
    /// The kernel's own timer; the number tells an old setting from the last.
    KernelTimer(u64),
    Job(ToJob),
}

pub enum ToWorker {
    /// The session's wait is over.
    Turn(u64),
    /// The request leaves the host.
    Send(u64),
    /// With what the server's clock showed.
    Answer(u64, Box<Result<(Answer, Wall), String>>),
    TimeOut(u64),
    Woken(Id),
    /// The guard's moment.
    Watch(u64),
    /// The job's program runs now.
    Launch(Vec<u64>),
    JobEnded,
    Killed,
    SentryDied,
    Signal(Signal),
}

pub enum ToSentry {
    Look(u64),
    WorkerDied,
}

pub enum ToJob {
    /// It ends by itself, or obeys the stop signal.
    Ends,
    /// SIGKILL has done its work.
    Dies,
}

/// A request on its way.
pub struct Message {
    pub caller: usize,
    pub number: u64,
    pub lock: usize,
    pub ticket: Ticket,
    pub request: Request,
}

pub enum Cure {
    Line(usize),
    Worker(usize),
    Sentry(usize),
    Host(usize),
    /// The server's process runs again, or is started again.
    Server,
}

/// Events in the order of their times; those of one time in the order in which they were put there.
#[derive(Default)]
pub struct Queue {
    events: BTreeMap<(Time, u64), Event>,
    put: u64,
}

impl Queue {
    pub fn put(&mut self, at: Time, event: Event) {
        self.put += 1;
        self.events.insert((at, self.put), event);
    }

    pub fn next(&mut self) -> Option<(Time, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}
