//! A process that is nobody's child here: found by its number, held by a descriptor that never means another (pidfd_open(2)).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use thiserror::Error;

use crate::job::kernel::{self, check, owned};

/// A process to be watched, and maybe ended.
pub struct Process {
    pid: i32,
    fd: OwnedFd,
}

/// Why a process can't be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    #[error("there is no process {0} (any more): name one that lives as long as the lock is needed")]
    Gone(i32),
    #[error("process {0} is younger than this vaultlock: its number was another's when it was named")]
    Stranger(i32),
    #[error("process {0} belongs to another user, so it can't be stopped if the lock is lost: use --on-loss tell, or be root")]
    Foreign(i32),
    #[error("this kernel does not let process {pid} be watched (pidfd_open(2): Linux 5.3)")]
    Kernel { pid: i32, source: io::Error },
}

impl Process {
    /// The process that has had this number since before this program began; one that `is_stopped` is to be ended on a loss.
    ///
    /// # Errors
    /// [`WatchError`] says why not.
    pub fn find(pid: i32, is_stopped: bool) -> Result<Process, WatchError> {
        // SAFETY: takes no pointers. The descriptor is close-on-exec by itself.
        let opened = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32);
        let fd = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH | libc::EINVAL) => WatchError::Gone(pid),
            _ => WatchError::Kernel { pid, source: error },
        })?;
        let process = Process { pid, fd };
        let began = stat(&pid.to_string());
        // Looked at last: a process that lives now is the one whose start was read.
        if pid == kernel::pid() || process.has_ended() {
            return Err(WatchError::Gone(pid));
        }
        // Whoever named it knew it before we were started, and a number is given anew only after its owner's death.
        // But a shell that becomes vaultlock is as old as it was, and may have children.
        if began.zip(stat("self")).is_some_and(|(theirs, ours)| theirs.start > ours.start && theirs.parent != kernel::pid()) {
            return Err(WatchError::Stranger(pid));
        }
        match check(signal(process.raw(), 0)) {
            Err(error) if is_stopped && error.raw_os_error() == Some(libc::EPERM) => Err(WatchError::Foreign(pid)),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(WatchError::Gone(pid)),
            _ => Ok(process),
        }
    }

    /// The parent of this process.
    ///
    /// # Errors
    /// As [`Process::find`].
    pub fn parent(is_stopped: bool) -> Result<Process, WatchError> {
        Process::find(kernel::parent(), is_stopped)
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What its program is called, for people.
    pub fn name(&self) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).ok().map(|name| name.trim_end().to_owned())
    }

    pub(super) fn has_ended(&self) -> bool {
        has_ended(self.raw(), 0)
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Whether the process of a pidfd ends within so many milliseconds; -1 is for ever.
pub(super) fn has_ended(process: RawFd, millis: i32) -> bool {
    kernel::poll([process], millis).is_ok_and(|[ended]| ended)
}

/// pidfd_send_signal(2): never to a stranger.
pub(super) fn signal(process: RawFd, signal: i32) -> i32 {
    // SAFETY: without a siginfo_t no pointer is read.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, signal, std::ptr::null::<libc::siginfo_t>(), 0) as i32 }
}

/// What proc_pid_stat(5) says of a process.
struct Stat {
    parent: i32,
    /// In ticks since the host's start.
    start: u64,
}

fn stat(pid: &str) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; fields 3 and on follow.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some(Stat { parent: fields.nth(1)?.parse().ok()?, start: fields.nth(17)?.parse().ok()? })
}
