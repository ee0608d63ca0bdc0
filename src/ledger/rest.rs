//! `--min-hold`: a lock stays taken for so long from the entry, whatever becomes of the one that entered. It stands in the ledger
//! from the entry on, so that no release, sweep or kill can forget it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::LONGEST_RATE;
use super::room::MOST_HOLDERS;
use super::{Holder, Id, Ledger, Ticket, Who};
use crate::time::Wall;

/// One that keeps its room for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// As it entered, but for who that was; it may be long gone.
    pub holder: Holder,
    pub for_ms: u64,
}

impl Rest {
    pub(super) fn span(&self) -> Duration {
        Duration::from_millis(self.for_ms)
    }

    /// When it is over, on the store's clock.
    pub fn until(&self) -> Wall {
        Wall(self.holder.since.0.saturating_add(self.for_ms))
    }

    pub(super) fn honest(&self) -> bool {
        self.for_ms >= 1 && self.span() <= LONGEST_RATE
    }
}

/// What rests once `entered` is among the holders, at `now` by the store's clock.
pub(super) fn count(ledger: &Ledger, ticket: &Ticket, entered: &Holder, now: Wall) -> Vec<Rest> {
    let mut rests = ledger.rests.clone();
    // A clock that was set back must not make the past a future that nobody may go into.
    rests.iter_mut().for_each(|rest| rest.holder.since = rest.holder.since.min(now));
    rests.retain(|rest| rest.until() > now);
    // Two full descriptions of two hundred holders are more than a document may have.
    let who = Who { label: String::new(), host: String::new(), pid: 0 };
    let holder = Holder { since: now, who, group: None, ..entered.clone() };
    rests.extend(ticket.policy.min_hold_ms.map(|for_ms| Rest { holder, for_ms }));
    let excess = rests.len().saturating_sub(MOST_HOLDERS);
    rests.drain(..excess);
    rests
}

/// Whoever entered and started nothing has nothing to keep the lock for.
pub(super) fn forget(ledger: &mut Ledger, id: &Id) {
    ledger.rests.retain(|rest| rest.holder.id != *id);
}
