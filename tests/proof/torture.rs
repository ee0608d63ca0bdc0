//! The torture: callers who keep starting runs, a driver that does faults to all of it, and the checker's word at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use vaultlock::duration;
use vaultlock::time::Clock;

use crate::caller::{Caller, Crowd, MARK};
use crate::checker::{Rules, Verdict};
use crate::dice::Dice;
use crate::driver::Driver;
use crate::engine::{Engine, Scope, Store};
use crate::job::log_path;
use crate::log::Log;
use crate::support::running::end_marked;
use crate::tail::Tail;

/// Kills, freezes, cuts off and restarts everything around real jobs under real locks.
#[derive(Clone, Debug, Parser)]
#[command(name = "torture")]
pub struct Options {
    /// All, one after the other, where none is named
    #[arg(long, value_enum)]
    pub store: Option<Store>,
    /// How long faults are done
    #[arg(long = "for", value_name = "DUR", value_parser = duration::parse, default_value = "60s")]
    pub span: Duration,
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub callers: usize,
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub locks: usize,
    /// Repeats the choices of an earlier torture
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Faults a second
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    pub rate: f64,
    /// The vaultlock to torture
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_vaultlock"))]
    pub binary: PathBuf,
    /// Where log, file store and what the runs said are kept; otherwise they are kept only after a violation
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Do these faults alone, as "kill both,freeze worker"
    #[arg(long, value_name = "FAULTS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// More time for recoveries, on a machine that is busy with other things
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "0")]
    pub slack: Duration,
    /// End at the first violation of a safety rule
    #[arg(long)]
    pub impatient: bool,
    #[arg(skip = Scope::Everything)]
    pub scope: Scope,
}

impl Options {
    /// As one test among others, which may run at the same time.
    pub fn brief() -> Options {
        Options::parse_from(["torture", "--for=20s", "--callers=24", "--locks=8", "--rate=25", "--slack=3s"])
    }

    /// Whether this fault is to be done, as "kill both".
    pub fn wants(&self, fault: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == fault)
    }
}

/// `proof torture`.
pub fn main(words: &[String]) -> ExitCode {
    let options = Options::parse_from([&["torture".to_owned()], words].concat());
    let stores = options.store.map_or(Store::value_variants().to_vec(), |store| vec![store]);
    let verdicts: io::Result<Vec<Verdict>> = stores.into_iter().map(|store| torture(&options, store)).collect();
    match verdicts {
        Ok(verdicts) if verdicts.iter().all(Verdict::is_good) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::from(125)
        }
    }
}

/// Tortures one store, and says what came of it.
///
/// # Errors
/// The torture itself could not be carried out.
pub fn torture(options: &Options, store: Store) -> io::Result<Verdict> {
    let seed = options.seed.unwrap_or_else(|| Clock::Boottime.now().0 % 1_000_000_000);
    let temporary = tempfile::Builder::new().prefix("vaultlock-proof-").tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&dir)?;
    let name = store.told();
    println!("{name}, {:?}, {} callers, {} locks, seed {seed}: ...", options.span, options.callers, options.locks);
    let verdict = run(options, store, seed, &dir)?;
    println!("{name}, seed {seed}: {verdict}");
    if !verdict.is_good() && !store.is_a_peers() {
        print!("{}", verdict.told());
        let kept = if options.dir.is_some() { dir } else { temporary.keep() };
        println!("log, and what the runs said: {}", kept.display());
    }
    Ok(verdict)
}

/// One torture, with all that it leaves in this folder.
pub fn run(options: &Options, store: Store, seed: u64, dir: &Path) -> io::Result<Verdict> {
    let log = Log::open(&log_path(dir))?;
    let engine = Engine::new(store, options, dir);
    let rules = Rules { slack: options.slack, ..engine.rules() };
    let tail = Tail::of(&log_path(dir), rules)?;
    let mark = Mark::new(seed);
    let crowd = Arc::new(Crowd::new(log, dir.to_owned(), mark.0.clone()));
    let caller = |number: usize| Caller {
        number,
        tool: engine.tool(number, &options.binary),
        url: engine.url(number),
        scope: options.scope,
        locks: options.locks,
        ttls: engine.ttls(),
        dice: Dice::new(seed, number as u64 + 1),
    };
    let living: Vec<_> =
        (0..options.callers).map(|number| spawn(&crowd, caller(number), |caller, crowd| caller.live(crowd))).collect();
    let calm: Vec<Caller> = (0..options.locks).map(caller).collect();
    let mut driver = Driver::new(&crowd, engine, tail, Dice::new(seed, 0), options.callers, options.rate, options.locks);
    (driver.impatient, driver.only) = (options.impatient, options.only.clone());
    driver.drive(Clock::Boottime.now() + options.span)?;
    crowd.stop.store(true, Ordering::Relaxed);
    if options.impatient && driver.tail.checker.is_unsafe() {
        return Ok(driver.tail.checker.so_far());
    }
    let patience = driver.engine.rules().calm + Duration::from_secs(10);
    join(&crowd, &mut driver.tail, living, patience)?;
    let calm = calm
        .into_iter()
        .enumerate()
        .map(|(lock, caller)| spawn(&crowd, caller, move |caller, crowd| caller.run_patiently(crowd, lock)));
    join(&crowd, &mut driver.tail, calm.collect(), patience)?;
    driver.tail.finish()
}

type Living = thread::JoinHandle<io::Result<()>>;

fn spawn(
    crowd: &Arc<Crowd>,
    mut caller: Caller,
    live: impl FnOnce(&mut Caller, &Crowd) -> io::Result<()> + Send + 'static,
) -> Living {
    let crowd = Arc::clone(crowd);
    thread::spawn(move || live(&mut caller, &crowd))
}

/// Waits for the callers. Whose run is stuck is left to the checker.
fn join(crowd: &Crowd, tail: &mut Tail, callers: Vec<Living>, patience: Duration) -> io::Result<()> {
    let end = Clock::Boottime.now() + patience;
    while callers.iter().any(|caller| !caller.is_finished()) && Clock::Boottime.now() < end {
        tail.catch_up()?;
        thread::sleep(Duration::from_millis(10));
    }
    for caller in callers.into_iter().filter(Living::is_finished) {
        caller.join().map_err(|_| io::Error::other("a caller panicked"))??;
    }
    crowd.runs().iter().for_each(|run| println!("stuck: job {} under {}", run.asked.job, run.asked.lock));
    Ok(())
}

/// Ends all processes of a torture, however it ends.
struct Mark(String);

impl Mark {
    fn new(seed: u64) -> Mark {
        Mark(format!("{}-{seed}", std::process::id()))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        end_marked(&format!("{MARK}={}", self.0));
    }
}
