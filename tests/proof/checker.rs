//! The checker: reads what happened and says what of it must not have happened. No clock and no I/O in it.

#[path = "checker/oblivion.rs"]
mod oblivion;
#[path = "checker/recovery.rs"]
mod recovery;
#[path = "checker/run.rs"]
mod run;
#[path = "checker/verdict.rs"]
mod verdict;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use vaultlock::time::Tick;

use crate::log::{Asked, Event, Fault, Kind, Sign, What, Whom};
use oblivion::Oblivion;
use recovery::Trial;
use run::Run;
pub use verdict::{Rule, Verdict, Violation};

/// What must hold for this tool on this store.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Each grant has a higher number than the one before.
    pub fences: bool,
    /// A job whose worker is frozen or killed is dead when its lease has run out.
    pub deadline: bool,
    /// A dead holder's lock is free only when its lease has run out, as opposed to at once.
    pub leases: bool,
    /// After the faults are over each run is gone within this.
    pub calm: Duration,
    /// More time for a recovery, on a machine that is busy with other things.
    pub slack: Duration,
    /// A lock without faults for this long is taken for settled when a recovery is measured.
    pub settled: Duration,
}

impl Rules {
    /// vaultlock on the file store.
    pub fn file() -> Rules {
        Rules {
            fences: true,
            deadline: true,
            leases: false,
            calm: Duration::from_secs(60),
            slack: Duration::ZERO,
            settled: Duration::from_millis(500),
        }
    }

    /// vaultlock on a Redis store. A server that may have forgotten lets nobody in for a while.
    pub fn redis(max_ttl: Duration) -> Rules {
        Rules { leases: true, settled: max_ttl * 2, ..Rules::file() }
    }

    /// Another tool: no fences, and no deadline that we know.
    pub fn peer(leases: bool) -> Rules {
        Rules { fences: false, deadline: false, leases, ..Rules::file() }
    }

    /// How long after everything of a holder of this ttl is dead the next one may start.
    fn recovery(&self, ttl: Duration) -> Duration {
        let bound = match self.leases {
            true => ttl.mul_f64(1.01) + Duration::from_secs(2),
            false => Duration::from_millis(200),
        };
        bound + self.slack
    }
}

/// Checks a whole log.
pub fn check(rules: &Rules, events: &[Event]) -> Verdict {
    let mut checker = Checker::new(rules.clone());
    events.iter().for_each(|event| checker.see(event));
    checker.finish()
}

/// Sees one event after the other.
pub struct Checker {
    rules: Rules,
    runs: HashMap<u64, Run>,
    locks: BTreeMap<String, Lock>,
    /// Those that were not cured; of kills, those whose end is not yet seen.
    faults: HashMap<u64, Fault>,
    oblivion: Oblivion,
    last: Tick,
    calm: Option<Tick>,
    verdict: Verdict,
}

#[derive(Default)]
struct Lock {
    /// The last job that started.
    current: Option<u64>,
    /// The highest yet, and when a job first had it.
    fence: (u64, Tick),
    /// Runs that were asked for and have neither started nor ended.
    waiting: BTreeSet<u64>,
    /// When a fault was last done or undone that can concern it.
    troubled: Tick,
    trial: Option<Trial>,
    starts: u64,
    /// Somebody waited for it as long as it takes.
    patiently: bool,
    /// Somebody did so after the faults were over, and did or did not get it and end well.
    calmly: Option<bool>,
}

impl Checker {
    pub fn new(rules: Rules) -> Checker {
        Checker {
            rules,
            runs: HashMap::new(),
            locks: BTreeMap::new(),
            faults: HashMap::new(),
            oblivion: Oblivion::default(),
            last: Tick(0),
            calm: None,
            verdict: Verdict::default(),
        }
    }

    pub fn see(&mut self, event: &Event) {
        let at = event.at;
        self.last = self.last.max(at);
        match &event.what {
            What::Start(sign) => self.start(at, sign),
            What::Tick(sign) => self.life(at, sign),
            What::End(sign) => self.end(at, sign),
            What::Overlap(sign) => {
                self.life(at, sign);
                self.found(Rule::Presence, sign.job, at, || "another job's process lives beside it".to_owned());
            }
            What::Asked(asked) => self.asked(at, asked),
            What::Gone { job, code } => self.gone(at, *job, *code),
            What::Fault(fault) => self.fault(at, fault),
            What::Struck(number) => self.struck(at, *number),
            What::Cleared(number) => self.cleared(at, *number),
            What::Cure(number) => self.cure(at, *number),
            What::Calm => self.calm = Some(at),
        }
    }

    /// Whether two jobs were seen at once, or what leads to it.
    pub fn is_unsafe(&self) -> bool {
        self.verdict.violations.keys().any(|(rule, _)| rule.is_safety())
    }

    /// What was found until now, in a log that is not at its end.
    pub fn so_far(self) -> Verdict {
        self.verdict
    }

    /// The job that runs under this lock, as far as the log shows.
    pub fn holder(&self, lock: &str) -> Option<u64> {
        self.locks.get(lock)?.current.filter(|job| self.runs[job].runs())
    }

    /// The last job that started under this lock.
    pub fn last_started(&self, lock: &str) -> Option<u64> {
        self.locks.get(lock)?.current
    }

    /// The last word, when all has been seen.
    pub fn finish(mut self) -> Verdict {
        let stuck: Vec<u64> = self.runs.iter().filter(|(_, run)| run.gone.is_none()).map(|(job, _)| *job).collect();
        for job in stuck {
            let started = self.runs[&job].started.is_some();
            self.found(Rule::Stuck, job, self.last, || format!("its run never ended; its job started: {started}"));
        }
        let never = self.locks.iter().filter(|(_, lock)| (lock.patiently && lock.starts == 0) || lock.calmly == Some(false));
        for name in never.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let job = self.runs.iter().filter(|(_, run)| run.asked.lock == name).map(|(job, _)| *job).max().unwrap_or(0);
            self.found(Rule::NeverGranted, job, self.last, || format!("nobody is granted {name} and ends well"));
        }
        for name in self.locks.keys().cloned().collect::<Vec<_>>() {
            self.end_trial(&name, self.last);
        }
        self.verdict
    }

    fn asked(&mut self, at: Tick, asked: &Asked) {
        let lock = self.locks.entry(asked.lock.clone()).or_default();
        lock.waiting.insert(asked.job);
        lock.patiently |= asked.wait.is_none();
        self.verdict.runs += u64::from(asked.is_first());
        self.runs.insert(asked.job, Run::new(asked.clone(), at));
    }

    fn start(&mut self, at: Tick, sign: &Sign) {
        match self.runs.get_mut(&sign.job) {
            None => return self.found(Rule::Malformed, sign.job, at, || "nobody asked for it".to_owned()),
            Some(run) if run.started.is_some() => {
                return self.found(Rule::Malformed, sign.job, at, || "it started twice".to_owned());
            }
            Some(run) => {
                run.started = Some(at);
                self.verdict.jobs += u64::from(run.asked.is_first());
                self.verdict.of_several += u64::from(run.asked.run == Some(sign.job));
            }
        }
        let lock = self.locks.entry(sign.lock.clone()).or_default();
        lock.starts += 1;
        lock.waiting.remove(&sign.job);
        let before = lock.current.replace(sign.job);
        let (fence, had) = std::mem::replace(&mut lock.fence, (sign.fence, at));
        if self.rules.fences && sign.fence <= fence {
            if self.oblivion.excuses(had) {
                self.verdict.excused += 1;
            } else {
                lock.fence = (fence, had);
                self.found(Rule::Fence, sign.job, at, || format!("its fence {} is not above {fence}", sign.fence));
            }
        }
        if let Some(before) = before.and_then(|before| self.runs.get_mut(&before)) {
            before.next = Some((sign.job, at));
        }
        self.life(at, sign);
        self.recovered(&sign.lock, at);
    }

    /// Any sign of life.
    fn life(&mut self, at: Tick, sign: &Sign) {
        let Some(run) = self.runs.get(&sign.job) else { return };
        if run.started.is_none() {
            self.found(Rule::Malformed, sign.job, at, || "it lived before it started".to_owned());
            return;
        }
        let (next, late, gone) = (run.next, run.late(at), run.gone.filter(|_| !run.sentry_killed));
        if let Some((next, since)) = next {
            self.found(Rule::Outlived, sign.job, at, || format!("it lives beside job {next}, which came after it"));
            if let Some(violation) = self.verdict.violations.get_mut(&(Rule::Outlived, sign.job)) {
                (violation.first, violation.beside) = (since, Some(next));
            }
        }
        if self.rules.deadline
            && let Some(late) = late
        {
            self.found(Rule::Deadline, sign.job, at, || format!("it lives {late:?} longer than its lease allows"));
        }
        if gone.is_some() {
            self.found(Rule::AfterGone, sign.job, at, || "it lives although its run has ended".to_owned());
        }
    }

    fn end(&mut self, at: Tick, sign: &Sign) {
        self.life(at, sign);
        if let Some(run) = self.runs.get_mut(&sign.job) {
            run.ended = true;
        }
    }

    fn gone(&mut self, at: Tick, job: u64, code: i32) {
        let Some(run) = self.runs.get_mut(&job) else {
            return self.found(Rule::Malformed, job, at, || "nobody asked for the run that ended".to_owned());
        };
        run.gone = Some(at);
        *self.verdict.codes.entry(code).or_default() += u64::from(run.asked.is_first());
        let (asked, started, late) = (run.asked.clone(), run.started.is_some(), self.calm.map(|calm| at.since(calm)));
        let after_calm = self.calm.is_some_and(|calm| run.since >= calm);
        if !started {
            self.no_turn(&asked.lock, job);
        }
        if let Some(late) = late.filter(|late| *late > self.rules.calm) {
            self.found(Rule::Stuck, job, at, || format!("its run ended only {late:?} after the last fault"));
        }
        if asked.wait.is_none() && code == 75 {
            self.found(Rule::GaveUp, job, at, || "it was to wait for ever and ended as busy".to_owned());
        }
        if let Some(lock) = self.locks.get_mut(&asked.lock).filter(|_| asked.wait.is_none() && after_calm) {
            lock.calmly = Some(lock.calmly == Some(true) || (started && code == 0));
        }
        if run::is_a_failure_of_ours(code) {
            self.found(Rule::Exit, job, at, || format!("its run ended with {code}"));
        }
    }

    fn fault(&mut self, at: Tick, fault: &Fault) {
        *self.verdict.faults.entry((fault.kind, fault.whom)).or_default() += 1;
        self.oblivion.note(fault, at);
        let trial = self.try_recovery(at, fault);
        self.trouble(fault.lock.as_deref(), at);
        if let Some(lock) = fault.lock.as_ref().and_then(|lock| self.locks.get_mut(lock)) {
            lock.trial = trial;
        }
        for run in concerned(&mut self.runs, fault) {
            run.sentry_killed |= fault.kind == Kind::Kill && fault.whom.has_sentry();
            run.sentry_hit |= matches!(fault.kind, Kind::Kill | Kind::Freeze) && fault.whom.has_sentry();
        }
        self.faults.insert(fault.number, fault.clone());
    }

    fn struck(&mut self, at: Tick, number: u64) {
        let Some(fault) = self.faults.get(&number) else { return };
        self.oblivion.note(fault, at);
        concerned(&mut self.runs, fault).for_each(|run| run.cut_off(at, fault));
        // A killed process is not cured; who is to be cleared is remembered until then.
        if fault.kind == Kind::Kill && fault.whom != Whom::All && fault.whom != Whom::Server {
            self.faults.remove(&number);
        }
    }

    fn cure(&mut self, at: Tick, number: u64) {
        let Some(fault) = self.faults.remove(&number) else { return };
        self.oblivion.note(&fault, at);
        self.trouble(fault.lock.as_deref(), at);
        concerned(&mut self.runs, &fault).for_each(|run| run.back_again(at, &fault));
    }

    /// Notes it once for each rule and job; what is found again only lasts longer.
    fn found(&mut self, rule: Rule, job: u64, at: Tick, say: impl FnOnce() -> String) {
        let known = self.verdict.violations.entry((rule, job));
        let violation = known.or_insert_with(|| Violation { first: at, last: at, beside: None, text: say() });
        violation.last = at;
    }
}

/// The runs that a fault hits: all, where it is one of the server.
fn concerned<'a>(runs: &'a mut HashMap<u64, Run>, fault: &Fault) -> impl Iterator<Item = &'a mut Run> {
    let (job, all) = (fault.job, fault.whom.is_everyones());
    runs.values_mut().filter(move |run| all || job.is_some_and(|job| run.asked.run.unwrap_or(run.asked.job) == job))
}
