//! The part of a keeper's start that its caller waits for. The process that the shell started stays in front, passes signals
//! on, and ends with what it was told, or as the keeper did; the keeper goes on behind it, with nothing of the caller's.
//!
//! ```text
//! shell -- F  front: until the keeper holds the lock and stands
//!          \- P  sentry, in a session of its own, as in every run
//! ```

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::job::kernel::{self, Whom, check, kill};
use crate::job::process::Process;
use crate::job::signals::{self, Inherited};
use crate::job::{FAILED, environment};

/// One of the two.
pub enum Side {
    Front(Front),
    Behind(Behind),
}

/// What the caller waits for.
pub struct Front {
    behind: i32,
    report: PipeReader,
    signals: OwnedFd,
}

/// How it came out.
pub enum Outcome {
    /// The keeper stands, and this is what it has to say.
    Stands(Vec<u8>),
    /// The keeper ended with this code, and has said why.
    Ended(u8),
    /// The process that it was to keep the lock for ended first.
    Pointless,
}

/// The way from behind to the front. Sentry and worker have one each: the front goes when both have let go of it.
pub struct Behind {
    report: PipeWriter,
    null: OwnedFd,
}

/// Splits off the front. What returns behind it has no terminal, and takes nothing that the caller could miss: standard
/// error alone stays open for as long as there is something to say.
///
/// # Errors
/// Out of descriptors or processes.
pub fn step_behind(signals: &Inherited) -> io::Result<Side> {
    let (report, to_front) = io::pipe()?;
    let null = OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null")?);
    let front_signals = kernel::signal_fd(signals.taken())?;
    let front = kernel::pid();
    match kernel::fork()? {
        0 => {
            drop((report, front_signals));
            // As a Ctrl-C to a front that could not pass it on any more.
            kernel::notice_parents_death(libc::SIGTERM);
            if kernel::parent() != front {
                kernel::leave(FAILED);
            }
            // SAFETY: takes nothing. A child is never a group's leader, so it can't fail.
            unsafe { libc::setsid() };
            close_the_callers()?;
            replace(&null, [libc::STDIN_FILENO, libc::STDOUT_FILENO]);
            environment::hide();
            Ok(Side::Behind(Behind { report: to_front, null }))
        }
        behind => Ok(Side::Front(Front { behind, report, signals: front_signals })),
    }
}

impl Front {
    /// Waits until the keeper stands or has ended, and passes on meanwhile what asks it to end. It is told to end, too, if
    /// `process` does.
    pub fn stay(mut self, process: &Process) -> Outcome {
        let mut watched = process.raw();
        loop {
            let fds = [self.report.as_raw_fd(), self.signals.as_raw_fd(), watched];
            let Ok([report, signal, ended]) = kernel::poll(fds, -1) else { break };
            if report {
                break;
            }
            if signal {
                self.pass_on();
            } else if ended {
                watched = -1;
                kill(self.behind, libc::SIGTERM);
            }
        }
        let mut told = Vec::new();
        let _ = self.report.read_to_end(&mut told);
        if !told.is_empty() {
            return Outcome::Stands(told);
        }
        let code =
            kernel::await_death(Whom::One(self.behind)).map_or(FAILED, |change| crate::job::Verdict::from(change.end()).code());
        if watched == -1 { Outcome::Pointless } else { Outcome::Ended(code) }
    }

    fn pass_on(&self) {
        while let Some(signal) = kernel::next_signal(self.signals.as_fd()) {
            match signal {
                libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT => {
                    kill(self.behind, signal);
                }
                // The place in the queue is kept meanwhile.
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => signals::undergo(kernel::pid(), signal),
                _ => {}
            }
        }
    }
}

impl Behind {
    /// Says it to the front. It hears it when [`Behind::detach`] has been called on both sides.
    ///
    /// # Errors
    /// The front is gone.
    pub fn tell(&self, line: &str) -> io::Result<()> {
        (&self.report).write_all(line.as_bytes())
    }

    /// Lets go of the last that is the caller's, and of the front.
    pub(super) fn detach(self) {
        replace(&self.null, [libc::STDERR_FILENO]);
        // SAFETY: the path is a C string. A failure would only keep a file system busy.
        unsafe { libc::chdir(c"/".as_ptr()) };
    }

    /// The same in the sentry, whose parent the front is.
    pub(super) fn part(self) {
        kernel::notice_parents_death(0);
        self.detach();
    }
}

/// What is open across an exec is the caller's: all of ours is closed by one.
fn close_the_callers() -> io::Result<()> {
    let open: Vec<i32> =
        std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > libc::STDERR_FILENO) {
        // SAFETY: takes no pointers. Nothing of ours uses a descriptor that survives an exec.
        unsafe {
            if check(libc::fcntl(fd, libc::F_GETFD)).is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0) {
                libc::close(fd);
            }
        }
    }
    Ok(())
}

fn replace<const N: usize>(null: &OwnedFd, standard: [i32; N]) {
    for fd in standard {
        // SAFETY: takes no pointers; standard descriptors have no owner.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}
