//! The fencing number: strictly rising for each grant of a lock, on every store, also across a wiped one.

use std::time::Duration;

use crate::mutant::{self, Mutant};
use crate::time::Wall;

/// Numbers stay below 2^53, so that every language reads them exactly.
pub const LIMIT: u64 = 1 << 53;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Clocks that people call right differ by less.
pub(super) const FAR_BEHIND: Duration = Duration::from_secs(3600);
const TEN_YEARS_MS: u64 = 3653 * DAY_MS;

/// The number of the next grant. The counter alone would start again in a store that was wiped, so it never falls
/// below the clock (`floor`) nor below what this host remembers; and where grants may have been lost it leaps a day, past
/// what a clock that ran ahead can have granted. Each loss leaps from the clock, not from the last leap: leaps do not add up.
pub fn next(last: u64, floor: Wall, remembered: u64, may_have_lost: bool) -> u64 {
    if mutant::on(Mutant::NoFenceFloor) {
        return last + 1;
    }
    (last + 1).max(floor.0.saturating_add(leap(may_have_lost))).max(remembered + 1)
}

pub(super) fn leap(may_have_lost: bool) -> u64 {
    if may_have_lost { DAY_MS } else { 0 }
}

/// The clock that a fence never falls below: the store's, for it is one clock where the hosts have many. Only if it is far
/// behind mine it has been set wrong.
pub fn floor(store: Wall, mine: Wall) -> Wall {
    if mine.since(store) > FAR_BEHIND { mine } else { store }
}

/// Could this number have been granted by `now`? A counter that ran ten years ahead is a forgery or damage.
pub fn plausible(fence: u64, now: Wall) -> bool {
    fence < LIMIT && fence <= most(now)
}

pub(super) fn most(now: Wall) -> u64 {
    now.0.max(Wall::now_floor()).saturating_add(TEN_YEARS_MS)
}

impl Wall {
    /// No clock of ours stands before this program was written (2026-01-01): a host that starts in 1970 must not
    /// find every honest ledger implausible.
    fn now_floor() -> u64 {
        1_767_225_600_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_rises_whatever_was_lost() {
        let day = DAY_MS;
        for (last, floor, remembered, new_life, next_is) in [
            (0, 1_000_000, 0, false, 1_000_000),
            (2_000_000, 1_000_000, 0, false, 2_000_001),
            (0, 1_000_000, 5_000_000, false, 5_000_001),
            (0, 1_000_000, 0, true, 1_000_000 + day),
            (9 * day, 1_000_000, 0, true, 9 * day + 1),
        ] {
            assert_eq!(next(last, Wall(floor), remembered, new_life), next_is);
        }
    }

    #[test]
    fn a_fence_years_ahead_is_not_believed() {
        let now = Wall(1_800_000_000_000);
        assert!(plausible(now.0 + DAY_MS, now));
        assert!(!plausible(now.0 + TEN_YEARS_MS + 1, now));
        assert!(!plausible(LIMIT, Wall(LIMIT)));
        assert!(plausible(1_790_000_000_000, Wall(0)));
    }
}
