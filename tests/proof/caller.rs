//! The callers: each starts one run after the other, with options of all sorts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::dice::Dice;
use crate::engine::Scope;
use crate::job::{Manner, Order};
use crate::log::{Asked, Log, What};
use crate::process::Process;
use crate::support::signals;
use crate::tool::Tool;

/// All runs of a proof have this in their environment.
pub const MARK: &str = "PROOF_MARK";
const TRIES: u32 = 10;

/// What all callers share.
pub struct Crowd {
    pub log: Log,
    pub dir: PathBuf,
    pub mark: String,
    /// Nobody starts another run.
    pub stop: AtomicBool,
    next_job: AtomicU64,
    runs: Mutex<BTreeMap<u64, Arc<Run>>>,
}

/// A run that was started and has not ended.
pub struct Run {
    /// For the first of its locks.
    pub asked: Asked,
    pub caller: usize,
    /// The process that was started.
    pub first: Arc<Process>,
    /// Sentry or worker were killed or frozen once.
    pub hit: AtomicBool,
}

/// One caller's own.
pub struct Caller {
    pub number: usize,
    pub tool: Tool,
    pub url: String,
    pub scope: Scope,
    pub locks: usize,
    pub ttls: &'static [u64],
    pub dice: Dice,
}

/// What a run is told.
struct Terms {
    /// For each lock, in the order in which they are taken.
    asked: Vec<Asked>,
    options: Vec<String>,
    order: Order,
}

impl Run {
    /// Its one lock, if it has no others.
    pub fn lock(&self) -> Option<String> {
        self.asked.run.is_none().then(|| self.asked.lock.clone())
    }
}

impl Crowd {
    pub fn new(log: Log, dir: PathBuf, mark: String) -> Crowd {
        let (stop, next_job, runs) = (AtomicBool::new(false), AtomicU64::new(1), Mutex::default());
        Crowd { log, dir, mark, stop, next_job, runs }
    }

    /// Those that have not ended.
    pub fn runs(&self) -> Vec<Arc<Run>> {
        self.runs.lock().unwrap().values().cloned().collect()
    }

    pub fn run(&self, job: u64) -> Option<Arc<Run>> {
        self.runs.lock().unwrap().get(&job).cloned()
    }
}

pub fn lock_name(number: usize) -> String {
    format!("lock-{number}")
}

impl Caller {
    /// One run after the other, until the crowd is stopped.
    pub fn live(&mut self, crowd: &Crowd) -> io::Result<()> {
        while !crowd.stop.load(Ordering::Relaxed) {
            let terms = self.choose(crowd);
            let _code = self.run(crowd, terms)?;
            thread::sleep(self.dice.span(Duration::from_millis(2), Duration::from_millis(100)));
        }
        Ok(())
    }

    /// A short job under this lock, however long it takes. When all is well one try in a few must do, even where the
    /// machine is so busy that no answer comes in time.
    pub fn run_patiently(&mut self, crowd: &Crowd, lock: usize) -> io::Result<()> {
        for _ in 0..TRIES {
            let terms = self.terms(crowd, &[lock], Manner::Plain, Duration::from_millis(5), None);
            if self.run(crowd, terms)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn choose(&mut self, crowd: &Crowd) -> Terms {
        // A crowd before one lock, a few before each, and some who come and go.
        let lock = match self.number % 6 {
            5 => 0,
            _ if self.dice.percent(10) => self.dice.below(self.locks),
            _ => self.number % self.locks,
        };
        if self.scope == Scope::Common {
            // As many shorter than a lease as longer, and nothing that outlives its leader: no two tools agree on that.
            let manner = *self.dice.one_of(&[Manner::Plain, Manner::Stubborn, Manner::Forks]);
            let span = self.dice.span(Duration::from_millis(400), Duration::from_millis(6000));
            return self.terms(crowd, &[lock], manner, span, None);
        }
        let manner = *self.dice.one_of(&Manner::ALL);
        let (from, to) = *self.dice.weighed(&[(1, 30), (30, 400), (400, 4000)], |(from, _)| if *from == 400 { 1 } else { 4 });
        let span = self.dice.span(Duration::from_millis(from), Duration::from_millis(to));
        let wait = match self.dice.below(10) {
            0 => Some(Duration::ZERO),
            1 | 2 => Some(self.dice.span(Duration::from_millis(50), Duration::from_secs(3))),
            _ => None,
        };
        let mut locks = vec![lock];
        if self.number % 6 == 3 && self.locks > 1 && self.dice.percent(50) {
            locks.push((lock + 1 + self.dice.below(self.locks - 1)) % self.locks);
        }
        let mut terms = self.terms(crowd, &locks, manner, span, wait);
        if self.dice.percent(40) {
            // Up to the longest that fits into the ladder.
            let grace = terms.asked[0].ttl.mul_f64(*self.dice.one_of(&[0.0, 0.1, 0.37, 0.37]));
            terms.options.push(format!("--kill-after={}ms", grace.as_millis()));
        }
        if self.dice.percent(20) {
            terms.options.extend(["--signal", *self.dice.one_of(&["INT", "HUP", "USR1", "KILL"])].map(str::to_owned));
        }
        terms
    }

    fn terms(&mut self, crowd: &Crowd, locks: &[usize], manner: Manner, span: Duration, wait: Option<Duration>) -> Terms {
        let mut locks: Vec<String> = locks.iter().copied().map(lock_name).collect();
        locks.sort();
        let job = crowd.next_job.fetch_add(locks.len() as u64, Ordering::Relaxed);
        let ttl = *self.dice.one_of(self.ttls);
        let everything = self.scope == Scope::Everything;
        let isolated = everything && self.dice.percent(if manner.leaves_some() { 60 } else { 15 });
        let stragglers = match manner {
            Manner::Plain | Manner::Stubborn => *self.dice.one_of(&["leave", "wait", "kill"]),
            _ if manner.ends() => *self.dice.one_of(&["wait", "kill"]),
            _ => "kill",
        };
        let mut options = Vec::new();
        options.extend(everything.then(|| format!("--stragglers={stragglers}")));
        options.extend(isolated.then(|| "--isolate".to_owned()));
        options.extend(wait.map(|wait| if wait.is_zero() { "-n".to_owned() } else { format!("-w{}ms", wait.as_millis()) }));
        let loose = manner.leaves_some() && !isolated;
        let (run, ttl) = ((locks.len() > 1).then_some(job), Duration::from_millis(ttl));
        let order = Order { dir: crowd.dir.clone(), lock: locks.join(","), job, manner, span };
        let asked = locks.into_iter().zip(job..).map(|(lock, job)| Asked { lock, job, ttl, wait, loose, run });
        Terms { asked: asked.collect(), options, order }
    }

    /// Returns the code it ended with.
    fn run(&self, crowd: &Crowd, terms: Terms) -> io::Result<i32> {
        let job = terms.order.job;
        terms.asked.iter().try_for_each(|asked| crowd.log.write(What::Asked(asked.clone())))?;
        let mut child = self.start(crowd, &terms)?;
        let first = Process::open(child.id() as i32).ok_or_else(|| io::Error::other("a run that vanished"))?;
        let run = Run { asked: terms.asked[0].clone(), caller: self.number, first: Arc::new(first), hit: AtomicBool::new(false) };
        crowd.runs.lock().unwrap().insert(job, Arc::new(run));
        let status = child.wait()?;
        crowd.runs.lock().unwrap().remove(&job);
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
        terms.asked.iter().try_for_each(|asked| crowd.log.write(What::Gone { job: asked.job, code }))?;
        Ok(code)
    }

    fn start(&self, crowd: &Crowd, terms: &Terms) -> io::Result<Child> {
        let mut said = self.said(crowd)?;
        let Terms { asked, options, order } = terms;
        // Typed in another order than that in which they are taken.
        let locks: Vec<String> = asked.iter().rev().map(|asked| asked.lock.clone()).collect();
        let mut command = self.tool.command(&self.url, &locks, asked[0].ttl, options);
        command.arg(std::env::current_exe()?).args(order.words());
        let shown: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        writeln!(said, "== job {}: {}", order.job, shown.join(" "))?;
        signals::heed(&mut command);
        command.env(MARK, &crowd.mark).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).process_group(0).spawn()
    }

    /// Where its runs say what they say.
    fn said(&self, crowd: &Crowd) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(crowd.dir.join(format!("said-{}", self.number)))
    }
}
