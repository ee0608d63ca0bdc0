//! What lies beyond the promise that fences rise: a server that lost its memory has nothing but its clock to begin at, and
//! that clock was set.

use std::time::Duration;

use vaultlock::time::Tick;

use crate::log::{Fault, Kind, Whom};

/// From a grant to the first word of its job.
const START: Duration = Duration::from_secs(1);

/// When the server last lost its memory, and whether its clock was ever set.
#[derive(Default)]
pub struct Oblivion {
    memory_lost: Option<Tick>,
    clock_set: bool,
}

impl Oblivion {
    /// Takes note of a fault when it is announced, done, or undone.
    pub fn note(&mut self, fault: &Fault, at: Tick) {
        match (fault.kind, fault.whom) {
            (Kind::Wipe | Kind::Flush, Whom::Server) => self.memory_lost = Some(at),
            (Kind::Jump, Whom::Clock) => self.clock_set = true,
            _ => {}
        }
    }

    /// Whether the server may have forgotten a fence that a job had at this moment, and set its clock.
    pub fn excuses(&self, had: Tick) -> bool {
        self.clock_set && self.memory_lost.is_some_and(|lost| had <= lost + START)
    }
}
