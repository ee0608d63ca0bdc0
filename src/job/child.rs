//! A new process on its way from the worker to the job's program, and what it tells the worker.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libc::c_int;

use crate::job::SpawnError;
use crate::job::kernel;
use crate::job::program::Program;
use crate::job::signals::Inherited;
use crate::job::terminal;

/// What the job inherits stands at this number or above: a script's own `exec 7>` must not close its lock.
const ABOVE_SCRIPTS: c_int = 20;

/// A job whose program runs.
#[derive(Clone, Copy)]
pub(super) struct Started {
    pub(super) job: i32,
    /// Process 1 of the job's PID namespace, if it has one.
    pub(super) init: Option<i32>,
}

/// What the new process needs on its way to the program.
pub(super) struct Child<'a> {
    pub(super) inherited: &'a Inherited,
    pub(super) inherit: &'a [RawFd],
    pub(super) terminal: Option<RawFd>,
    pub(super) to_parent: RawFd,
    pub(super) worker: i32,
}

impl Child<'_> {
    /// Makes the new process. With a terminal by a plain fork: a Ctrl-Z before the exec would stop a borrower of our
    /// memory, and us with it.
    pub(super) fn spawn(&self, program: &mut Program) -> io::Result<i32> {
        let mut begin = || {
            if kernel::parent() != self.worker {
                kernel::leave(0);
            }
            self.become_job(program)
        };
        match self.terminal {
            None => kernel::vfork(&mut begin),
            Some(_) => match kernel::fork()? {
                0 => {
                    begin();
                    kernel::leave(127)
                }
                job => Ok(job),
            },
        }
    }

    /// In the new process: becomes the job. Async-signal-safe.
    pub(super) fn become_job(&self, program: &mut Program) -> ! {
        kernel::die_with_parent();
        kernel::set_group(0, 0);
        // SIGTTOU is blocked or ignored until the mask is given back.
        if let Some(terminal) = self.terminal {
            terminal::put(terminal, kernel::group());
        }
        for fd in self.inherit {
            // SAFETY: takes no pointers.
            unsafe {
                if libc::fcntl(*fd, libc::F_DUPFD, ABOVE_SCRIPTS) == -1 {
                    libc::fcntl(*fd, libc::F_SETFD, 0);
                }
            }
        }
        self.inherited.give_back();
        let errno = program.execute();
        Report::Exec(errno).send(self.to_parent);
        kernel::leave(127)
    }
}

/// What a new process tells the worker on its way to the program; end-of-file means that the program runs.
#[derive(Clone, Copy)]
pub(super) enum Report {
    /// The processes that isolate.rs made: the namespace's first, and the job.
    Pids { init: i32, job: i32 },
    /// The kernel refused a namespace.
    Refused(c_int),
    /// The program could not be executed.
    Exec(c_int),
}

impl Report {
    /// Writes it to the worker. Async-signal-safe.
    pub(super) fn send(self, to: RawFd) {
        let [kind, first, second] = match self {
            Report::Pids { init, job } => [0, init, job],
            Report::Refused(errno) => [1, errno, 0],
            Report::Exec(errno) => [2, errno, 0],
        }
        .map(i32::to_ne_bytes);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&kind);
        bytes[4..8].copy_from_slice(&first);
        bytes[8..].copy_from_slice(&second);
        kernel::write(to, &bytes);
    }

    /// Waits for a report; None at end-of-file.
    pub(super) fn receive(from: &OwnedFd) -> Option<Report> {
        let mut bytes = [0; 12];
        if kernel::read(from.as_raw_fd(), &mut bytes)? < bytes.len() {
            return None;
        }
        let word = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(match word(0) {
            0 => Report::Pids { init: word(4), job: word(8) },
            1 => Report::Refused(word(4)),
            _ => Report::Exec(word(4)),
        })
    }

    pub(super) fn into_error(self, program: &OsStr) -> SpawnError {
        match self {
            Report::Exec(libc::ENOENT | libc::ENOTDIR) => SpawnError::NotFound(program.into()),
            Report::Exec(errno) => {
                SpawnError::NotExecutable { program: program.into(), source: io::Error::from_raw_os_error(errno) }
            }
            Report::Refused(errno) => SpawnError::Isolate(io::Error::from_raw_os_error(errno)),
            Report::Pids { .. } => SpawnError::Other(io::Error::other("a report out of order")),
        }
    }
}
