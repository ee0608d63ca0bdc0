//! The witness who sees everything: what each lock's jobs really did, in true time, and what must never be.

use vaultlock::ledger::Id;

use crate::host::{MS, SECOND, Time};
use crate::rules::{Rights, together};

/// What a host that stood still past a deadline may let a job do before the kernel's timer has ended it.
const AWAKE: Time = 50 * MS;

/// What went wrong first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    Overlap,
    Fence,
    SelfService,
    Late,
    Order,
    Vacancy,
    Rate,
    Rest,
    Ring,
    Break,
    Stuck,
}

pub struct Judge {
    pub found: Vec<(Time, Wrong, String)>,
    pub jobs: u64,
    pub faults: u64,
    /// Runs that gave up for the sake of a ring of nested ones.
    pub rings: u64,
    /// When a job last took the run inside it along.
    pub taken_along: Option<Time>,
    /// Fences that fell because a server lost its memory *and* had its clock set back: beyond the promise.
    pub excused: u64,
    several: bool,
    locks: Vec<Track>,
    memory_lost: bool,
    clock_set_back: bool,
    /// The longest a job was awake beside another on a host that had stood still.
    pub awake_overlap: Time,
}

#[derive(Clone, Default)]
struct Track {
    running: Vec<Running>,
    fence: u64,
    vacancy: Option<Vacancy>,
}

#[derive(Clone)]
struct Running {
    caller: usize,
    rights: Rights,
    frozen: bool,
    thawed: Time,
    /// Since when it has been awake beside another job.
    beside: Option<Time>,
}

/// A lock that somebody gave back, and who was waiting then.
#[derive(Clone)]
pub struct Vacancy {
    pub since: Time,
    /// Who gave it back, and wakes the next.
    pub by: usize,
    pub queue: Vec<Id>,
}

/// Whether those that started after it may not be beside a job.
fn is_overtaken(running: &[Running], at: usize) -> bool {
    !together(&running[at..].iter().map(|job| job.rights).collect::<Vec<_>>())
}

impl Judge {
    pub fn new(locks: usize, several: bool) -> Judge {
        Judge {
            found: Vec::new(),
            jobs: 0,
            faults: 0,
            rings: 0,
            taken_along: None,
            excused: 0,
            memory_lost: false,
            clock_set_back: false,
            several,
            locks: vec![Track::default(); locks],
            awake_overlap: 0,
        }
    }

    pub fn accuse(&mut self, now: Time, wrong: Wrong, what: String) {
        self.found.push((now, wrong, what));
    }

    pub fn started(&mut self, now: Time, lock: usize, (caller, rights): (usize, Rights), fence: u64) {
        let running = &mut self.locks[lock].running;
        running.push(Running { caller, rights, frozen: false, thawed: 0, beside: None });
        let count = running.len();
        let mut steady = vec![(caller, rights)];
        for at in (0..count - 1).filter(|at| !running[*at].frozen).collect::<Vec<_>>() {
            if running[at].thawed == 0 || now >= running[at].thawed + AWAKE {
                steady.push((running[at].caller, running[at].rights));
            } else if is_overtaken(running, at) {
                running[at].beside.get_or_insert(now);
            }
        }
        let all: Vec<Rights> = steady.iter().map(|(_, rights)| *rights).collect();
        if !together(&all) {
            let others: Vec<usize> = steady[1..].iter().map(|(caller, _)| *caller).collect();
            self.accuse(now, Wrong::Overlap, format!("the job of caller {caller} starts while that of caller {others:?} lives"));
        }
        // Of several holders one may start before another that entered before it: there the entries are looked at.
        if !self.several {
            self.rises(now, lock, fence);
        }
    }

    /// A claim has entered, which may be long before its job starts.
    pub fn granted(&mut self, now: Time, lock: usize, fence: u64) {
        if self.several {
            self.rises(now, lock, fence);
        }
    }

    fn rises(&mut self, now: Time, lock: usize, fence: u64) {
        let track = &mut self.locks[lock];
        let last = track.fence;
        let excused = self.clock_set_back && self.memory_lost;
        if fence > last || excused {
            track.fence = fence;
        }
        if fence <= last && excused {
            self.excused += 1;
        } else if fence <= last {
            self.accuse(now, Wrong::Fence, format!("fence {fence} comes after {last}"));
        }
    }

    pub fn ended(&mut self, now: Time, lock: usize, caller: usize) {
        let running = &mut self.locks[lock].running;
        let Some(at) = running.iter().position(|job| job.caller == caller) else { return };
        let ended = running.remove(at);
        let mut beside: Vec<(usize, Time)> = ended.beside.map(|since| (caller, since)).into_iter().collect();
        // With one job less another that was too many may be so no longer.
        for at in 0..running.len() {
            if !is_overtaken(running, at) {
                let job = &mut running[at];
                beside.extend(job.beside.take().map(|since| (job.caller, since)));
            }
        }
        for (caller, since) in beside {
            self.awake_overlap = self.awake_overlap.max(now - since);
            if now - since > AWAKE {
                let what = format!("the job of caller {caller}, thawed, lived for {} ms beside another", (now - since) / MS);
                self.accuse(now, Wrong::Overlap, what);
            }
        }
    }

    /// The host of a caller's job stands still, or goes on.
    pub fn froze(&mut self, now: Time, lock: usize, caller: usize, frozen: bool) {
        let running = &mut self.locks[lock].running;
        // In the order of their starts: only who was overtaken while it stood still is beside another.
        let Some(at) = running.iter().position(|job| job.caller == caller) else { return };
        let overtaken = is_overtaken(running, at);
        (running[at].frozen, running[at].thawed) = (frozen, now);
        running[at].beside = (overtaken && !frozen).then_some(now);
    }

    pub fn clock_set_back(&mut self) {
        self.clock_set_back = true;
    }

    pub fn memory_lost(&mut self) {
        self.memory_lost = true;
    }

    pub fn memory_was_lost(&self) -> bool {
        self.memory_lost
    }

    /// Its holder has given the lock back, to these waiters.
    pub fn vacated(&mut self, now: Time, lock: usize, by: usize, queue: Vec<Id>) {
        self.locks[lock].vacancy = Some(Vacancy { since: now, by, queue });
    }

    /// Somebody has entered: the vacancy is over, and this was it.
    pub fn entered(&mut self, lock: usize) -> Option<Vacancy> {
        self.locks[lock].vacancy.take()
    }

    pub fn verdict(&self) -> Option<String> {
        let (at, wrong, what) = self.found.iter().min_by_key(|(at, wrong, _)| (*at, *wrong))?;
        Some(format!("{wrong:?} at {}.{:03} s: {what}", at / SECOND, at % SECOND / MS))
    }
}
