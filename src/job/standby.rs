//! In place of a job: a process that stands by a process that is no child of ours. It ends when that one does, or when it is
//! let go; and should sentry and worker both be killed, it is the one left to end it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::job::child::Started;
use crate::job::kernel;
use crate::job::process::{self, Process};
use crate::job::{FAILED, Worker, signals, wire};

const NAME: &std::ffi::CStr = c"vaultlock-s";

impl Worker {
    /// Stands by `process` in place of a job, until [`Worker::let_go`]. One that `is_stopped` gets the signals that a job
    /// would. `inherit` are the descriptors that a job would. Once only.
    ///
    /// # Errors
    /// Out of descriptors or processes.
    pub fn stand_by(&mut self, process: &Process, is_stopped: bool, inherit: &[RawFd]) -> io::Result<()> {
        let (lifeline, let_go) = wire::pipe()?;
        let mut kept: Vec<RawFd> = inherit.to_vec();
        kept.extend([process.raw(), lifeline.as_raw_fd()]);
        kept.sort_unstable();
        if is_stopped {
            // Both have it under this number: it was opened before they parted.
            self.page.set_watched(process.raw());
        }
        match kernel::fork()? {
            0 => stand(&kept, process.raw(), lifeline.as_raw_fd(), is_stopped),
            job => {
                kernel::set_group(job, job);
                self.page.set_group(job);
                self.state.started = Some(Started { job, init: None });
            }
        }
        self.let_go = Some(let_go);
        self.watched = Some(process.pid());
        Ok(())
    }

    /// The process is to run on without us: what stands by it ends as a job that ends well.
    pub fn let_go(&mut self) {
        if let Some(let_go) = &self.let_go {
            self.page.forget_watched();
            kernel::write(let_go.as_raw_fd(), &[1]);
        }
    }
}

/// In the new process. Async-signal-safe: the worker may have threads.
fn stand(kept: &[RawFd], process: RawFd, lifeline: RawFd, is_stopped: bool) -> ! {
    kernel::set_group(0, 0);
    signals::hold_all();
    // SAFETY: the name is a C string of at most 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
    // A keeper's standard output is nobody's. Its standard error may be the caller's still.
    // SAFETY: the path is a C string; standard descriptors have no owner.
    unsafe {
        libc::dup2(libc::STDOUT_FILENO, libc::STDERR_FILENO);
        libc::chdir(c"/".as_ptr());
    }
    // Above all the worker's own ends of its pipes: their closing is its death.
    let mut above = libc::STDERR_FILENO;
    for fd in kept.iter().copied().chain([i32::MAX]) {
        kernel::close_between(above, fd);
        above = fd;
    }
    loop {
        let Ok([ended, told]) = kernel::poll([process, lifeline], -1) else { continue };
        let mut word = [0];
        if ended {
            kernel::leave(0);
        }
        match told.then(|| kernel::read(lifeline, &mut word)).flatten() {
            None => {}
            Some(1) => kernel::leave(0),
            Some(_) => {
                if is_stopped {
                    process::signal(process, libc::SIGKILL);
                    // What this process inherited keeps the lock until then, where a lock is kept by that.
                    process::has_ended(process, -1);
                }
                kernel::leave(FAILED)
            }
        }
    }
}

/// The worker's end of the lifeline.
pub(super) type LetGo = Option<OwnedFd>;
