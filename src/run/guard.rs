//! What is to happen to the job: events in, orders out. Pure: it is told the time, and does nothing itself.
//!
//! The rules it keeps: no job starts later than its deadline allows; a lost lease means the stop signal, then SIGKILL,
//! and late wake-ups kill at once; the lock is given back only when the job is confirmed dead.

use std::time::Duration;

use super::ladder::Limit;
use super::marking::Marking;
use super::orders::{Event, IfUnavailable, Order, Reason, Saying, Stragglers};
use crate::exit::Exit;
use crate::job::{End, Event as JobEvent, Verdict};
use crate::ledger::StopReason;
use crate::mutant::{self, Mutant};
use crate::session::{Ending, News};
use crate::time::Tick;
use crate::timing::Timing;

/// How long a withdrawal may take before the user is let go; the ticket then lapses by itself.
pub(super) const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The state of one run.
pub struct Guard {
    pub(super) timing: Timing,
    stragglers: Stragglers,
    conflict: u8,
    unavailable: IfUnavailable,
    pub(super) state: State,
    pub(super) paused: bool,
    /// Granted while paused: start when resumed.
    pub(super) held_back: Option<Vec<u64>>,
    pub(super) sent: Tick,
    pub(super) trouble: String,
    pub(super) limit: Limit,
    /// A high-water mark is raised before the job starts.
    pub(super) marks: bool,
    /// INT and TERM seen: the second one ends the patience.
    pub(super) urged: u32,
    pub(super) verdict: Option<Verdict>,
    /// The lease was lost, and said to be.
    pub(super) lost: bool,
    /// The job ended by itself, and may have left processes behind.
    left: bool,
    /// The job runs without the lock, as asked for when the store is out of reach.
    pub(super) unlocked: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// In the queue.
    Waiting,
    /// Leaving the queue; the user is let go then, whatever the store does.
    Withdrawing {
        until: Tick,
    },
    /// In; a high-water mark is to be raised before the job starts.
    Marking(Marking),
    Running {
        stopped: bool,
    },
    /// The stop signal is out; SIGKILL follows then.
    Stopping {
        kill_at: Tick,
    },
    /// SIGKILL is out; try again then.
    Killing {
        again_at: Tick,
    },
    /// The job ended by itself; waiting for what it left behind.
    Lingering,
    /// The job is dead and the lock is being given back.
    Releasing,
    Finished,
}

impl Guard {
    /// `conflict` is the exit code for a lock that is busy.
    pub fn new(timing: Timing, stragglers: Stragglers, unavailable: IfUnavailable, conflict: u8) -> Guard {
        Guard {
            timing,
            stragglers,
            conflict,
            unavailable,
            unlocked: false,
            state: State::Waiting,
            paused: false,
            held_back: None,
            sent: Tick(0),
            trouble: String::new(),
            limit: Limit::default(),
            marks: false,
            urged: 0,
            verdict: None,
            lost: false,
            left: false,
        }
    }

    /// When to call [`Guard::handle`] with [`Event::Time`] at the latest.
    pub fn wake_at(&self) -> Tick {
        match self.state {
            State::Running { .. } | State::Lingering => self.lapses_at(Timing::stop_at).min(self.limit.ends_at()),
            State::Marking(ref marking) => marking.again_at.min(self.lapses_at(Timing::stop_at)),
            State::Withdrawing { until } => until,
            State::Stopping { kill_at } => kill_at.min(self.lapses_at(Timing::kill_at)),
            State::Killing { again_at } => again_at,
            _ => Tick::NEVER,
        }
    }

    /// Whether, as far as this guard knows, the job runs and has not been told to end.
    pub fn thinks_it_runs(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Lingering)
    }

    /// Whether the lock is being given back.
    pub fn is_releasing(&self) -> bool {
        self.state == State::Releasing
    }

    /// Whether it waits for its turn, and nothing has happened.
    pub fn is_in_queue(&self) -> bool {
        self.state == State::Waiting
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event, now: Tick) -> Vec<Order> {
        match event {
            Event::Time => self.time(now),
            Event::SentryStopped => self.lapse(now),
            Event::News(news) => self.news(news, now),
            Event::Ended(ending) => self.session_ended(ending, now),
            Event::Marked => self.marked(now),
            Event::MarkBusy => self.mark_busy(now),
            Event::NotStarted(exit) => self.release(Verdict::Code(exit.code())),
            Event::Job(JobEvent::Signal(signal)) => self.signal(signal, now),
            Event::Blind | Event::Job(JobEvent::SentryDied) => self.sentry_died(now),
            Event::Job(JobEvent::Stopped(signal)) => self.job_stopped(signal),
            Event::Job(JobEvent::Continued) => self.job_continued(),
            Event::Job(JobEvent::Ended(end)) => self.job_ended(end, now),
            Event::Job(JobEvent::Alone) => self.alone(),
            Event::LeftBehind(pids) => self.left_behind(pids),
            Event::Killed(killed) => self.killed(killed, now),
        }
    }

    pub(super) fn time(&mut self, now: Tick) -> Vec<Order> {
        if now < self.wake_at() {
            return Vec::new();
        }
        match self.state {
            State::Marking(_) => self.mark_again(now),
            State::Running { .. } | State::Lingering if now < self.lapses_at(Timing::stop_at) => self.overtime(now),
            State::Running { .. } | State::Lingering => self.lapse(now),
            State::Stopping { .. } | State::Killing { .. } => self.kill(now),
            State::Withdrawing { .. } => self.finish(),
            State::Waiting | State::Releasing | State::Finished => Vec::new(),
        }
    }

    fn news(&mut self, news: News, now: Tick) -> Vec<Order> {
        match news {
            News::Waiting(standing) => vec![Order::Say(Saying::Waiting(standing))],
            News::Granted { fences, sent } => self.granted(fences, sent, now),
            News::Renewed { sent } => {
                self.sent = self.sent.max(sent);
                self.trouble.clear();
                Vec::new()
            }
            News::Extended { by } => self.extended(by),
            News::Lost { at, loss } if self.has_job() => self.stop(Reason::Loss { at, loss }, now),
            News::Lost { at, loss } if matches!(self.state, State::Marking(_)) => self.lost_unstarted(Reason::Loss { at, loss }),
            News::Lost { .. } => Vec::new(),
            News::Trouble(text) => {
                self.trouble = text.clone();
                vec![Order::Say(Saying::Trouble(text))]
            }
            News::Recovered => {
                self.trouble.clear();
                vec![Order::Say(Saying::Recovered)]
            }
        }
    }

    pub(super) fn granted(&mut self, fences: Vec<u64>, sent: Tick, now: Tick) -> Vec<Order> {
        self.sent = self.sent.max(sent);
        match self.state {
            // Stopped by Ctrl-Z between the commit and here: hold the lock, start nothing.
            State::Waiting if self.paused => {
                self.held_back = Some(fences);
                Vec::new()
            }
            State::Waiting if now >= self.timing.stop_at(self.sent) && !mutant::on(Mutant::NoRecheck) => {
                let mut orders = vec![Order::Say(Saying::WaitOver)];
                orders.extend(self.too_late(now));
                orders
            }
            State::Waiting => vec![Order::Say(Saying::WaitOver), Order::Arm(self.sent), self.mark_or_start(fences, now)],
            _ => Vec::new(),
        }
    }

    fn session_ended(&mut self, ending: Ending, now: Tick) -> Vec<Order> {
        let mut orders = vec![Order::Say(Saying::WaitOver)];
        let verdict = match ending {
            Ending::Left => None,
            // After a loss there was nothing to give back.
            Ending::Unreleased { .. } if self.lost => None,
            Ending::Unreleased { which, trouble } => {
                orders.push(Order::Say(Saying::Unreleased { which, trouble }));
                None
            }
            Ending::Busy(standing) => {
                orders.push(Order::Say(Saying::Busy(standing)));
                Some(self.conflict)
            }
            Ending::Stopped(why) => {
                let code = if why == StopReason::Superseded { Exit::Superseded.code() } else { self.conflict };
                orders.push(Order::Say(Saying::Stopped(why)));
                Some(code)
            }
            Ending::Entangled(cycle) => {
                orders.push(Order::Say(Saying::Entangled(cycle)));
                Some(self.conflict)
            }
            Ending::Unavailable(trouble) => {
                orders.push(Order::Say(Saying::Unavailable(trouble, self.unavailable)));
                match self.unavailable {
                    IfUnavailable::Fail => Some(Exit::Failed.code()),
                    IfUnavailable::Skip => Some(Exit::Success.code()),
                    IfUnavailable::Run => {
                        self.unlocked = true;
                        orders.push(self.start(Vec::new(), now));
                        return orders;
                    }
                }
            }
            Ending::Failed(error) => {
                orders.push(Order::Say(Saying::Failed(error.to_string())));
                Some(Exit::Failed.code())
            }
        };
        if let Some(code) = verdict {
            self.verdict.get_or_insert(Verdict::Code(code));
        }
        orders.extend(self.finish());
        orders
    }

    fn sentry_died(&mut self, now: Tick) -> Vec<Order> {
        self.verdict.get_or_insert(Verdict::Code(Exit::Failed.code()));
        match self.state {
            State::Waiting | State::Withdrawing { .. } => {
                self.state = State::Withdrawing { until: now + WITHDRAWAL };
                vec![Order::Leave]
            }
            State::Marking(_) => self.release_now(),
            State::Running { .. } | State::Stopping { .. } | State::Lingering => self.kill(now),
            State::Killing { .. } | State::Releasing | State::Finished => Vec::new(),
        }
    }

    fn job_ended(&mut self, end: End, now: Tick) -> Vec<Order> {
        match self.state {
            State::Running { .. } => {
                self.verdict.get_or_insert(end.into());
                match self.stragglers {
                    Stragglers::Leave => {
                        self.left = true;
                        self.release_now()
                    }
                    Stragglers::Kill => self.kill(now),
                    Stragglers::Wait => {
                        self.state = State::Lingering;
                        vec![Order::CountLeftBehind]
                    }
                }
            }
            // Its leader is dead; the tree may not be.
            State::Stopping { .. } => self.kill(now),
            _ => Vec::new(),
        }
    }

    fn alone(&mut self) -> Vec<Order> {
        match self.state {
            State::Lingering => self.release_now(),
            _ => Vec::new(),
        }
    }

    fn left_behind(&mut self, pids: Vec<i32>) -> Vec<Order> {
        match self.state {
            State::Lingering if pids.is_empty() => self.release_now(),
            _ if pids.is_empty() => Vec::new(),
            State::Lingering => vec![Order::Say(Saying::Lingers(pids))],
            _ => vec![Order::Say(Saying::LeftBehind(pids))],
        }
    }

    pub(super) fn release(&mut self, verdict: Verdict) -> Vec<Order> {
        self.verdict.get_or_insert(verdict);
        self.release_now()
    }

    pub(super) fn release_now(&mut self) -> Vec<Order> {
        if self.unlocked {
            return self.finish();
        }
        self.state = State::Releasing;
        vec![Order::Leave]
    }

    pub(super) fn finish(&mut self) -> Vec<Order> {
        self.state = State::Finished;
        // Counted last: the lock is not kept waiting for it.
        let count = self.left.then_some(Order::CountLeftBehind);
        count.into_iter().chain([Order::Finish(self.verdict.unwrap_or(Verdict::Code(Exit::Failed.code())))]).collect()
    }

    pub(super) fn has_job(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Stopping { .. } | State::Lingering)
    }
}
