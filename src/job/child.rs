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
    /// The pipe for reports; none (-1) where memory is borrowed.
    pub(super) to_parent: RawFd,
    pub(super) worker: i32,
}

impl Child<'_> {
    /// Makes the new process on memory borrowed from this one, and waits until it runs the program or can't. Not with a
    /// terminal: a Ctrl-Z before the exec would stop the borrower, and us with it.
    pub(super) fn borrow(&self, program: &mut Program) -> io::Result<(i32, Option<Report>)> {
        let mut failed = None;
        let job = kernel::vfork(&mut || {
            if kernel::parent() == self.worker {
                failed = Some(Report::Exec(self.become_job(program)));
            }
            kernel::leave(127)
        })?;
        Ok((job, failed))
    }

    /// Makes the new process, which reports through the pipe.
    pub(super) fn fork(&self, program: &mut Program) -> io::Result<i32> {
        match kernel::fork()? {
            0 if kernel::parent() == self.worker => self.run(program),
            0 => kernel::leave(0),
            job => Ok(job),
        }
    }

    /// In the new process: becomes the job, or reports why it can't. Async-signal-safe.
    pub(super) fn run(&self, program: &mut Program) -> ! {
        Report::Exec(self.become_job(program)).send(self.to_parent);
        kernel::leave(127)
    }

    /// In the new process: becomes the job; returns the errno if its program can't be executed. Async-signal-safe.
    fn become_job(&self, program: &mut Program) -> c_int {
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
        program.execute()
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
                SpawnError::NotExecutable { program: program.into(), reason: io::Error::from_raw_os_error(errno) }
            }
            Report::Refused(errno) => SpawnError::Isolate(io::Error::from_raw_os_error(errno)),
            Report::Pids { .. } => SpawnError::Other(io::Error::other("a report out of order")),
        }
    }
}
