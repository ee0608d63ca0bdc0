//! A host's clocks, and whether it stands still.

use std::time::Duration;

use fastrand::Rng;
use vaultlock::ledger::watched::Row;
use vaultlock::time::{Tick, Wall};

/// True time: nanoseconds since the world began.
pub type Time = u64;

/// No two clocks of a world tick further apart than 1 %.
const MOST_DRIFT_PPM: i64 = 4_900;
/// 2026-11-01.
const WORLD_BEGINS_MS: u64 = 1_793_491_200_000;

pub struct Host {
    booted: u64,
    drift_ppm: i64,
    wall_error_ms: i64,
    /// While it stands still nothing on it happens, not even a kernel timer; its clocks go on.
    pub frozen: bool,
    /// What it remembers of each lock across processes.
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug, Default)]
pub struct Note {
    pub fence: u64,
    pub seen: Vec<Row>,
}

impl Host {
    pub fn draw(rng: &mut Rng, wild_clocks: bool, locks: usize) -> Host {
        let mut host = Host {
            booted: rng.u64(1_000_000_000..1_000_000_000_000_000),
            drift_ppm: rng.i64(-MOST_DRIFT_PPM..=MOST_DRIFT_PPM),
            wall_error_ms: rng.i64(-200..200),
            frozen: false,
            notes: vec![Note::default(); locks],
        };
        if wild_clocks && rng.bool() {
            host.jump(rng);
        }
        host
    }

    /// CLOCK_BOOTTIME.
    pub fn tick(&self, now: Time) -> Tick {
        let drift = i128::from(now) * i128::from(self.drift_ppm) / 1_000_000;
        Tick(self.booted + (i128::from(now) + drift) as u64)
    }

    /// The first true time at which this host's clock shows `tick`.
    pub fn when(&self, tick: Tick) -> Time {
        let elapsed = i128::from(tick.0.saturating_sub(self.booted));
        (elapsed * 1_000_000 / i128::from(1_000_000 + self.drift_ppm)) as u64 + 2
    }

    pub fn wall(&self, now: Time) -> Wall {
        let shown = (WORLD_BEGINS_MS + now / 1_000_000) as i64 + self.wall_error_ms;
        Wall(shown as u64)
    }

    /// By how many milliseconds the wall clock is wrong.
    pub fn wrong_by(&self) -> i64 {
        self.wall_error_ms
    }

    /// Somebody sets the wall clock: wrong by up to five minutes, or right.
    pub fn jump(&mut self, rng: &mut Rng) {
        self.wall_error_ms = if rng.bool() { rng.i64(-300_000..=300_000) } else { 0 };
    }
}

pub fn nanos(span: Duration) -> Time {
    span.as_nanos() as u64
}

pub const MS: Time = 1_000_000;
pub const SECOND: Time = 1_000 * MS;
