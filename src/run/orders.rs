//! What the guard hears and orders, and what the user is told.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::exit::Exit;
use crate::job::{Event as JobEvent, Verdict};
use crate::ledger::{Cycle, StopReason};
use crate::session::{Ending, Loss, News, Standing};
use crate::time::Tick;

/// What a job may leave behind at a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stragglers {
    Leave,
    Wait,
    Kill,
}

/// What to do when the store can't be reached before the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfUnavailable {
    Fail,
    /// End well without having run the job.
    Skip,
    /// Run it without the lock.
    Run,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    Job(JobEvent),
    News(News),
    /// The session is over.
    Ended(Ending),
    /// The job could not be started, and this is the code to end with.
    NotStarted(Exit),
    /// The high-water mark is raised.
    Marked,
    /// Earlier writers are not done with the file of `--guard`.
    MarkBusy,
    /// Every process of the job is gone, or these are still there.
    Killed(Result<(), Vec<i32>>),
    /// The job left these behind.
    LeftBehind(Vec<i32>),
    /// The sentry sent the stop signal at the deadline, while this process was frozen: renewed since or not, the job has
    /// been told to end.
    SentryStopped,
    /// The job can't be watched any longer.
    Blind,
    /// The moment asked for has come.
    Time,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Order {
    /// The lease now hangs on a beat sent then.
    Arm(Tick),
    /// Raise the high-water mark of `--guard` to this; answer with [`Event::Marked`], [`Event::MarkBusy`] or
    /// [`Event::NotStarted`].
    Mark {
        fence: u64,
    },
    /// Start the job, with a fence for each lock; with none it runs without the locks.
    Start {
        fences: Vec<u64>,
    },
    /// To the job's whole group.
    Signal(Signal),
    /// The stop signal, once, and awake the job for it.
    Stop,
    /// SIGKILL to everything the job is and started; answer with [`Event::Killed`].
    Kill,
    /// The sentry is to stop as the job did.
    StopToo(Signal),
    /// Which processes did the job leave behind? Answer with [`Event::LeftBehind`].
    CountLeftBehind,
    /// Keep the place in the queue, but do not go in.
    Pause,
    Resume,
    /// Give back the lock or the place.
    Leave,
    Say(Saying),
    Finish(Verdict),
}

/// What the user is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Saying {
    Waiting(Standing),
    /// Waiting is over, one way or the other.
    WaitOver,
    Busy(Option<Standing>),
    Lost(Reason),
    /// The same before there was a job.
    LostUnstarted(Reason),
    /// The job waits until earlier writers are done with the file of `--guard`.
    MarkBusy,
    /// The job has run for as long as it may.
    Overtime(Duration),
    /// Somebody has given the job more time; this is what it has from its start.
    Extended(Duration),
    /// Let in, but frozen for so long before the start that too little of the lease was left for a job.
    TooLate(Duration),
    Trouble(String),
    Recovered,
    /// These run on without the lock.
    LeftBehind(Vec<i32>),
    /// The lock is kept until these are gone.
    Lingers(Vec<i32>),
    Unkillable(Vec<i32>),
    /// These of the run's locks, by their place in the order.
    Unreleased {
        which: Vec<usize>,
        trouble: String,
    },
    Unavailable(String, IfUnavailable),
    Failed(String),
    Stopped(StopReason),
    Entangled(Cycle),
}

/// Why the job was stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// No renewal since this long.
    Lapsed { unrenewed: Duration, trouble: String },
    /// The lock at this place in the order is gone.
    Loss { at: usize, loss: Loss },
}
