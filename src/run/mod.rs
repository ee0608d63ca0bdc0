//! One run: the claim, the job, and the one loop between them.
//!
//! The worker's main thread takes events from the job's side and from the session's, hands each to the [`guard`], and
//! carries out its orders. The session turns on a thread of its own, the heartbeat.

pub mod console;
pub mod guard;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bell::Bell;
use crate::exit::Exit;
use crate::job::{self, Command, Deadline, SpawnError, Verdict, Worker};
use crate::ledger::{Ticket, Watched};
use crate::name::Name;
use crate::session::{Claim, Ending, News, Notes, Order as SessionOrder, Orders, Session, Turn};
use crate::store::Store;
use crate::time::{Clock, Tick};
use crate::timing::Timing;

use console::Console;
use guard::{Event, Guard, IfUnavailable, Order, Stragglers};

/// How long one attempt to end the job's tree may take before the survivors are named.
const KILL_WITHIN: Duration = Duration::from_secs(2);

/// The heartbeat talks TLS and JSON, nothing deep.
const HEARTBEAT_STACK: usize = 512 * 1024;

/// Everything that was decided before anything was done.
pub struct Plan {
    pub lock: Name,
    pub ticket: Ticket,
    pub timing: Timing,
    /// How long to wait for the lock; `None` for ever.
    pub wait: Option<Duration>,
    pub conflict: u8,
    pub stop_signal: Signal,
    pub stragglers: Stragglers,
    pub if_unavailable: IfUnavailable,
    pub program: OsString,
    pub args: Vec<OsString>,
    pub isolate: bool,
    /// What the job's environment says of the run, the fence aside.
    pub env: Vec<(OsString, Option<OsString>)>,
}

/// Runs the job under the lock and exits as it did. Returns only if it could not even begin.
///
/// # Errors
/// The store refuses before anything was started, or the process can't be split.
pub fn run(plan: Plan, mut store: Box<dyn Store>, notes: Notes, console: Console) -> anyhow::Result<Exit> {
    let kind = store.kind();
    // Before the fork: sentry and worker share what the claim's life hangs on.
    store.prepare(&plan.lock, &plan.ticket)?;
    let worker = job::split(kind.clock, plan.timing, plan.stop_signal)?;
    let clock = kind.clock;
    let session = match begin(&plan, store, notes) {
        Ok(session) => session,
        Err(error) => stop_short(worker, console, &error),
    };
    Loop::new(plan, clock, worker, session, console).go()
}

fn begin(plan: &Plan, store: Box<dyn Store>, mut notes: Notes) -> io::Result<Session> {
    let kind = store.kind();
    let now = kind.clock.now();
    let patience = plan.wait.map_or(Tick::NEVER, |wait| now + wait);
    let watched = if kind.knows_the_dead { Watched::default() } else { notes.watched(now) };
    let claim = Claim::new(plan.ticket.clone(), plan.timing, kind, patience, notes.fence(), watched);
    Session::new(plan.lock.clone(), claim, store, notes)
}

fn stop_short(worker: Worker, mut console: Console, error: &io::Error) -> ! {
    console.error(&format!("can't begin: {error}"));
    worker.finish(Verdict::Code(Exit::Failed.code()))
}

/// What the heartbeat thread hands up.
struct Upward {
    turn: Turn,
    /// Once granted: what the job must keep open.
    keep_open: Vec<RawFd>,
}

struct Loop {
    plan: Plan,
    clock: Clock,
    worker: Worker,
    deadline: Deadline,
    session: Orders,
    news: Receiver<Upward>,
    bell: Bell,
    guard: Guard,
    console: Console,
    keep_open: Vec<RawFd>,
}

impl Loop {
    fn new(plan: Plan, clock: Clock, worker: Worker, session: Session, mut console: Console) -> Loop {
        let guard = Guard::new(plan.timing, plan.stragglers, plan.if_unavailable, plan.conflict);
        let deadline = worker.deadline();
        let orders = session.orders();
        let (sender, news) = channel();
        let started = Bell::new().and_then(|bell| heartbeat(session, deadline.clone(), sender, bell.clone()).map(|()| bell));
        let bell = match started {
            Ok(bell) => bell,
            Err(error) => {
                console.error(&format!("can't begin: {error}"));
                worker.finish(Verdict::Code(Exit::Failed.code()))
            }
        };
        Loop { plan, clock, worker, deadline, session: orders, news, bell, guard, console, keep_open: Vec::new() }
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
        if let Some(event) = self.next_news() {
            return event;
        }
        // The console's clock is another than a server's lease; a second is a second on both.
        let redraw = Clock::Monotonic.now().until(self.console.redraw_at());
        let until = self.guard.wake_at().min(self.clock.now() + redraw);
        match self.worker.next(self.bell.as_fd(), until) {
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

    fn next_news(&mut self) -> Option<Event> {
        self.bell.hush();
        let upward = self.news.try_recv().ok()?;
        // Only one is taken: whatever else is there must be heard again.
        self.bell.ring();
        self.keep_open.extend(upward.keep_open);
        Some(match upward.turn {
            Turn::News(news) => Event::News(news),
            Turn::End(ending) => Event::Ended(ending),
        })
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
            Order::Start { fence } => {
                if let Err(exit) = self.start(fence) {
                    return Done::Then(Event::NotStarted(exit));
                }
            }
            Order::Signal(signal) => self.worker.signal(signal),
            Order::Stop => self.worker.stop(),
            Order::Kill => return Done::Then(Event::Killed(self.worker.kill_tree(KILL_WITHIN))),
            Order::StopToo(signal) => self.worker.job_stopped(signal),
            Order::CountLeftBehind => return Done::Then(Event::LeftBehind(self.worker.stragglers())),
            Order::Pause => self.session.give(SessionOrder::Pause),
            Order::Resume => self.session.give(SessionOrder::Resume),
            Order::Leave => {
                // There is nothing left to kill, however long the store takes to hear of it.
                self.deadline.close();
                self.session.give(SessionOrder::Leave);
            }
            Order::Say(saying) => self.console.say(saying),
            Order::Finish(verdict) => return Done::Finished(verdict),
        }
        Done::Nothing
    }

    fn start(&mut self, fence: Option<u64>) -> Result<(), Exit> {
        let mut env = self.plan.env.clone();
        env.push(("VAULTLOCK_FENCE".into(), fence.map(|fence| fence.to_string().into())));
        let command = Command {
            program: self.plan.program.clone(),
            args: self.plan.args.clone(),
            env,
            inherit: self.keep_open.clone(),
            isolate: self.plan.isolate,
        };
        self.worker.spawn(&command).map_err(|error| {
            let exit = exit_of(&error);
            self.console.error(&format!("{:#}", anyhow::Error::new(error)));
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

/// Turns the session until it ends. The deadline moves here, before anybody else hears of the renewal: a worker whose
/// main thread is busy must not lose its job for it.
fn heartbeat(mut session: Session, deadline: Deadline, news: Sender<Upward>, bell: Bell) -> io::Result<()> {
    let turn = move || {
        loop {
            let mut turn = session.turn();
            let mut keep_open = Vec::new();
            match &turn {
                Turn::News(News::Renewed { sent }) => deadline.renew(*sent),
                Turn::News(News::Granted { .. }) => match session.keep_open() {
                    Ok(descriptors) => keep_open = descriptors,
                    Err(error) => turn = Turn::End(Ending::Failed(error)),
                },
                _ => {}
            }
            let over = matches!(turn, Turn::End(_));
            // Nobody hears it only if the process is ending.
            let _ = news.send(Upward { turn, keep_open });
            bell.ring();
            if over {
                return;
            }
        }
    };
    thread::Builder::new().name("heartbeat".into()).stack_size(HEARTBEAT_STACK).spawn(turn).map(drop)
}
