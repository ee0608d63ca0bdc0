//! Worlds in which callers bring rules along: readers and writers, slots, priorities, groups, rates. A third of all worlds; the
//! others draw the same chances as before there were any rules.

use std::time::Duration;

use fastrand::Rng;
use vaultlock::ledger::policy::{Keep, Rate, Supersede, lead_ms};
use vaultlock::ledger::{Mode, Ticket};

/// What callers of one world choose from; chances are of a thousand.
#[derive(Clone, Debug)]
pub struct Mix {
    shared: u32,
    slots: Vec<u32>,
    priorities: Vec<i32>,
    aging: Duration,
    preempts: u32,
    keep: Option<Keep>,
    grouped: u32,
    supersedes: u32,
    pub rate: Option<Rate>,
    rated: u32,
    shy: u32,
    /// For how long some of them have the lock kept, in milliseconds.
    pub min_hold: Option<u64>,
}

impl Mix {
    pub fn draw(seed: u64) -> Option<Mix> {
        if seed % 3 != 2 {
            return None;
        }
        let mut rng = Rng::with_seed(seed ^ 0x7675_6c74);
        let mut some = |of_ten: u32, then: u32| if rng.u32(0..10) < of_ten { then } else { 0 };
        let shared = some(4, 600);
        let semaphore = some(4, 1) > 0;
        let (urgent, preempts) = (some(6, 1) > 0, some(4, 500));
        let (keeps, grouped, supersedes, rates, shy) = (some(5, 1) > 0, some(3, 800), some(7, 700), some(2, 1) > 0, some(2, 300));
        let slots = if semaphore { vec![2, 2, 2, 3] } else { vec![1] };
        Some(Mix {
            shared,
            slots: slots[..rng.usize(1..=slots.len())].to_vec(),
            priorities: if urgent { vec![-1, 0, 0, 1, 5] } else { vec![0] },
            aging: Duration::from_secs(rng.u64(1..60)),
            preempts,
            keep: (semaphore && keeps).then_some(Keep { slots: 1, priority: 1 }),
            grouped,
            supersedes,
            rate: rates.then(|| Rate { grants: rng.u32(1..4), per_ms: rng.u64(1_000..20_000) }),
            rated: if rng.bool() { 1000 } else { 500 },
            shy,
            // Not from the same dice: the other worlds stay as they were.
            min_hold: (seed % 12 == 8).then(|| Rng::with_seed(seed ^ 0x7265_7374).u64(500..15_000)),
        })
    }

    /// The rules that one caller brings along.
    pub fn give(&self, ticket: &mut Ticket, rng: &mut Rng) {
        let mut chance = |of_thousand: u32| rng.u32(0..1000) < of_thousand;
        let (shared, preempts, grouped, supersedes) =
            (chance(self.shared), chance(self.preempts), chance(self.grouped), chance(self.supersedes));
        let (rated, shy) = (chance(self.rated), chance(self.shy));
        ticket.mode = if shared { Mode::Shared } else { Mode::Exclusive };
        ticket.slots = if shared { 1 } else { self.slots[rng.usize(0..self.slots.len())] };
        ticket.priority = self.priorities[rng.usize(0..self.priorities.len())];
        ticket.lead_ms = lead_ms(ticket.priority, self.aging);
        let policy = &mut ticket.policy;
        policy.preempt = preempts;
        policy.keep = self.keep.filter(|keep| !shared && keep.slots < ticket.slots);
        policy.rate = self.rate.filter(|_| rated);
        policy.max_waiters = shy.then(|| rng.u32(0..4));
        policy.group = grouped.then(|| format!("group {}", rng.u32(0..2)));
        let whom = if rng.bool() { Supersede::Running } else { Supersede::Waiting };
        policy.supersede = (grouped && supersedes).then_some(whom);
        policy.min_hold_ms = self.min_hold.filter(|_| ticket.id.as_str().as_bytes()[0].is_multiple_of(2));
    }
}
