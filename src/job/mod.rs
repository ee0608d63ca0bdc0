//! Processes and signals: the only folder that may contain `unsafe`.
//!
//! ```text
//! shell -- P  sentry: the process the shell started; one thread, no allocation   sentry.rs
//!          \- W  worker: store connection, heartbeat thread; own group           worker.rs
//!              \- J  job: own group, the terminal's foreground if P's was         spawn.rs
//! ```
//!
//! page.rs holds the words P and W share (the deadline above all), wire.rs what they tell each other. program.rs and
//! child.rs are J before its exec, isolate.rs its own PID namespace, ending.rs how W ends it, tree.rs how a process finds and
//! kills its children. signals.rs is which signals are taken from P and given back to J, terminal.rs who may have the
//! terminal, entry.rs how the program begins, heap.rs what of its memory the sentry keeps, kernel.rs the bare calls.
//!
//! A keeper has the same sentry and worker, and no job: standby.rs is J beside a process that is no child of ours, process.rs
//! how that one is held on to, front.rs how a keeper leaves its caller, environment.rs what of it others need not see.

mod child;
mod ending;
pub mod entry;
mod environment;
pub mod front;
mod heap;
mod isolate;
mod kernel;
mod page;
mod process;
mod program;
mod sentry;
mod signals;
mod spawn;
mod standby;
mod terminal;
mod tree;
mod wire;
mod worker;

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;

use nix::sys::signal::Signal;
use thiserror::Error;

use crate::shown::system;
use crate::time::Clock;
use crate::timing::Timing;

pub use front::{Behind, Side, step_behind};
pub use page::{Deadline, Ladder};
pub use process::{Process, WatchError};
pub use signals::Inherited as Signals;
pub use worker::Worker;

/// The exit code when the lease was lost.
const LOST: u8 = 121;
/// The exit code when vaultlock itself failed.
const FAILED: u8 = 125;

/// Holds back the signals that the sentry will pass on, until [`split`] or until this is dropped: one that ends a waiter
/// must find it able to withdraw.
#[must_use]
pub fn hold_signals() -> Signals {
    signals::take()
}

/// Splits the process in two. The parent, whom the shell knows, lives on in here as the sentry and exits with the
/// worker's verdict; the child returns as the worker.
///
/// `stop` goes to the job when the lease runs out. `behind` is how both get away from a front, if there is one. Descriptors open now stay open in both (a lock's must).
/// Output buffered now is written by the worker alone.
///
/// # Errors
/// Nothing has been split when a descriptor, page or process could not be had.
///
/// # Panics
/// In debug builds if another thread exists: a lock it holds would stay locked in the worker.
pub fn split(inherited: Signals, clock: Clock, timing: Timing, stop: Signal, behind: Option<Behind>) -> io::Result<Worker> {
    debug_assert_eq!(std::fs::read_dir("/proc/self/task").map_or(1, |tasks| tasks.count()), 1, "split() comes before any thread");
    let ladder = page::Ladder { clock, timing };
    let page = page::Page::map()?;
    let terminal = terminal::Terminal::open();
    let (from_sentry, to_worker) = wire::pipe()?;
    let (from_worker, to_sentry) = wire::pipe()?;
    let timer = kernel::alarm_fd(clock)?;
    let signals = kernel::signal_fd(inherited.taken())?;
    let sentry = kernel::pid();
    // Without this orphans would go past us to init. Not inherited: the worker becomes one by itself.
    kernel::become_subreaper()?;
    match kernel::fork()? {
        0 => {
            drop((to_worker, from_worker, timer, signals));
            Worker::begin(worker::Parts { page, ladder, stop, terminal, inherited, sentry, from_sentry, to_sentry, behind })
        }
        worker => {
            // The worker has the lock to take, and often waits for this very processor.
            kernel::step_aside();
            drop((from_sentry, to_sentry));
            // SAFETY: the sentry has nothing on the heap, allocates nothing, and never returns to those who do.
            unsafe { heap::give_back() };
            sentry::stand(sentry::Sentry { page, ladder, stop, terminal, worker, signals, timer, from_worker, to_worker, behind })
        }
    }
}

/// What happened on the process side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody sent the sentry this signal. It has not been passed on: see [`Worker::signal`].
    /// After TSTP the sentry has stopped itself and no job may be started until CONT.
    Signal(Signal),
    /// The sentry died: end the job, then [`Worker::finish`].
    SentryDied,
    /// The job was stopped by this signal: see [`Worker::job_stopped`].
    Stopped(Signal),
    /// The job runs again after a stop.
    Continued,
    /// The job ended; what it left behind may live on. With `isolate` nothing does.
    Ended(End),
    /// Comes after [`Event::Ended`], when the last process of the job has gone.
    Alone,
}

/// How the job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(i32),
}

/// How the sentry is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit with this code.
    Code(u8),
    /// The job died of this signal: exit with 128 + n, or die of it too where a terminal's Ctrl-C or Ctrl-\ did it,
    /// so that a shell script around us ends as well.
    Signal(i32),
}

impl Verdict {
    fn word(self) -> i32 {
        match self {
            Verdict::Code(code) => 0x100 | i32::from(code),
            Verdict::Signal(signal) => 0x200 | signal,
        }
    }

    fn from_word(word: i32) -> Option<Verdict> {
        match word & 0x300 {
            0x100 => Some(Verdict::Code(word as u8)),
            0x200 => Some(Verdict::Signal(word & 0xff)),
            _ => None,
        }
    }

    /// The exit code a shell shows for it.
    pub fn code(self) -> u8 {
        match self {
            Verdict::Code(code) => code,
            Verdict::Signal(signal) => 128u8.saturating_add(signal as u8),
        }
    }
}

impl From<End> for Verdict {
    fn from(end: End) -> Verdict {
        match end {
            End::Code(code) => Verdict::Code(code),
            End::Signal(signal) => Verdict::Signal(signal),
        }
    }
}

/// The job to start.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Searched for in the job's PATH unless it has a slash.
    pub program: OsString,
    pub args: Vec<OsString>,
    /// Set (Some) or removed (None) on top of the inherited environment, in this order.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Descriptors the job gets although they are close-on-exec.
    pub inherit: Vec<RawFd>,
    /// Run the job in a PID namespace of its own, which ends with it.
    pub isolate: bool,
}

/// What may make a file a program.
fn remedy(reason: &io::Error) -> &'static str {
    match reason.raw_os_error() {
        Some(libc::EACCES) => "chmod +x it, and see that its file system is not mounted noexec",
        Some(libc::ENOEXEC) => "begin it with the line #!/bin/sh, or name a program of this machine",
        _ => "see that it and its interpreter are there and whole",
    }
}

/// Why the job did not start.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The shell's 127.
    #[error("{}: command not found", .0.display())]
    NotFound(OsString),
    /// The shell's 126.
    #[error("{}: cannot be executed: {}; {}", program.display(), system(reason), remedy(reason))]
    NotExecutable { program: OsString, reason: io::Error },
    /// The kernel refuses a namespace or a fresh /proc in it.
    #[error("--isolate needs a PID namespace: run as root or allow unprivileged user namespaces")]
    Isolate(#[source] io::Error),
    /// The process could not be made.
    #[error("the job's process could not be made")]
    Other(#[from] io::Error),
}
