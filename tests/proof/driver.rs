//! The driver: does faults at random moments and undoes them, and between storms measures how soon a lock recovers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::{self, SIGCONT, SIGKILL, SIGSTOP};
use vaultlock::time::{Clock, Tick};

use crate::caller::{Crowd, Run, lock_name};
use crate::deeds::Deed;
use crate::dice::Dice;
use crate::engine::Engine;
use crate::log::{Fault, Kind, What, Whom};
use crate::process::{Family, Process};
use crate::tail::Tail;
use crate::trial::Trials;

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(4);
/// The server is hit at most so often: each time it may have forgotten, and lets nobody in for a while.
const SERVER_RESTS: Duration = Duration::from_secs(4);

pub struct Driver<'a> {
    pub crowd: &'a Arc<Crowd>,
    pub engine: Engine,
    pub tail: Tail,
    pub dice: Dice,
    pub callers: usize,
    /// Faults a second.
    pub rate: f64,
    pub trials: Trials,
    /// One violation of a safety rule is enough.
    pub impatient: bool,
    /// These faults alone, as `kill both`; all where there is none.
    pub only: Vec<String>,
    number: u64,
    open: Vec<Open>,
    server_rested: Tick,
}

/// A fault to be undone.
struct Open {
    number: u64,
    until: Tick,
    deed: Deed,
    caller: usize,
    /// `None` where it disturbs all.
    lock: Option<String>,
    frozen: Vec<Arc<Process>>,
}

impl<'a> Driver<'a> {
    pub fn new(
        crowd: &'a Arc<Crowd>,
        engine: Engine,
        tail: Tail,
        dice: Dice,
        callers: usize,
        rate: f64,
        locks: usize,
    ) -> Driver<'a> {
        let trials = Trials::new(locks, engine.rules().settled);
        let (number, open, server_rested) = (0, Vec::new(), Tick(0));
        Driver {
            crowd,
            engine,
            tail,
            dice,
            callers,
            rate,
            trials,
            impatient: false,
            only: Vec::new(),
            number,
            open,
            server_rested,
        }
    }

    /// Until then, or until the crowd is stopped, or impatience; leaves no fault behind.
    pub fn drive(&mut self, until: Tick) -> io::Result<()> {
        let mut next = now();
        while now() < until && !self.crowd.stop.load(Ordering::Relaxed) && !(self.impatient && self.tail.checker.is_unsafe()) {
            self.tail.catch_up()?;
            self.measure()?;
            self.mend(now())?;
            if now() >= next {
                self.disturb()?;
                next = now() + self.dice.span(Duration::from_millis(200), Duration::from_millis(3200)).div_f64(self.rate);
            }
            thread::sleep(LOOK);
        }
        self.mend(Tick::NEVER)?;
        self.engine.settle();
        self.crowd.log.write(What::Calm)
    }

    /// Undoes what is due, and what would disturb a trial.
    fn mend(&mut self, due: Tick) -> io::Result<()> {
        let disturbs = |open: &Open| open.lock.as_ref().map_or(self.trials.are_on(), |lock| self.trials.spare(lock));
        let (over, open): (Vec<Open>, Vec<Open>) =
            std::mem::take(&mut self.open).into_iter().partition(|open| open.until <= due || disturbs(open));
        self.open = open;
        for open in over {
            self.crowd.log.write(What::Cure(open.number))?;
            send_all(&open.frozen, SIGCONT);
            self.engine.mend(open.deed, open.caller);
            if open.deed.whom.is_everyones() {
                self.server_rested = now() + SERVER_RESTS;
            }
        }
        Ok(())
    }

    /// Some fault, or none where the dice chose one that can't be done now.
    fn disturb(&mut self) -> io::Result<()> {
        let mut all = self.engine.deeds();
        all.retain(|deed| self.only.is_empty() || self.only.contains(&format!("{} {}", deed.kind, deed.whom)));
        if all.is_empty() {
            return Err(io::Error::other(format!("there are no such faults here: {:?}", self.only)));
        }
        let deed = *self.dice.weighed(&all, |deed| deed.weight);
        match deed.whom {
            Whom::Server | Whom::Pooler | Whom::Line | Whom::Clock | Whom::Callers | Whom::Disk => self.strike_store(deed),
            _ => self.strike_run(deed),
        }
    }

    fn strike_store(&mut self, deed: Deed) -> io::Result<()> {
        let caller = self.dice.below(self.callers);
        let busy = |open: &Open| open.deed.whom == deed.whom && (deed.whom != Whom::Line || open.caller == caller);
        let rests = deed.whom.is_everyones() && now() < self.server_rested;
        if self.trials.are_on() || rests || self.open.iter().any(busy) {
            return Ok(());
        }
        let job = self.crowd.runs().iter().find(|run| deed.whom == Whom::Line && run.caller == caller).map(|run| run.asked.job);
        let number = self.announce(deed, None, job, &[])?;
        self.engine.strike(deed, caller, &mut self.dice);
        self.crowd.log.write(What::Struck(number))?;
        self.keep(number, deed, caller, None, Vec::new());
        Ok(())
    }

    fn strike_run(&mut self, deed: Deed) -> io::Result<()> {
        let holders = matches!(deed.whom, Whom::Job | Whom::All) || self.dice.percent(65);
        let mut among = self.crowd.runs();
        among.retain(|run| !self.is_on_trial(run) && self.may_be_hit(run, deed) && (!holders || self.holds(run)));
        if among.is_empty() {
            return Ok(());
        }
        let run = Arc::clone(self.dice.one_of(&among));
        self.strike_this(deed, &run).map(drop)
    }

    /// Where a run has several locks, a fault of it is one of them all.
    fn is_on_trial(&self, run: &Run) -> bool {
        run.lock().map_or(self.trials.are_on(), |lock| self.trials.spare(&lock))
    }

    fn holds(&self, run: &Run) -> bool {
        self.tail.checker.holder(&run.asked.lock) == Some(run.asked.job)
    }

    /// Where leases run out, daemons outside a namespace must keep one of the two that can end them.
    fn may_be_hit(&self, run: &Run, deed: Deed) -> bool {
        let guarded = run.asked.loose && self.engine.has_leases() && deed.whom != Whom::Job;
        !guarded || (matches!(deed.whom, Whom::Sentry | Whom::Worker) && !run.hit.load(Ordering::Relaxed))
    }

    /// False if the run was not complete enough for this.
    fn strike_this(&mut self, deed: Deed, run: &Run) -> io::Result<bool> {
        let family = if self.engine.is_vaultlocks() { Family::of(&run.first) } else { Family::of_client(&run.first) };
        let Some(processes) = family.take(deed.whom) else { return Ok(false) };
        run.hit.fetch_or(deed.whom != Whom::Job, Ordering::Relaxed);
        let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
        let number = self.announce(deed, run.lock(), Some(run.asked.job), &pids)?;
        send_all(&processes, if deed.kind == Kind::Kill { SIGKILL } else { SIGSTOP });
        self.crowd.log.write(What::Struck(number))?;
        match (deed.kind, deed.whom) {
            (Kind::Kill, Whom::All) => self.watch_the_end(number, processes),
            (Kind::Kill, _) => {}
            _ => self.keep(number, deed, run.caller, run.lock(), processes),
        }
        Ok(true)
    }

    fn announce(&mut self, deed: Deed, lock: Option<String>, job: Option<u64>, pids: &[i32]) -> io::Result<u64> {
        self.number += 1;
        let fault = Fault { number: self.number, kind: deed.kind, whom: deed.whom, lock, job, pids: pids.to_vec() };
        self.crowd.log.write(What::Fault(fault))?;
        Ok(self.number)
    }

    /// To be undone when its time has come; what needs no undoing is cured at the next look.
    fn keep(&mut self, number: u64, deed: Deed, caller: usize, lock: Option<String>, frozen: Vec<Arc<Process>>) {
        let span = deed.span.map(|(from, to)| self.dice.span(Duration::from_millis(from), Duration::from_millis(to)));
        self.open.push(Open { number, until: now() + span.unwrap_or_default(), deed, caller, lock, frozen });
    }

    fn watch_the_end(&self, number: u64, processes: Vec<Arc<Process>>) {
        let crowd = Arc::clone(self.crowd);
        thread::spawn(move || {
            processes.iter().for_each(|process| process.await_end());
            crowd.log.write(What::Cleared(number)).expect("the log can be written");
        });
    }

    /// Kills the holders of the locks on trial, each once its lock has settled.
    fn measure(&mut self) -> io::Result<()> {
        for lock in self.trials.turn(now()) {
            let holder = self.tail.checker.holder(&lock_name(lock)).and_then(|job| self.crowd.run(job));
            let Some(run) = holder.filter(|run| !run.asked.loose) else { continue };
            let deed = Deed { kind: Kind::Kill, whom: Whom::All, weight: 0, span: None };
            if self.tail.checker.is_measurable(now(), &run.asked) && self.strike_this(deed, &run)? {
                self.trials.struck(lock, run.asked.job, now());
            }
        }
        let checker = &self.tail.checker;
        self.trials.settle(now(), |lock, job| checker.last_started(&lock_name(lock)) != Some(job));
        Ok(())
    }
}

fn send_all(processes: &[Arc<Process>], signal: Signal) {
    processes.iter().for_each(|process| process.send(signal));
}

fn now() -> Tick {
    Clock::Boottime.now()
}
