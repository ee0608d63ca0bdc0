//! The guard's answer to signals: from outside to the job, and from the job's stops to the outside.

use nix::sys::signal::Signal;

use super::guard::{Guard, State, WITHDRAWAL};
use super::orders::{Order, Saying};
use crate::job::Verdict;
use crate::time::Tick;

impl Guard {
    pub(super) fn signal(&mut self, signal: Signal, now: Tick) -> Vec<Order> {
        match (signal, &self.state) {
            (Signal::SIGTSTP, State::Waiting) => {
                self.paused = true;
                vec![Order::Pause]
            }
            (Signal::SIGCONT, State::Waiting) => self.resume(now),
            (Signal::SIGCONT, State::Running { stopped: true }) => self.continue_job(now),
            (Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT, State::Waiting) => {
                self.verdict = Some(Verdict::Signal(signal as i32));
                self.state = State::Withdrawing { until: now + WITHDRAWAL };
                vec![Order::Say(Saying::WaitOver), Order::Leave]
            }
            (Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT, State::Marking(_)) => {
                self.release(Verdict::Signal(signal as i32))
            }
            // The job is dead and its code stands: who is in a hurry need not wait for a server to hear of it.
            (Signal::SIGINT | Signal::SIGTERM, State::Withdrawing { .. } | State::Releasing) => self.finish(),
            (Signal::SIGINT | Signal::SIGTERM, State::Running { .. } | State::Stopping { .. } | State::Lingering) => {
                self.urged += 1;
                if self.urged > 1 {
                    self.verdict.get_or_insert(Verdict::Signal(Signal::SIGKILL as i32));
                    return self.kill(now);
                }
                self.forward(signal)
            }
            (_, State::Running { .. } | State::Stopping { .. }) => self.forward(signal),
            _ => Vec::new(),
        }
    }

    fn forward(&self, signal: Signal) -> Vec<Order> {
        match self.state {
            // What was left behind is not in the job's group any more than its leader is.
            State::Lingering => Vec::new(),
            _ => vec![Order::Signal(signal)],
        }
    }

    fn resume(&mut self, now: Tick) -> Vec<Order> {
        self.paused = false;
        let mut orders = vec![Order::Resume];
        if let Some(fences) = self.held_back.take() {
            orders.extend(self.granted(fences, self.sent, now));
        }
        orders
    }

    /// The lease is looked at before the job runs on: it may have run out while everything stood still.
    fn continue_job(&mut self, now: Tick) -> Vec<Order> {
        if now >= self.wake_at() {
            return self.time(now);
        }
        self.state = State::Running { stopped: false };
        vec![Order::Signal(Signal::SIGCONT)]
    }

    pub(super) fn job_stopped(&mut self, signal: Signal) -> Vec<Order> {
        match &mut self.state {
            State::Running { stopped } => {
                *stopped = true;
                vec![Order::StopToo(signal)]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn job_continued(&mut self) -> Vec<Order> {
        if let State::Running { stopped } = &mut self.state {
            *stopped = false;
        }
        Vec::new()
    }
}
