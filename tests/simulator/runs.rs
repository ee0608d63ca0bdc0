//! Many worlds: seeds in a row on all cores, one world replayed, and each mutant hunted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::MS;
use crate::world::{self, Outcome};

/// Worlds that once found something. What they found is fixed; they must stay without fault.
pub const KEPT: &[(u64, &str)] = &[
    (10, "a wiped store began again below the leap of the life before"),
    (7, "a holder that carried its holding into a new life took the sign away that its end was lost"),
];

/// What came of many seeds.
#[derive(Default)]
pub struct Sum {
    pub seeds: u64,
    jobs: u64,
    faults: u64,
    excused: u64,
    awake: u64,
    pub bad: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.jobs += outcome.jobs;
        self.faults += outcome.faults;
        self.excused += outcome.excused;
        self.awake = self.awake.max(outcome.awake_overlap);
        if let Some((_, what)) = outcome.wrong {
            println!("seed {}: {what}", outcome.seed);
            self.bad.push((outcome.seed, what));
        }
    }

    pub fn print(&self, took: Duration) {
        println!(
            "simulator: {} seeds in {:.1} s: {} jobs, {} faults, {} seeds with a violation; longest life beside another after \
             a whole host stood still: {} ms; fences that fell on a server that lost its memory and had its clock set back: {}",
            self.seeds,
            took.as_secs_f64(),
            self.jobs,
            self.faults,
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
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let outcome = world::run(seed, false);
                    sum.lock().expect("no thread panics while it adds").add(outcome);
                }
            });
        }
    });
    sum.into_inner().expect("all threads are done")
}

/// Runs each of these seeds twice and says which did not come out the same, to the last event.
pub fn replayed(from: u64, count: u64) -> Vec<u64> {
    let digest = |seed| world::run(seed, false).digest;
    (from..from + count).filter(|seed| digest(*seed) != digest(*seed)).collect()
}

/// For each mutant the first seed that shows it; false if one survives.
#[cfg(feature = "mutants")]
pub fn hunt(most: u64) -> bool {
    use vaultlock::mutant::{Mutant, choose};

    let mut all_caught = true;
    for mutant in Mutant::ALL.iter().copied().filter(|mutant| is_simulated(*mutant)) {
        let start = Instant::now();
        choose(Some(mutant));
        let caught = (0..most).map(|seed| world::run(seed, false)).find_map(|outcome| Some((outcome.seed, outcome.wrong?)));
        choose(None);
        let took = start.elapsed().as_secs_f64();
        match &caught {
            Some((seed, (_, what))) => println!("mutant {}: caught by seed {seed} ({took:.1} s): {what}", mutant.word()),
            None => println!("mutant {}: SURVIVES {most} seeds ({took:.1} s): {}", mutant.word(), mutant.what().trim()),
        }
        all_caught &= caught.is_some();
    }
    all_caught
}

/// Whether a mutant is wrong in what is simulated. The others are wrong with real processes and files: see tests/proof.
#[cfg(feature = "mutants")]
fn is_simulated(mutant: vaultlock::mutant::Mutant) -> bool {
    use vaultlock::mutant::Mutant::{NoInheritedTicket, NoParentDeath, NoSubreaper};

    ![NoParentDeath, NoSubreaper, NoInheritedTicket].contains(&mutant)
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
