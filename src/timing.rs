//! The ladder of deadlines between a renewal and the moment somebody else may be granted the lock.
//!
//! With T the ttl, s the send time of the last acknowledged beat, g the grace, k the time to kill and reap,
//! w the wake-up slack and rho the bound on how much two clocks' rates differ:
//!
//! ```text
//! stop at  s + T(1 - rho) - (g + k + w)    the stop signal; no job is started later than this
//! kill at  s + T(1 - rho) - (k + w)        SIGKILL
//! dead by  s + T(1 - rho)                  every process of the job is gone
//! granted  s + T(1 + rho) + delay          the earliest moment an observer calls the lease dead
//! ```

use std::time::Duration;

use thiserror::Error;

use crate::mutant::{self, Mutant};
use crate::time::Tick;

/// Two clocks may tick this much apart, in thousandths. NTP slews by 0.5 at the most: a margin of twenty.
const DRIFT_PER_MILLE: u32 = 10;

/// The shortest ttl: below it a kill (measured up to 28 ms under load) and a beat no longer fit with margin.
pub const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// The longest ttl anyone may ask of a store; longer ones make a crash stick for days.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);
/// The ttl, and a store's `max_ttl`, where nothing was said.
pub const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// From the stop signal to SIGKILL, where nothing was said and a quarter of the ttl allows it.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Time to kill and reap a tree, and to be woken up for it (k + w), unless a quarter of the ttl is less.
const KILL_AND_SLACK: Duration = Duration::from_secs(3);
/// Sweeping a tree took 28 ms on a machine with four busy loops on two cores; this is ten times that.
const LEAST_KILL_AND_SLACK: Duration = Duration::from_millis(250);
/// What an observer adds on top of the ttl before it calls a lease dead, unless a quarter of the ttl is less.
const DELAY: Duration = Duration::from_secs(1);
/// Beats per ttl: at the defaults three may be lost in a row before the job is stopped.
pub const BEATS_PER_TTL: u32 = 5;
/// The longest a request to the store may take; later than this it counts as unanswered.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(5);

/// A request gets this part of a ttl.
const REQUESTS_PER_TTL: u32 = 6;
/// The shortest time for one request where several locks share what there is.
const LEAST_REQUEST: Duration = Duration::from_millis(50);

/// One holder's numbers, checked against each other when they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long the lease outlives its last renewal.
    pub ttl: Duration,
    /// From the stop signal to SIGKILL.
    pub grace: Duration,
    /// From one beat to the next.
    pub beat: Duration,
    /// How long one request to the store may take.
    pub request: Duration,
    kill_and_slack: Duration,
}

/// Why a set of numbers can't keep the promise, and which of them to change.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TimingError {
    #[error("a ttl of {} is out of range: choose one from {} to {}", say(*.0), say(SHORTEST_TTL), say(LONGEST_TTL))]
    Ttl(Duration),
    #[error(
        "a ttl of {} is more than the store's max_ttl of {}: choose a shorter --ttl, or raise max_ttl in every user's store URL",
        say(*.ttl), say(*.max_ttl)
    )]
    BeyondMax { ttl: Duration, max_ttl: Duration },
    #[error(
        "--kill-after {} does not fit into a ttl of {}: it may be {} at most; choose a longer --ttl or a shorter --kill-after",
        say(*.grace), say(*.ttl), say(whole(*.most))
    )]
    Grace { grace: Duration, ttl: Duration, most: Duration },
    #[error(
        "the beats of {} locks do not fit into a ttl of {} with --kill-after {}: choose a longer --ttl or fewer locks",
        .locks, say(*.ttl), say(*.grace)
    )]
    Locks { locks: u32, ttl: Duration, grace: Duration },
}

impl Timing {
    /// Checks the ladder: with `grace` left out it is 5 s, or a quarter of the ttl where that is less.
    ///
    /// # Errors
    /// [`TimingError`] names the number that does not fit.
    pub fn new(ttl: Duration, grace: Option<Duration>, max_ttl: Duration) -> Result<Timing, TimingError> {
        if !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
            return Err(TimingError::Ttl(ttl));
        }
        if ttl > max_ttl {
            return Err(TimingError::BeyondMax { ttl, max_ttl });
        }
        let quarter = ttl / 4;
        let timing = Timing {
            ttl,
            grace: grace.unwrap_or(DEFAULT_GRACE.min(quarter)),
            beat: ttl / BEATS_PER_TTL,
            request: LONGEST_REQUEST.min(ttl / REQUESTS_PER_TTL),
            kill_and_slack: KILL_AND_SLACK.min(quarter).max(LEAST_KILL_AND_SLACK),
        };
        // One beat and one unanswered request must fit before the stop, or every hiccup would end the job.
        let most = shrink(ttl).saturating_sub(timing.kill_and_slack + timing.beat + timing.request);
        if timing.grace > most {
            return Err(TimingError::Grace { grace: timing.grace, ttl, most });
        }
        Ok(timing)
    }

    /// The same for so many locks, whose beats follow each other on one line: all of them may go unanswered once before the
    /// stop, so that the more there are, the less time each has.
    ///
    /// # Errors
    /// There are too many for the ttl.
    pub fn for_locks(self, locks: u32) -> Result<Timing, TimingError> {
        let start = Tick(0);
        let spare = (start + self.beat).until(self.stop_at(start));
        let request = self.request.min(spare / locks.max(1));
        if locks > 1 && request < LEAST_REQUEST {
            return Err(TimingError::Locks { locks, ttl: self.ttl, grace: self.grace });
        }
        Ok(Timing { request, ..self })
    }

    /// When the stop signal goes out if no beat sent after `sent` is acknowledged.
    pub fn stop_at(&self, sent: Tick) -> Tick {
        self.kill_at(sent) - self.grace
    }

    /// When SIGKILL goes out if no beat sent after `sent` is acknowledged.
    pub fn kill_at(&self, sent: Tick) -> Tick {
        let forgotten = if mutant::on(Mutant::NoGraceMargin) { self.grace } else { Duration::ZERO };
        self.dead_by(sent) - self.kill_and_slack + forgotten
    }

    /// When every process of the job is gone if no beat sent after `sent` is acknowledged.
    pub fn dead_by(&self, sent: Tick) -> Tick {
        sent + shrink(self.ttl)
    }
}

/// How long an observer must have seen a lease of `ttl` unrenewed, on its own clock, before it is dead.
pub fn lapse(ttl: Duration) -> Duration {
    ttl + drift(ttl) + DELAY.min(ttl / 4)
}

/// The shortest ttl that gives a request to the store this long.
pub fn shortest_for(request: Duration) -> Duration {
    request * REQUESTS_PER_TTL
}

fn shrink(ttl: Duration) -> Duration {
    ttl - drift(ttl)
}

fn drift(ttl: Duration) -> Duration {
    if mutant::on(Mutant::NoDriftMargin) { Duration::ZERO } else { ttl / 1000 * DRIFT_PER_MILLE }
}

/// Rounded down to what people write.
fn whole(span: Duration) -> Duration {
    Duration::from_millis(span.as_millis() as u64)
}

fn say(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}
