//! What a claim asks of the lock beyond its mode, its slots and its priority.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::LONGEST_LABEL;
use crate::time::Wall;

/// A lead beyond this is cut: a hundred years in milliseconds, which every engine can reckon with.
pub const FURTHEST_LEAD: i64 = 100 * 366 * 24 * 3600 * 1000;

/// The aging step where nothing was said. Most queues are shorter, so one step of priority goes ahead of all who wait; and a
/// claim that others of ten steps more keep coming before still gets in within two hours.
pub const DEFAULT_AGING: Duration = Duration::from_secs(600);

/// More grants than this a rate can't count: each is a number in the ledger.
pub const MOST_GRANTS: u32 = 1000;
/// A rate looks no further back.
pub const LONGEST_RATE: Duration = Duration::from_secs(366 * 24 * 3600);

/// How many milliseconds earlier than it did a claim of this priority counts as having joined.
pub fn lead_ms(priority: i32, aging: Duration) -> i64 {
    let step = i128::try_from(aging.as_millis()).unwrap_or(i128::MAX);
    let lead = i128::from(priority).saturating_mul(step);
    let furthest = i128::from(FURTHEST_LEAD);
    i64::try_from(lead.clamp(-furthest, furthest)).expect("it was cut to what fits")
}

/// The rules that a claim brings along; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Holders of a lower priority are asked to stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preempt: bool,
    /// Where so many wait already it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_waiters: Option<u32>,
    /// Older claims of its group are asked to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersede: Option<Supersede>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long the lock is kept from its entry at the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_hold_ms: Option<u64>,
}

/// Whom a newer claim of the same group replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Supersede {
    /// Those who wait.
    Waiting,
    /// Those who hold the lock too.
    Running,
}

/// Of the slots so many are for those of this priority and above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    pub slots: u32,
    pub priority: i32,
}

/// At most so many grants in any span of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub grants: u32,
    pub per_ms: u64,
}

/// A rate in force, and the grants it counts, on the store's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rated {
    pub rate: Rate,
    pub granted: Vec<Wall>,
}

impl Policy {
    pub fn is_none(&self) -> bool {
        *self == Policy::default()
    }

    /// Whether this program could have written it.
    pub(super) fn honest(&self) -> bool {
        let group = self.group.as_ref().is_none_or(|group| !group.is_empty() && group.len() <= LONGEST_LABEL);
        group
            && (self.supersede.is_none() || self.group.is_some())
            && self.keep.is_none_or(|keep| keep.slots >= 1)
            && self.rate.is_none_or(|rate| rate.honest())
            && self.min_hold_ms.is_none_or(|ms| ms >= 1 && Duration::from_millis(ms) <= LONGEST_RATE)
    }
}

impl Rate {
    pub fn per(&self) -> Duration {
        Duration::from_millis(self.per_ms)
    }

    pub fn honest(&self) -> bool {
        (1..=MOST_GRANTS).contains(&self.grants) && self.per_ms >= 1 && self.per() <= LONGEST_RATE
    }
}

impl Rated {
    pub(super) fn honest(&self) -> bool {
        self.rate.honest() && self.granted.len() <= MOST_GRANTS as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_is_priority_times_aging_and_never_out_of_range() {
        let minute = Duration::from_secs(60);
        assert_eq!((lead_ms(3, minute), lead_ms(-2, minute), lead_ms(0, minute)), (180_000, -120_000, 0));
        for aging in [Duration::MAX, Duration::from_secs(100 * 366 * 24 * 3600)] {
            assert_eq!((lead_ms(i32::MAX, aging), lead_ms(i32::MIN, aging)), (FURTHEST_LEAD, -FURTHEST_LEAD));
        }
    }
}
