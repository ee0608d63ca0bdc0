//! Runs inside runs: a job that asks for another lock and ends when that run does. So runs can wait for each other in a ring,
//! which must be found, and nobody may say that there is one where there is none.

use vaultlock::ledger::Level;
use vaultlock::timing;

use crate::caller::{Caller, Chain};
use crate::event::{Event, ToJob, What};
use crate::host::{MS, SECOND, Time, nanos};
use crate::judge::Wrong;
use crate::outside::Outside;
use crate::server::lock_name;
use crate::world::World;

/// Inside so many runs at the most.
const DEEPEST: usize = 3;

/// What surrounds a run: nothing, or the job of another.
#[derive(Default)]
pub struct Nest {
    pub outer: Option<usize>,
    /// The lock that job asks for.
    pub asks: Option<usize>,
    /// The run that its own job asked for.
    pub inner: Option<usize>,
    /// What the jobs around it hold, the outermost first.
    pub around: Chain,
    /// Since when it has been waiting in a ring, and when it was last seen there.
    ring: Option<(Time, Time)>,
}

impl Caller {
    /// Whether its job asks for a lock that none of those around it holds, and will end with that run.
    pub(super) fn asks_inside(&mut self, out: &mut Outside) -> bool {
        let around = self.nest.around.iter().map(|(lock, _)| *lock).chain(self.locks.iter().copied());
        let held: Vec<usize> = around.collect();
        let free: Vec<usize> = (0..out.scenario.locks).filter(|lock| !held.contains(lock)).collect();
        if free.is_empty() || held.len() >= DEEPEST || !out.chance(out.scenario.nested) {
            return false;
        }
        let lock = free[out.rng.usize(0..free.len())];
        let soon = out.span(MS, 100 * MS);
        out.after(soon, Event::Nest { outer: self.number, lock });
        true
    }

    /// What a run inside its job is told of it.
    fn around_its_job(&self) -> Chain {
        let own = self.locks.iter().zip(self.bundle.claims());
        let own = own.map(|(lock, claim)| (*lock, Level { lock: lock_name(*lock), session: claim.ticket().id.session() }));
        self.nest.around.iter().cloned().chain(own).collect()
    }

    /// It says that it waits in a ring.
    pub(super) fn gives_up_for_a_ring(&self, out: &mut Outside) {
        out.judge.rings += 1;
        // In a storm what was seen of the dead and the late may look like one, and so may those whom a broken job took along.
        let stormy = out.scenario.fault_every.is_some() || out.scenario.lost > 0 || out.scenario.late > 0;
        let bereaved = out.judge.taken_along.is_some_and(|at| out.now < at + 2 * nanos(timing::lapse(out.scenario.max_ttl)));
        if stormy || bereaved {
            return;
        }
        let seen = self.nest.ring.is_some_and(|(_, last)| out.now < last + nanos(self.timing.beat) + SECOND);
        if !seen {
            let what = format!("caller {} ends for the sake of a ring that is not there", self.number);
            out.judge.accuse(out.now, Wrong::Ring, what);
        }
    }
}

impl World {
    pub fn begin_inside(&mut self, outer: usize, lock: usize) {
        let host = self.callers[outer].host;
        if self.callers[outer].gone || self.callers[outer].job.is_none() {
            return;
        }
        let nest = Nest { outer: Some(outer), asks: Some(lock), around: self.callers[outer].around_its_job(), ..Nest::default() };
        self.callers[outer].nest.inner = Some(self.callers.len());
        self.begin(host, nest);
    }

    /// A job takes the run inside it along; a run that is gone lets the job around it go on, to its end.
    pub fn settle_nest(&mut self, caller: usize) {
        let (gone, job) = (self.callers[caller].gone, self.callers[caller].job.is_some());
        if !job && let Some(inner) = self.callers[caller].nest.inner.take() {
            self.out.judge.taken_along = Some(self.out.now);
            self.with(inner, |inner, out| inner.power_fails(out));
        }
        if gone && let Some(outer) = self.callers[caller].nest.outer.take() {
            let rest = self.out.span(MS, nanos(self.out.scenario.longest_job) / 8);
            self.callers[outer].nest.inner = None;
            self.out.tell(rest, outer, What::Job(ToJob::Ends));
        }
    }

    /// Whoever is in a ring is out of it within a bound, unless something disturbs those in it.
    pub fn look_for_rings(&mut self, caller: usize) {
        let now = self.out.now;
        let Some(ring) = self.ring(caller) else {
            self.callers[caller].nest.ring = self.callers[caller].nest.ring.map(|(_, last)| (Time::MAX, last));
            return;
        };
        let since = self.callers[caller].nest.ring.map_or(now, |(since, _)| since.min(now));
        self.callers[caller].nest.ring = Some((since, now));
        let disturbed = ring.iter().map(|member| self.callers[*member].disturbed).chain([self.server.disturbed]).max();
        let longest = ring.iter().map(|member| nanos(self.callers[*member].timing.ttl)).max().unwrap_or(0);
        let since = since.max(disturbed.unwrap_or(0).saturating_add(longest / 2));
        let bound = longest + 2 * SECOND;
        if now > since.saturating_add(bound) {
            let what = format!("callers {ring:?} have waited for each other for {} ms", (now - since) / MS);
            self.out.judge.accuse(now, Wrong::Ring, what);
        }
    }

    /// The waiters of the ring that this one is part of.
    fn ring(&mut self, caller: usize) -> Option<Vec<usize>> {
        let mut ring = vec![caller];
        loop {
            let holder = self.holder_before(*ring.last()?)?;
            let next = self.innermost(holder);
            if next == caller {
                return Some(ring);
            }
            if ring.contains(&next) {
                return None;
            }
            ring.push(next);
        }
    }

    /// Who holds the lock that this one stands in the queue of.
    fn holder_before(&mut self, waiter: usize) -> Option<usize> {
        let caller = &self.callers[waiter];
        let tickets: Vec<_> =
            caller.locks.iter().zip(caller.bundle.claims()).map(|(lock, claim)| (*lock, claim.ticket().id.clone())).collect();
        let (lock, _) = tickets.into_iter().find(|(lock, id)| self.server.waits(*lock, id, &self.out))?;
        let holder = self.server.holder(lock)?;
        self.callers.iter().position(|caller| caller.is_of(&holder))
    }

    /// The run that this one's end hangs on: itself, or the one inside its job, and so on.
    fn innermost(&self, caller: usize) -> usize {
        let mut at = caller;
        while let Some(inner) = self.callers[at].nest.inner {
            at = inner;
        }
        at
    }
}
