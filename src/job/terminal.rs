//! Who may have the terminal: our own group, or the job's while ours would have it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::job::kernel::{self, errno, owned};

/// The controlling terminal. Every method counts on SIGTTOU being blocked or ignored.
pub(super) struct Terminal {
    fd: OwnedFd,
    /// The sentry's group, which the shell put into the foreground or not.
    home: i32,
}

impl Terminal {
    /// None without a controlling terminal (cron, CI).
    pub(super) fn open() -> Option<Terminal> {
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOCTTY) };
        Some(Terminal { fd: owned(fd).ok()?, home: kernel::group() })
    }

    /// Whether the shell gave the foreground to us.
    pub(super) fn is_ours(&self) -> bool {
        self.foreground() == self.home
    }

    /// Whether `group` is in the foreground.
    pub(super) fn is_with(&self, group: i32) -> bool {
        self.foreground() == group
    }

    /// Hands the foreground to the job's group if it is ours to give.
    pub(super) fn lend(&self, group: i32) {
        if self.is_ours() {
            put(self.fd.as_raw_fd(), group);
        }
    }

    /// Takes the foreground back from the job's group, or from a group of the job that is dead.
    pub(super) fn take_back(&self, group: i32) {
        let foreground = self.foreground();
        let dead = || foreground > 0 && !kernel::kill(-foreground, 0) && errno() == libc::ESRCH;
        if foreground != self.home && (foreground == group || dead()) {
            put(self.fd.as_raw_fd(), self.home);
        }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn foreground(&self) -> i32 {
        // SAFETY: the descriptor is open.
        unsafe { libc::tcgetpgrp(self.raw()) }
    }
}

/// Makes `group` the foreground group of `terminal`. Async-signal-safe.
pub(super) fn put(terminal: RawFd, group: i32) {
    // SAFETY: takes no pointers. A terminal that has hung up has no foreground to give.
    unsafe { libc::tcsetpgrp(terminal, group) };
}
