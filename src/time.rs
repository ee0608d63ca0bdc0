//! Lease time: a point on a clock that nobody can set, as plain numbers.
//!
//! Every rule is told the time as a [`Tick`]; only the outsides read a [`Clock`]. Rust's `Instant` is
//! CLOCK_MONOTONIC, which stands still while the host is suspended: a lease timed on it outlives itself.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The clock on which a store's leases are timed (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Counts suspend: for stores on other hosts, where time goes on while this one sleeps.
    Boottime,
    /// Stands still in suspend: for the file store, where everybody sleeps together.
    Monotonic,
}

impl Clock {
    /// The clock's number for timerfd, timer_create and clock_gettime.
    pub fn id(self) -> ClockId {
        match self {
            Clock::Boottime => ClockId::CLOCK_BOOTTIME,
            Clock::Monotonic => ClockId::CLOCK_MONOTONIC,
        }
    }

    /// The time now.
    ///
    /// # Panics
    /// If the kernel has no such clock, which no supported kernel does (BOOTTIME: Linux 2.6.39).
    pub fn now(self) -> Tick {
        let now = clock_gettime(self.id()).expect("the kernel has CLOCK_BOOTTIME and CLOCK_MONOTONIC");
        Tick(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
    }
}

/// A point in time in nanoseconds on one [`Clock`]; zero is the host's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// Later than everything: a wait without an end.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long until `later`; zero if it is past.
    pub fn until(self, later: Tick) -> Duration {
        later.since(self)
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    /// Saturates at [`Tick::NEVER`].
    fn add(self, span: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Tick {
    type Output = Tick;

    /// Saturates at zero.
    fn sub(self, span: Duration) -> Tick {
        Tick(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Milliseconds since 1970 in UTC: for people, for ages and as a fence's floor. Nothing safe hangs on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Wall(pub u64);

impl Wall {
    /// This host's wall clock; zero if it stands before 1970.
    pub fn now() -> Wall {
        Wall(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis() as u64))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC, to the millisecond.
    pub fn rfc3339(self) -> String {
        // humantime panics past the year 9999.
        let shown = UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_000));
        humantime::format_rfc3339_millis(shown).to_string()
    }
}
