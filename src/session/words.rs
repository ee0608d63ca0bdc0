//! What a claim says and hears: its requests and their answers, its news, and how it ends.

use std::time::Duration;

use crate::ledger::{Commit, Cycle, Holder, Id, StopReason, Straight, View, Why};
use crate::name::Name;
use crate::store::{self, Beat, Outcome};
use crate::time::{Tick, Wall};

/// What to do next. Call `next` again after each.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Ask the store this, then tell `answer` what it said.
    Ask(Request),
    /// Wait for a wake, the bell, or this moment; then call `woken`.
    Wait(Tick),
    /// A fact for whoever runs the job.
    Tell(News),
    /// Nothing more will come.
    End(Ending),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Take,
    /// A ticket, and the lock with it if nothing at all stands in the way.
    Enter(Straight),
    Beat(Vec<Id>),
    View,
    Commit(Box<Commit>),
    /// Another lock, to look for a cycle.
    Survey(Name),
}

#[derive(Debug)]
pub enum Answer {
    View(View),
    Beat(Beat),
    Outcome(Outcome),
    /// Nothing if it could not be seen.
    Survey(Option<View>),
}

/// A fact about the claim.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// In the queue.
    Waiting(Standing),
    /// Let in, with a fence for each lock in their order: the job may start.
    Granted { fences: Vec<u64>, sent: Tick },
    /// The lease now hangs on a beat sent then.
    Renewed { sent: Tick },
    /// The job may run for so much longer.
    Extended { by: Duration },
    /// One of the locks is gone, by its place in the order: the job must die.
    Lost { at: usize, loss: Loss },
    /// The store does not answer or refuses; the claim keeps trying.
    Trouble(String),
    /// It answers again.
    Recovered,
}

/// Why a lock was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The ticket is not in the store any more.
    Forgotten,
    /// The claim was taken out of the holders.
    Swept,
    /// The claim was asked to end.
    Stopped(StopReason),
}

/// How a claim ended.
#[derive(Debug)]
pub enum Ending {
    /// Given back, or never held.
    Left,
    /// Not let in within its patience, or not ready to wait behind so many.
    Busy(Option<Standing>),
    /// Asked to end while it waited.
    Stopped(StopReason),
    /// It waited for a run that waits for it, and of these it was the one to withdraw.
    Entangled(Cycle),
    /// The store could not be reached before the claim was let in.
    Unavailable(String),
    /// The store refused or is damaged.
    Failed(store::Error),
    /// The job is dead, but the store could not be told so of these locks, by their place in the order; their leases run
    /// out by themselves.
    Unreleased { which: Vec<usize>, trouble: String },
}

/// A waiter's place, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which of the run's locks it waits for, by its place in their order: those before are held already.
    pub at: usize,
    pub holders: Vec<Holder>,
    /// Waiters before this one.
    pub ahead: usize,
    pub why: Why,
    /// When it will look again at the latest.
    pub until: Tick,
    /// The store's wall clock at the time.
    pub now: Wall,
}
