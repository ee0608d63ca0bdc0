//! One `vaultlock run`: the real claim, guard and ladder in simulated processes that can stop and die.

use std::time::Duration;

use vaultlock::job::Ladder;
use vaultlock::ledger::codec::FMT;
use vaultlock::ledger::{Id, Level, Mode, Policy, Ticket, Watched, Who};
use vaultlock::run::guard::Guard;
use vaultlock::run::orders::{Event as Heard, IfUnavailable, Stragglers};
use vaultlock::session::words::Request;
use vaultlock::session::{Bundle, Claim};
use vaultlock::store::Kind;
use vaultlock::time::{Clock, Tick, Wall};
use vaultlock::timing::Timing;

use crate::event::{ToJob, ToSentry, ToWorker, What};
use crate::host::{MS, Time};
use crate::nest::Nest;
use crate::outside::Outside;
use crate::server::lock_name;

/// Locks that are held around somebody.
pub type Chain = Vec<(usize, Level)>;

pub struct Caller {
    pub number: usize,
    pub host: usize,
    /// In the order in which it takes them.
    pub locks: Vec<usize>,
    pub timing: Timing,
    pub(super) ladder: Ladder,
    pub bundle: Bundle,
    pub(super) guard: Guard,
    pub worker: Process,
    pub sentry: Process,
    /// What came while the host stood still.
    missed: Vec<What>,
    pub line: Line,
    pub(super) asking: Option<(u64, Tick, Wall)>,
    pub(super) requests: u64,
    /// Made, but not yet on its way.
    pub(super) request: Option<Request>,
    pub(super) woken: bool,
    pub(super) leave: bool,
    pub(super) session_over: bool,
    /// The numbers of the last settings of the timers: an older one is no more.
    pub(super) turn: u64,
    pub(super) watch: u64,
    pub(super) look: u64,
    pub(super) timer: u64,
    /// The page that sentry and worker share.
    pub(super) armed: Option<Tick>,
    pub(super) closed: bool,
    pub(super) killing: bool,
    pub(super) stop_sent: bool,
    pub(super) ended_well: bool,
    /// The main thread is busy starting the job: what it hears meanwhile.
    pub(super) launching: Option<Vec<Heard>>,
    pub job: Option<Job>,
    /// When its job was started.
    pub launched: Time,
    /// When something last touched it that its place in the queue or its lease may have suffered from.
    pub disturbed: Time,
    /// When its host last went on after standing still.
    pub(super) thawed: Time,
    /// When it first asked for each of its tickets.
    pub joined: Vec<(Id, Time)>,
    /// When a wake for it was last lost, which may cost time but no more than until its next beat.
    pub wake_lost: Time,
    /// An operator is after it.
    pub broken: bool,
    pub nest: Nest,
    pub gone: bool,
}

#[derive(Default)]
pub struct Process {
    pub dead: bool,
    pub stopped: bool,
    missed: Vec<What>,
}

pub struct Job {
    pub obeys: bool,
    /// It has left processes in the background, which do not die with the worker: the sentry must end them.
    pub daemons: bool,
    /// It has been told to end, or SIGKILL is on its way.
    pub doomed: bool,
}

/// What the network between a caller and the server does.
#[derive(Clone, Copy, Default)]
pub struct Line {
    pub up_cut: bool,
    pub down_cut: bool,
}

impl Caller {
    pub fn begin(number: usize, host: usize, nest: Nest, out: &mut Outside) -> Caller {
        let scenario = &out.scenario;
        let (liveness, max_ttl) = (scenario.liveness, scenario.max_ttl);
        let ttl = scenario.ttls[out.rng.usize(0..scenario.ttls.len())];
        let locks = nest.asks.map_or_else(|| choose_locks(out), |lock| vec![lock]);
        let timing = Timing::new(ttl, None, max_ttl).and_then(|timing| timing.for_locks(locks.len() as u32));
        let timing = timing.expect("the default grace fits every ttl, and so do two locks");
        let kind = Kind { engine: "simulated", clock: Clock::Boottime, liveness };
        let now = out.tick(host);
        let patience = match out.rng.u32(0..10) {
            0..7 => Tick::NEVER,
            7..9 => now + Duration::from_nanos(out.rng.u64(0..ttl.as_nanos() as u64 * 3)),
            _ => now,
        };
        let mut claims = Vec::new();
        let mut around: Vec<Level> = nest.around.iter().map(|(_, level)| level.clone()).collect();
        for lock in &locks {
            let note = out.hosts[host].notes[*lock].clone();
            let watched = if kind.knows_the_dead() { Watched::default() } else { Watched::from_rows(note.seen, now) };
            let ticket = Ticket { chain: around.clone(), ..ticket(number, ttl, out) };
            around.push(Level { lock: lock_name(*lock), session: ticket.id.session() });
            claims.push(Claim::new(ticket, timing, kind, patience, note.fence, watched));
        }
        Caller {
            number,
            host,
            locks,
            timing,
            ladder: Ladder { clock: Clock::Boottime, timing },
            bundle: Bundle::new(claims),
            guard: Guard::new(timing, Stragglers::Leave, IfUnavailable::Fail, 75),
            worker: Process::default(),
            sentry: Process::default(),
            missed: Vec::new(),
            line: Line::default(),
            asking: None,
            requests: 0,
            request: None,
            woken: false,
            leave: false,
            session_over: false,
            turn: 0,
            watch: 0,
            look: 0,
            timer: 0,
            armed: None,
            closed: false,
            killing: false,
            stop_sent: false,
            ended_well: false,
            launching: None,
            job: None,
            launched: 0,
            disturbed: 0,
            thawed: 0,
            joined: Vec::new(),
            wake_lost: 0,
            broken: false,
            nest,
            gone: false,
        }
    }

    pub fn is_of(&self, id: &Id) -> bool {
        !self.gone && self.bundle.claims().iter().any(|claim| claim.ticket().id == *id)
    }

    /// When it first asked for this ticket.
    pub fn joined(&self, id: &Id) -> Option<Time> {
        self.joined.iter().find(|(ticket, _)| ticket == id).map(|(_, at)| *at)
    }

    /// Its place in the queue or its lease may suffer until then.
    pub fn disturb(&mut self, until: Time) {
        self.disturbed = self.disturbed.max(until);
    }

    /// Something happens to one of its processes, now or once it can.
    pub fn meet(&mut self, what: What, out: &mut Outside) {
        if out.hosts[self.host].frozen {
            return self.missed.push(what);
        }
        match what {
            What::Worker(_) if self.worker.dead => {}
            What::Worker(_) if self.worker.stopped => self.worker.missed.push(what),
            What::Worker(to) => self.work(to, out),
            What::Sentry(_) if self.sentry.dead => {}
            What::Sentry(_) if self.sentry.stopped => self.sentry.missed.push(what),
            What::Sentry(ToSentry::Look(number)) if number != self.look => {}
            What::Sentry(ToSentry::Look(_)) => self.look_at_deadline(out),
            What::Sentry(ToSentry::WorkerDied) => self.worker_ended(out),
            What::KernelTimer(number) if number == self.timer => self.kill_worker(out),
            What::KernelTimer(_) => {}
            What::Job(ToJob::Ends | ToJob::Dies) => self.job_ends(out),
        }
        self.check_gone(out);
    }

    fn work(&mut self, to: ToWorker, out: &mut Outside) {
        match to {
            ToWorker::Turn(number) if number == self.turn && self.asking.is_none() => {
                let now = out.tick(self.host);
                self.bundle.woken(now);
                self.turn(out);
            }
            ToWorker::Turn(_) => {}
            ToWorker::Send(number) => self.send(number, out),
            ToWorker::Answer(number, answer) => self.answer(number, *answer, out),
            ToWorker::TimeOut(number) => self.answer(number, Err("no answer in time".to_owned()), out),
            ToWorker::Woken(id) => self.hear_wake(&id, out),
            ToWorker::Watch(number) if number == self.watch => self.hear(Heard::Time, out),
            ToWorker::Watch(_) => {}
            ToWorker::Launch(fences) => self.launch(&fences, out),
            ToWorker::JobEnded => self.hear(Heard::Job(vaultlock::job::Event::Ended(vaultlock::job::End::Code(0))), out),
            ToWorker::Killed => self.hear(Heard::Killed(Ok(())), out),
            ToWorker::SentryDied => self.hear(Heard::Job(vaultlock::job::Event::SentryDied), out),
            ToWorker::Signal(signal) => self.hear(Heard::Job(vaultlock::job::Event::Signal(signal)), out),
        }
    }

    /// SIGKILL to the worker: the kernel takes the job with it, and the sentry hears of it.
    pub fn kill_worker(&mut self, out: &mut Outside) {
        if self.worker.dead {
            return;
        }
        out.note(self.number, "the worker is killed", 0);
        self.worker.dead = true;
        let (death, notice) = (out.span(MS / 10, 2 * MS), out.span(MS / 20, MS));
        let left_to_sentry = self.job.as_ref().is_some_and(|job| job.daemons) && !self.sentry.dead && !self.sentry.stopped;
        if !left_to_sentry {
            self.doom_job(death, out);
        }
        out.tell(notice, self.number, What::Sentry(ToSentry::WorkerDied));
        self.check_gone(out);
    }

    /// SIGKILL to the sentry: the worker hears of it.
    pub fn kill_sentry(&mut self, out: &mut Outside) {
        if self.sentry.dead {
            return;
        }
        out.note(self.number, "the sentry is killed", 0);
        self.sentry.dead = true;
        let notice = out.span(MS / 20, MS);
        out.tell(notice, self.number, What::Worker(ToWorker::SentryDied));
        self.check_gone(out);
    }

    pub(super) fn doom_job(&mut self, death: Time, out: &mut Outside) {
        if let Some(job) = &mut self.job {
            job.doomed = true;
            out.tell(death, self.number, What::Job(ToJob::Dies));
        }
    }

    pub fn continue_worker(&mut self, out: &mut Outside) {
        self.worker.stopped = false;
        for what in std::mem::take(&mut self.worker.missed) {
            self.meet(what, out);
        }
    }

    pub fn continue_sentry(&mut self, out: &mut Outside) {
        self.sentry.stopped = false;
        for what in std::mem::take(&mut self.sentry.missed) {
            self.meet(what, out);
        }
    }

    /// Its host stands still, or goes on: then the kernel's timers come before any process runs.
    pub fn host_froze(&mut self, frozen: bool, out: &mut Outside) {
        for lock in &self.locks {
            out.judge.froze(out.now, *lock, self.number, frozen);
        }
        if frozen {
            return;
        }
        self.thawed = out.now;
        self.disturb(out.now);
        let (timers, others): (Vec<What>, Vec<What>) =
            std::mem::take(&mut self.missed).into_iter().partition(|what| matches!(what, What::KernelTimer(_)));
        for what in timers.into_iter().chain(others) {
            self.meet(what, out);
        }
    }

    /// Its host lost power.
    pub fn power_fails(&mut self, out: &mut Outside) {
        (self.worker.dead, self.sentry.dead) = (true, true);
        self.missed.clear();
        self.job_ends(out);
        self.check_gone(out);
    }

    pub(super) fn check_gone(&mut self, out: &mut Outside) {
        if !self.gone && self.worker.dead && self.sentry.dead && self.job.is_none() {
            self.gone = true;
            out.note(self.number, "gone", 0);
        }
    }
}

/// In the order in which they are taken.
fn choose_locks(out: &mut Outside) -> Vec<usize> {
    let one = out.rng.usize(0..out.scenario.locks);
    if out.scenario.locks > 1 && out.chance(400) { (0..out.scenario.locks).collect() } else { vec![one] }
}

fn ticket(number: usize, ttl: Duration, out: &mut Outside) -> Ticket {
    let mut random = [0; 16];
    random[..8].copy_from_slice(&out.rng.u64(..).to_be_bytes());
    random[8..].copy_from_slice(&(number as u64).to_be_bytes());
    let mut ticket = Ticket {
        fmt: FMT,
        id: Id::from_random(random),
        mode: Mode::Exclusive,
        slots: out.scenario.slots,
        priority: 0,
        lead_ms: 0,
        policy: Policy::default(),
        ttl_ms: ttl.as_millis() as u64,
        who: Who { label: format!("caller {number}"), host: "simulated".to_owned(), pid: number as u32 },
        limit_ms: None,
        chain: Vec::new(),
    };
    if let Some(mix) = out.scenario.mix.clone() {
        mix.give(&mut ticket, &mut out.rng);
    }
    ticket
}
