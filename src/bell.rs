//! A bell that one thread rings and another waits for, together with whatever else it waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::time::{Clock, Tick};

/// A wait this long may end early: whoever waits looks at the time again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// An eventfd(2): rung once or often before anyone looks, it is heard once.
#[derive(Clone, Debug)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<Bell> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Bell(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    pub fn ring(&self) {
        // The one failure is a counter at its end: then it has been rung 2^64 times and will be heard.
        let _ = self.0.write(1);
    }

    /// Forgets earlier rings. Call it before looking at what the bell announces, never after.
    pub fn hush(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the descriptors can be read or `until` has come on `clock`; says which can be read.
///
/// # Errors
/// Only what ppoll(2) calls a fault of the caller.
pub fn listen(to: &[BorrowedFd<'_>], until: Tick, clock: Clock) -> io::Result<Vec<bool>> {
    listen_and_mark(to, &[], until, clock)
}

/// As [`listen`]; of the pipes in `ends`, which follow in the answer, only that nobody can write to them any more.
///
/// # Errors
/// Only what ppoll(2) calls a fault of the caller.
pub fn listen_and_mark(to: &[BorrowedFd<'_>], ends: &[BorrowedFd<'_>], until: Tick, clock: Clock) -> io::Result<Vec<bool>> {
    let to = to.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    let mut polled: Vec<PollFd> = to.chain(ends.iter().map(|fd| PollFd::new(*fd, PollFlags::empty()))).collect();
    loop {
        // TimeSpec panics on spans near its end, as the one to NEVER is.
        let timeout = (until != Tick::NEVER).then(|| TimeSpec::from_duration(clock.now().until(until).min(LONGEST)));
        match ppoll(&mut polled, timeout, None) {
            Ok(_) => return Ok(polled.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_an_end_ends_with_the_bell() {
        for clock in [Clock::Boottime, Clock::Monotonic] {
            let bell = Bell::new().unwrap();
            bell.ring();
            assert_eq!(listen(&[bell.as_fd()], Tick::NEVER, clock).unwrap(), [true]);
        }
    }
}
