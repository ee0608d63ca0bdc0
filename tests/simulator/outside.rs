//! What all callers of a world share: time, chance, the hosts, the queue of events, the witness, and the trace.

use std::hash::{DefaultHasher, Hasher};

use fastrand::Rng;
use vaultlock::time::{Tick, Wall};

use crate::event::{Event, Queue, What};
use crate::host::{Host, MS, SECOND, Time};
use crate::judge::Judge;
use crate::scenario::Scenario;

pub struct Outside {
    pub now: Time,
    pub rng: Rng,
    pub queue: Queue,
    pub hosts: Vec<Host>,
    pub server_clock: Host,
    pub judge: Judge,
    pub scenario: Scenario,
    pub trace: Trace,
}

impl Outside {
    pub fn after(&mut self, span: Time, event: Event) {
        self.queue.put(self.now + span, event);
    }

    pub fn tell(&mut self, span: Time, caller: usize, what: What) {
        self.after(span, Event::To { caller, what });
    }

    pub fn tell_at(&mut self, at: Time, caller: usize, what: What) {
        self.queue.put(at.max(self.now), Event::To { caller, what });
    }

    pub fn tick(&self, host: usize) -> Tick {
        self.hosts[host].tick(self.now)
    }

    pub fn wall(&self, host: usize) -> Wall {
        self.hosts[host].wall(self.now)
    }

    /// Whether something of so many in a thousand happens.
    pub fn chance(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.rng.u32(0..1000) < of_thousand
    }

    /// A time between these two.
    pub fn span(&mut self, least: Time, most: Time) -> Time {
        self.rng.u64(least..=most.max(least))
    }

    pub fn note(&mut self, who: usize, what: &str, number: u64) {
        self.trace.note(self.now, who, what, number);
    }
}

/// Everything that happened, digested; and said, when one world is looked at.
pub struct Trace {
    digest: DefaultHasher,
    pub said: bool,
}

impl Trace {
    pub fn new(said: bool) -> Trace {
        Trace { digest: DefaultHasher::new(), said }
    }

    fn note(&mut self, now: Time, who: usize, what: &str, number: u64) {
        self.digest.write_u64(now);
        self.digest.write_usize(who);
        self.digest.write(what.as_bytes());
        self.digest.write_u64(number);
        if self.said {
            println!("{:>6}.{:06} s  {who:>3}  {what} {number}", now / SECOND, now % SECOND / (MS / 1000));
        }
    }

    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}
