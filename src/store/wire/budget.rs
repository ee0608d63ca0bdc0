//! How much time a verb has, shared by all the system calls it makes.

use std::io;
use std::time::Duration;

use crate::time::{Clock, Tick};

/// Until when a verb must be done, and how long it was given, for the message.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub until: Tick,
    pub whole: Duration,
}

impl Budget {
    pub fn new(whole: Duration) -> Budget {
        Budget { until: Clock::Boottime.now() + whole, whole }
    }

    /// # Errors
    /// Nothing is left.
    pub fn left(self) -> io::Result<Duration> {
        let left = Clock::Boottime.now().until(self.until);
        // Zero would mean no time-out to the kernel, and it counts in microseconds.
        if left < Duration::from_micros(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// What is left, or half of it if others are to be asked after.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn part(self, others: bool) -> io::Result<Budget> {
        let left = self.left()?;
        let until = Clock::Boottime.now() + if others { left / 2 } else { left };
        Ok(Budget { until, whole: self.whole })
    }
}
