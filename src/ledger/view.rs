//! What a store shows of one lock at one moment.

use std::time::Duration;

use super::codec::FMT;
use super::{Holder, Id, Ledger, Policy, Ticket};
use crate::time::Wall;

/// Stores list this many waiters, in order, and count the rest.
pub const LISTED: usize = 32;

/// One lock as the store shows it. The ledger is no newer than the tickets: a ticket that the ledger names and the
/// view lacks is gone.
#[derive(Clone, Debug)]
pub struct View {
    pub ledger: Ledger,
    /// The holders' tickets, then the first waiters in order, then the asker's own if it stands further back.
    pub tickets: Vec<Listed>,
    /// All who wait, listed or not.
    pub waiting: usize,
    /// How many waiters stand before the asker, dead ones included.
    pub ahead: usize,
    /// The life of the store right now.
    pub epoch: String,
    pub memory: Memory,
    /// The longest ttl anyone may have on this store; longer ones are read as this.
    pub max_ttl: Duration,
    /// The store's wall clock.
    pub now: Wall,
}

impl View {
    pub fn ticket(&self, id: &Id) -> Option<&Listed> {
        self.tickets.iter().find(|listed| listed.ticket.id == *id)
    }

    /// The ticket, unless the store knows that its claim is dead.
    pub fn living(&self, id: &Id) -> Option<&Listed> {
        self.ticket(id).filter(|listed| listed.life != Life::Dead)
    }

    /// The waiters that are listed, in order.
    pub fn waiters(&self) -> impl Iterator<Item = &Listed> {
        self.tickets.iter().filter(|listed| self.ledger.holder(&listed.ticket.id).is_none())
    }
}

/// A ticket with what the store knows of it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub ticket: Ticket,
    /// The place in the queue: lower is earlier. Ties are broken by `seq`.
    pub order: i64,
    /// The store's number for this ticket, rising with each append.
    pub seq: u64,
    /// When it was taken, on the store's clock.
    pub at: Wall,
    pub life: Life,
}

impl Listed {
    /// A holder whose ticket the store has ended by itself: its absence is the proof.
    pub fn dead(holder: &Holder) -> Listed {
        let Holder { id, mode, slots, priority, ttl_ms, since, who, group, keep, .. } = holder.clone();
        let policy = Policy { group, keep, ..Policy::default() };
        let ticket = Ticket { fmt: FMT, id, mode, slots, priority, lead_ms: 0, ttl_ms, who, policy, chain: Vec::new() };
        Listed { ticket, order: 0, seq: 0, at: since, life: Life::Dead }
    }
}

/// Whether a claim lives, as far as the store can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The store knows that it lives: its kernel lock is held, or its lease runs.
    Alive,
    /// The store knows that it is dead for good: its kernel lock is free, or its lease has ended.
    Dead,
    /// The store only counts beats; who wants to know must watch them. `quiet` is how long the last one is ago by the
    /// store's own clock, where that clock can be believed.
    Beat { count: u64, quiet: Option<Duration> },
}

/// Whether the store still knows who held its locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What was ever acknowledged is here.
    Intact,
    /// The store began a new life or lost its record: somebody may hold a lock that is not in it. The mark changes
    /// each time that happens; `quiet` is for how long the store itself can prove that it forgot nobody.
    Unsure { mark: String, quiet: Duration },
}
