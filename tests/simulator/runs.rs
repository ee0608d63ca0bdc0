//! Many worlds: seeds in a row on all cores, one world replayed, and each mutant hunted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::MS;
use crate::world::{self, Outcome};

/// Worlds that once found something. What they found is fixed; they must stay without fault.
pub const KEPT: &[(u64, &str)] = &[
    (970, "a release from before a flush came late and fitted the ledger after it"),
    (1014, "a claim that never heard of its entry carried it into a new life, past another that had come and gone"),
    (6904, "who gave the lock back died before it could wake the next, and a newcomer passed that one"),
];

/// What came of many seeds.
#[derive(Default)]
pub struct Sum {
    pub seeds: u64,
    jobs: u64,
    faults: u64,
    rings: u64,
    excused: u64,
    awake: u64,
    pub bad: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.jobs += outcome.jobs;
        self.faults += outcome.faults;
        self.rings += outcome.rings;
        self.excused += outcome.excused;
        self.awake = self.awake.max(outcome.awake_overlap);
        if let Some((_, what)) = outcome.wrong {
            println!("seed {}: {what}", outcome.seed);
            self.bad.push((outcome.seed, what));
        }
    }

    pub fn print(&self, took: Duration) {
        println!(
            "simulator: {} seeds in {:.1} s: {} jobs, {} faults, {} rings of nested runs, {} seeds with a violation; longest life beside another after \
             a whole host stood still: {} ms; fences that fell on a server that lost its memory and had its clock set back: {}",
            self.seeds,
            took.as_secs_f64(),
            self.jobs,
            self.faults,
            self.rings,
            self.bad.len(),
            self.awake / MS,
            self.excused
        );
        if self.bad.is_empty() && self.seeds > 0 {
            println!("simulator: 0 in {} is below 3/{} = {:.1e} at 95 %", self.seeds, self.seeds, 3.0 / self.seeds as f64);
        }
    }
}

/// Runs these seeds on all cores.
pub fn many(from: u64, count: u64) -> Sum {
    let sum = Mutex::new(Sum::default());
    on_all_cores(from, count, |outcome| {
        sum.lock().expect("no thread panics while it adds").add(outcome);
        true
    });
    sum.into_inner().expect("all threads are done")
}

/// Hands over what comes of these seeds, more or less in order, until `go_on` says no.
fn on_all_cores(from: u64, count: u64, go_on: impl Fn(Outcome) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    if !go_on(world::run(seed, false)) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// Runs each of these seeds twice and says which did not come out the same, to the last event.
pub fn replayed(from: u64, count: u64) -> Vec<u64> {
    let digest = |seed| world::run(seed, false).digest;
    (from..from + count).filter(|seed| digest(*seed) != digest(*seed)).collect()
}

/// For each mutant the first seed that shows it; false if one survives.
#[cfg(feature = "mutants")]
pub fn hunt(wanted: &[String], most: u64) -> bool {
    use vaultlock::mutant::{Mutant, choose};

    let mut all_caught = true;
    let is_wanted = |mutant: &Mutant| wanted.is_empty() || wanted.iter().any(|word| word == mutant.word());
    for mutant in Mutant::ALL.iter().copied().filter(|mutant| is_simulated(*mutant)).filter(is_wanted) {
        let start = Instant::now();
        choose(Some(mutant));
        let first = Mutex::new(None);
        on_all_cores(0, most, |outcome| {
            let found = outcome.wrong.map(|(_, what)| (outcome.seed, what));
            let mut first = first.lock().expect("no thread panics while it looks");
            *first = first.take().into_iter().chain(found).min();
            first.is_none()
        });
        choose(None);
        let caught = first.into_inner().expect("all threads are done");
        let took = start.elapsed().as_secs_f64();
        match &caught {
            Some((seed, what)) => println!("mutant {}: caught by seed {seed} ({took:.1} s): {what}", mutant.word()),
            None => println!("mutant {}: SURVIVES {most} seeds ({took:.1} s): {}", mutant.word(), mutant.what().trim()),
        }
        all_caught &= caught.is_some();
    }
    all_caught
}

/// Whether a mutant is wrong in what is simulated, and not so rarely that it takes a written scenario (tests/prove names it).
/// The others are wrong with real processes and files: see tests/proof.
#[cfg(feature = "mutants")]
fn is_simulated(mutant: vaultlock::mutant::Mutant) -> bool {
    use vaultlock::mutant::Mutant::{AdoptUnheard, NoInheritedTicket, NoParentDeath, NoSubreaper, RetryRenews};

    ![NoParentDeath, NoSubreaper, NoInheritedTicket, AdoptUnheard, RetryRenews].contains(&mutant)
}

/// What `cargo test` runs: the kept worlds, some fresh ones, and the proof that a seed replays.
pub fn brief(seeds: u64, replays: u64) -> bool {
    let start = Instant::now();
    let mut good = true;
    for (seed, what) in KEPT {
        if let Some((_, wrong)) = world::run(*seed, false).wrong {
            println!("kept seed {seed} ({what}): {wrong}");
            good = false;
        }
    }
    let sum = many(0, seeds);
    let differ = replayed(0, replays);
    println!("simulator: {replays} seeds replayed, {} came out differently {differ:?}", differ.len());
    sum.print(start.elapsed());
    good && sum.bad.is_empty() && differ.is_empty()
}
