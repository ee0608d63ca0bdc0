//! What a claim says and hears: its requests and their answers, its news, and how it ends.

use crate::ledger::{Commit, Holder, Id, StopReason, Straight, View, Why};
use crate::store::{self, Beat, Outcome};
use crate::time::{Tick, Wall};

/// What to do next. Call [`super::Claim::next`] again after each.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Ask the store this, then tell [`super::Claim::answer`] what it said.
    Ask(Request),
    /// Wait for a wake, the bell, or this moment; then call [`super::Claim::woken`].
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
}

#[derive(Debug)]
pub enum Answer {
    View(View),
    Beat(Beat),
    Outcome(Outcome),
}

/// A fact about the claim.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// In the queue.
    Waiting(Standing),
    /// Let in: the job may start.
    Granted { fence: u64, sent: Tick },
    /// The lease now hangs on a beat sent then.
    Renewed { sent: Tick },
    /// The lock is gone: the job must die.
    Lost(Loss),
    /// The store does not answer or refuses; the claim keeps trying.
    Trouble(String),
    /// It answers again.
    Recovered,
}

/// Why a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The store could not be reached before the claim was let in.
    Unavailable(String),
    /// The store refused or is damaged.
    Failed(store::Error),
    /// The job is dead, but the store could not be told so; the lease runs out by itself.
    Unreleased(String),
}

/// A waiter's place, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub holders: Vec<Holder>,
    /// Waiters before this one.
    pub ahead: usize,
    pub why: Why,
    /// When it will look again at the latest.
    pub until: Tick,
    /// The store's wall clock at the time.
    pub now: Wall,
}
