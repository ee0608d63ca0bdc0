//! One run: the claim, the job, and the one loop between them.
//!
//! The worker's main thread takes events from the job's side and from the session's, hands each to the [`guard`], and
//! carries out its orders. Once the job takes its time, or a server does, the session turns on a thread of its own, the
//! heartbeat.

pub mod console;
mod door;
pub mod guard;
pub mod handle;
mod heartbeat;
mod keeping;
mod ladder;
mod marking;
pub mod orders;
mod signalled;
pub mod work;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use anyhow::anyhow;
use nix::sys::signal::Signal;

use crate::exit::Exit;
use crate::job::{self, Behind, Deadline, Side, Signals, SpawnError, Verdict, Worker};
use crate::ledger::{Ticket, Watched};
use crate::mark::{self, Mark};
use crate::name::Name;
use crate::session::{Bundle, Claim, Ending, Notes, Order as SessionOrder, Session, Turn};
use crate::shown::chain;
use crate::store::Store;
use crate::time::{Clock, Tick};
use crate::timing::Timing;

use console::Console;
use guard::Guard;
use heartbeat::Heartbeat;
use keeping::Desk;
use orders::{Event, IfUnavailable, Order, Stragglers};
use work::Work;

/// How long one attempt to end the job's tree may take before the survivors are named.
const KILL_WITHIN: Duration = Duration::from_secs(2);

/// What the signal that ended the job has hit too is gone within this.
const DYING: Duration = Duration::from_millis(20);

/// A job that ends within this needs no heartbeat: the shortest ttl beats every 200 ms.
const BRIEF: Duration = Duration::from_millis(20);

/// Everything that was decided before anything was done.
pub struct Plan {
    /// In the order in which they are taken.
    pub locks: Vec<Name>,
    /// One for each.
    pub tickets: Vec<Ticket>,
    pub timing: Timing,
    /// How long to wait for the lock; `None` for ever.
    pub wait: Option<Duration>,
    pub conflict: u8,
    pub stop_signal: Signal,
    /// How long the job may run; `None` for ever.
    pub max_run: Option<Duration>,
    /// Raised before the job starts.
    pub mark: Option<Mark>,
    pub stragglers: Stragglers,
    pub if_unavailable: IfUnavailable,
    pub work: Work,
}

/// Runs the job under the lock and exits as it did. Returns only if it could not even begin.
///
/// # Errors
/// The store refuses before anything was started, or the process can't be split.
pub fn run(plan: Plan, store: Box<dyn Store>, notes: Vec<Notes>, console: Console) -> anyhow::Result<Exit> {
    let signals = job::hold_signals();
    let Work::Keep(keep) = &plan.work else { return go(plan, store, notes, console, signals, None) };
    match job::step_behind(&signals)? {
        Side::Front(front) => Ok(keeping::stay_in_front(front, keep)),
        Side::Behind(behind) => go(plan, store, notes, console, signals, Some(behind)),
    }
}

fn go(
    plan: Plan,
    mut store: Box<dyn Store>,
    notes: Vec<Notes>,
    console: Console,
    signals: Signals,
    behind: Option<Behind>,
) -> anyhow::Result<Exit> {
    let kind = store.kind();
    // A mark that is higher than the lock's fences makes the next one jump above it.
    let above = plan.mark.as_ref().map_or(Ok(0), Mark::read)?;
    store.prepare(&plan.locks[0], &plan.tickets[0])?;
    let mut heartbeat = Heartbeat::new(begin(&plan, store, notes, above)?, plan.timing.request)?;
    let guard = Guard::new(plan.timing, plan.stragglers, plan.if_unavailable, plan.conflict).within(plan.max_run);
    let guard = guard.marking(plan.mark.is_some());
    if let Some(ending) = heartbeat.turn_early() {
        return Ok(end_early(ending, guard, console, kind.clock.now()));
    }
    // Before the fork: sentry and worker share what the claims' lives hang on.
    heartbeat.prepare()?;
    let worker = job::split(signals, kind.clock, plan.timing, plan.stop_signal, behind)?;
    heartbeat.begin(worker.deadline());
    Loop::new(plan, kind.clock, worker, heartbeat, guard, console).go()
}

/// Without a job there was nothing to split for.
fn end_early(ending: Ending, mut guard: Guard, mut console: Console, now: Tick) -> Exit {
    let mut exit = Exit::Failed;
    for order in guard.handle(Event::Ended(ending), now) {
        match order {
            Order::Say(saying) => console.say(saying),
            Order::Finish(verdict) => exit = Exit::Given(verdict.code()),
            _ => {}
        }
    }
    exit
}

fn begin(plan: &Plan, store: Box<dyn Store>, mut notes: Vec<Notes>, above: u64) -> io::Result<Session> {
    let kind = store.kind();
    let now = kind.clock.now();
    let patience = plan.wait.map_or(Tick::NEVER, |wait| now + wait);
    // Who waits sees for itself; where only beats are counted, what was seen before shortens the wait.
    let recalls = !kind.knows_the_dead() || plan.wait == Some(Duration::ZERO);
    let claim = |(ticket, notes): (&Ticket, &mut Notes)| {
        let watched = if recalls { notes.watched(now) } else { Watched::default() };
        Claim::new(ticket.clone(), plan.timing, kind, patience, notes.fence().max(above), watched)
    };
    let claims = plan.tickets.iter().zip(&mut notes).map(claim).collect();
    Session::new(plan.locks.clone(), Bundle::new(claims), store, notes)
}

struct Loop {
    plan: Plan,
    clock: Clock,
    worker: Worker,
    deadline: Deadline,
    heartbeat: Heartbeat,
    guard: Guard,
    console: Console,
    keep_open: Vec<RawFd>,
    /// One for each lock. Not always those it began with: a waiter whose ticket vanished queues again under another.
    sessions: Vec<String>,
    started: Option<Tick>,
    /// A keeper's.
    desk: Desk,
}

impl Loop {
    fn new(plan: Plan, clock: Clock, worker: Worker, heartbeat: Heartbeat, guard: Guard, console: Console) -> Loop {
        let deadline = worker.deadline();
        let (keep_open, sessions, started, desk) = (Vec::new(), Vec::new(), None, Desk::default());
        Loop { plan, clock, worker, deadline, heartbeat, guard, console, keep_open, sessions, started, desk }
    }

    fn go(mut self) -> ! {
        loop {
            let event = self.next_event();
            if let Some(verdict) = self.handle(event) {
                self.worker.finish(verdict)
            }
        }
    }

    fn next_event(&mut self) -> Event {
        if self.worker.stop_sent() && self.guard.thinks_it_runs() {
            return Event::SentryStopped;
        }
        if let Some(upward) = self.heartbeat.hear() {
            if let Some(held) = upward.held {
                (self.sessions, self.keep_open) = (held.sessions, held.keep_open);
            }
            return match upward.turn {
                Turn::News(news) => Event::News(news),
                Turn::End(ending) => {
                    self.desk.note(&ending);
                    Event::Ended(ending)
                }
            };
        }
        self.answer_the_door();
        if self.guard.is_in_queue() && self.console.redraw_at() == Tick::NEVER && self.heartbeat.rest().is_some() {
            return self.wait_in_queue();
        }
        if self.heartbeat.is_here()
            && !self.is_within_brief_job()
            && let Err(error) = self.heartbeat.move_apart()
        {
            self.console.error(&format!("can't start the heartbeat: {error}"));
            return Event::Blind;
        }
        // The console's clock is another than a server's lease; a second is a second on both.
        let redraw = Clock::Monotonic.now().until(self.console.redraw_at());
        let until = self.guard.wake_at().min(self.clock.now() + redraw).min(self.brief_until());
        match self.worker.next(self.heartbeat.bell(), until) {
            Ok(Some(event)) if self.is_unwatched(event) => Event::Blind,
            Ok(Some(event)) => Event::Job(event),
            Ok(None) => {
                self.console.redraw();
                Event::Time
            }
            Err(error) => {
                self.console.error(&format!("can't watch the job any longer: {error}; ending it"));
                Event::Blind
            }
        }
    }

    /// A waiter needs no thread for its heart: it hears signals, wakes and the time in one place.
    fn wait_in_queue(&mut self) -> Event {
        if let Some(event) = self.worker.next_at_once() {
            return Event::Job(event);
        }
        match self.worker.events() {
            Ok(events) => {
                self.heartbeat.wait(events);
                Event::Time
            }
            Err(error) => {
                self.console.error(&format!("can't watch for signals: {error}"));
                Event::Blind
            }
        }
    }

    fn is_within_brief_job(&self) -> bool {
        self.started.is_some() && self.clock.now() < self.brief_until()
    }

    /// Until when a job may be over before its heartbeat has begun.
    fn brief_until(&self) -> Tick {
        match self.started {
            Some(started) if self.heartbeat.is_here() => started + BRIEF,
            _ => Tick::NEVER,
        }
    }

    fn handle(&mut self, event: Event) -> Option<Verdict> {
        for order in self.guard.handle(event, self.clock.now()) {
            let verdict = match self.carry_out(order) {
                Done::Nothing => None,
                Done::Then(event) => self.handle(event),
                Done::Finished(verdict) => Some(verdict),
            };
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    fn carry_out(&mut self, order: Order) -> Done {
        match order {
            Order::Arm(sent) => self.deadline.renew(sent),
            Order::Mark { fence } => return Done::Then(self.raise(fence)),
            Order::Start { fences } => {
                if let Err(exit) = self.start(&fences) {
                    return Done::Then(Event::NotStarted(exit));
                }
            }
            Order::Signal(signal) => self.worker.signal(signal),
            Order::Stop => self.worker.stop(),
            Order::Kill => return Done::Then(Event::Killed(self.worker.kill_tree(KILL_WITHIN))),
            Order::StopToo(signal) => self.worker.job_stopped(signal),
            Order::CountLeftBehind => return Done::Then(Event::LeftBehind(self.worker.stragglers(DYING))),
            Order::Pause => self.heartbeat.give(SessionOrder::Pause),
            Order::Resume => self.heartbeat.give(SessionOrder::Resume),
            Order::Leave => {
                // There is nothing left to kill, however long the store takes to hear of it.
                self.deadline.close();
                self.heartbeat.give(SessionOrder::Leave);
            }
            Order::Say(saying) => self.console.say(saying),
            Order::Finish(verdict) => {
                self.desk.close(verdict);
                return Done::Finished(verdict);
            }
        }
        Done::Nothing
    }

    fn raise(&mut self, fence: u64) -> Event {
        let Some(mark) = &self.plan.mark else { return Event::Marked };
        let (exit, error) = match mark.admit(fence) {
            Ok(mark::Verdict::Admitted(_)) => return Event::Marked,
            Ok(mark::Verdict::Busy) => return Event::MarkBusy,
            Ok(mark::Verdict::Late(above)) => {
                let file = mark.path().display();
                (
                    Exit::Late,
                    anyhow!("{file} was raised to {above}, above this run's fence {fence}: give each lock a file of its own"),
                )
            }
            Err(error) => (Exit::Failed, error.into()),
        };
        self.console.error(&format!("{error:#}; the job was not started"));
        Event::NotStarted(exit)
    }

    fn start(&mut self, fences: &[u64]) -> Result<(), Exit> {
        let Work::Run(job) = &self.plan.work else { return self.keep() };
        let command = job.command(fences, &self.sessions, &self.keep_open);
        self.started = Some(self.clock.now());
        self.worker.spawn(&command).map_err(|error| {
            let exit = exit_of(&error);
            self.console.error(&chain(&anyhow::Error::new(error)));
            exit
        })
    }
}

/// What came of an order.
enum Done {
    Nothing,
    Then(Event),
    Finished(Verdict),
}

fn exit_of(error: &SpawnError) -> Exit {
    match error {
        SpawnError::NotFound(_) => Exit::NotFound,
        SpawnError::NotExecutable { .. } => Exit::NotExecutable,
        SpawnError::Isolate(_) | SpawnError::Other(_) => Exit::Failed,
    }
}
