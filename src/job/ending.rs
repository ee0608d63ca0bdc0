//! The worker ends the job: everything it is and everything it started.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::job::Worker;
use crate::job::kernel::{self, Change, Whom, kill};
use crate::job::tree::{self, Round};

impl Worker {
    /// The job's processes other than the job itself that would outlive it now. Only those that are children of the
    /// worker: complete once the job has ended.
    ///
    /// Some may just be dying of the signal that ended the job: waits up to `within` for the last to be gone.
    pub fn stragglers(&self, within: Duration) -> Vec<i32> {
        let end = Instant::now() + within;
        loop {
            self.drain_children();
            if !kernel::has_living_children() {
                return Vec::new();
            }
            let mut found = Vec::new();
            tree::each_child(&mut |pid| {
                if !self.is_leader(pid) && kernel::reap(Whom::One(pid)).is_none() {
                    found.push(pid);
                }
            });
            let left = end.saturating_duration_since(Instant::now());
            if found.is_empty() || left.is_zero() {
                return found;
            }
            let _ = kernel::poll([self.children.as_raw_fd()], i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
        }
    }

    /// SIGKILL to the job's group and to every descendant until none is left; then disarms the deadline for good.
    ///
    /// While the deadline is armed `within` is cut to half of the time between kill and dead line (less a margin):
    /// later than that the sentry kills this process too.
    ///
    /// # Errors
    /// The processes that lived on for `within`: another user's, or in an uninterruptible sleep. The deadline stays armed.
    pub fn kill_tree(&mut self, within: Duration) -> Result<(), Vec<i32>> {
        let within = self.deadline.begin_killing().map_or(within, |most| most.min(within));
        let end = Instant::now() + within;
        self.page.signal(libc::SIGKILL);
        loop {
            self.drain_children();
            let (round, survivors) = self.kill_children();
            let left = end.saturating_duration_since(Instant::now());
            if round == Round::Over {
                // Nobody's death notice comes from a process that is no child.
                if !self.page.watched_has_ended(i32::try_from(left.as_millis()).unwrap_or(i32::MAX)) {
                    return Err(self.watched.into_iter().collect());
                }
                break;
            }
            if left.is_zero() {
                return Err(survivors);
            }
            if round == Round::Alive {
                // Rounded up: a wait of zero would be a busy loop.
                let millis = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
                let _ = kernel::poll([self.children.as_raw_fd()], millis);
            }
        }
        self.reap_job();
        self.deadline.close();
        Ok(())
    }

    /// One round; lists those that were alive.
    fn kill_children(&mut self) -> (Round, Vec<i32>) {
        if self.is_isolated() {
            self.kill_init();
            self.reap_until_job();
            if self.state.end.is_some() {
                self.reap_job();
            }
        }
        // The leader stays unreaped: its number is the group's.
        let leader = self.state.started.filter(|_| !self.state.reaped).map(|started| started.job);
        let mut alive = Vec::new();
        let round = tree::kill_children(leader, &mut |pid| alive.push(pid));
        (round, alive)
    }

    pub(super) fn kill_init(&self) {
        if let Some(init) = self.state.started.and_then(|started| started.init) {
            kill(init, libc::SIGKILL);
        }
    }

    pub(super) fn reap_job(&mut self) {
        if let Some(started) = self.state.started
            && !self.state.reaped
        {
            self.page.forget_group();
            self.state.reaped = true;
            let dead: Option<Change> = kernel::await_death(Whom::One(started.job));
            self.state.end = self.state.end.or(dead.map(Change::end));
        }
    }
}
