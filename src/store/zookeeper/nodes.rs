//! The names of the nodes. A lock's spelled name holds no slash and begins with no dot, so none of them fall together.

use crate::ledger::{Id, Ticket};
use crate::name::Name;
use crate::time::Wall;

/// Orders are named as positive numbers of as many digits.
const ZERO: i64 = 1 << 52;

/// The nodes of one store.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pub base: String,
}

impl Nodes {
    pub fn record(&self) -> String {
        format!("{}/.store", self.base)
    }

    /// Is there as long as the life that this mark names.
    pub fn life(&self, mark: &str) -> String {
        format!("{}/.store/{mark}", self.base)
    }

    pub fn wakes(&self) -> String {
        format!("{}/.wake", self.base)
    }

    /// What is written to wake a ticket.
    pub fn wake(&self, id: &Id) -> String {
        format!("{}/.wake/{}", self.base, id.as_str())
    }

    pub fn ledger(&self, lock: &Name) -> String {
        format!("{}/{}", self.base, lock.spelled())
    }

    pub fn tickets(&self, lock: &Name) -> String {
        format!("{}/{}/t", self.base, lock.spelled())
    }

    /// The node and all above it, from the top.
    pub fn way_to_base(&self) -> Vec<String> {
        let ends = self.base.match_indices('/').map(|(at, _)| at).skip(1).chain([self.base.len()]);
        ends.map(|end| self.base[..end].to_owned()).collect()
    }
}

/// What a ticket's node is called: where it stands in the queue is seen without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// When it counts as having joined, by the clock of its host.
    pub order: i64,
    /// It counts as having joined at another time than it did.
    pub led: bool,
    pub id: Id,
    /// ZooKeeper's number for it.
    pub seq: u64,
    pub path: String,
}

impl Slot {
    /// The name of a new ticket's node, to which ZooKeeper adds the number.
    pub fn name(ticket: &Ticket, now: Wall) -> String {
        let order = (now.0 as i64).saturating_sub(ticket.lead_ms).clamp(-ZERO, ZERO);
        let kind = if ticket.lead_ms == 0 { "p" } else { "l" };
        format!("{:017}-{kind}-{}-", order + ZERO, ticket.id.as_str())
    }

    /// `None` if this program did not name it.
    pub fn read(folder: &str, name: &str) -> Option<Slot> {
        let parts: Vec<&str> = name.split('-').collect();
        let &[order, kind @ ("p" | "l"), id, seq] = parts.as_slice() else { return None };
        let order = order.parse::<i64>().ok()?.checked_sub(ZERO)?;
        let id = Id::try_from(id.to_owned()).ok()?;
        Some(Slot { order, led: kind == "l", id, seq: seq.parse().ok()?, path: format!("{folder}/{name}") })
    }
}

/// The tickets in order, each once. Of those that joined when they did, who was appended first goes first, whatever the hosts'
/// clocks say.
pub(super) fn in_order(folder: &str, names: &[String]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = names.iter().filter_map(|name| Slot::read(folder, name)).collect();
    slots.sort_by_key(|slot| slot.seq);
    let mut seen = std::collections::BTreeSet::new();
    slots.retain(|slot| seen.insert(slot.id.clone()));
    let mut latest = i64::MIN;
    for slot in slots.iter_mut().filter(|slot| !slot.led) {
        latest = latest.max(slot.order);
        slot.order = latest;
    }
    slots.sort_by_key(|slot| (slot.order, slot.seq));
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_stand_in_the_order_of_their_numbers_and_leads() {
        let name = |order: i64, kind: &str, id: u8, seq: u32| format!("{:017}-{kind}-{}-{seq:010}", order + ZERO, hex(id));
        fn hex(id: u8) -> String {
            Id::from_random([id; 16]).as_str().to_owned()
        }
        let names = [name(50, "p", 2, 2), name(90, "p", 1, 1), name(10, "l", 3, 3), name(95, "l", 4, 4), name(1, "p", 1, 9)];
        let foreign = ["", "x", "1-p-1-1", "lock-0000000001"].map(str::to_owned);
        let slots = in_order("/f", &[&names[..], &foreign].concat());
        assert_eq!(slots.iter().map(|slot| slot.seq).collect::<Vec<_>>(), [3, 1, 2, 4]);
        assert_eq!(slots[1].path, format!("/f/{}", names[1]));
        let base = Nodes { base: "/a/b".to_owned() };
        assert_eq!(base.way_to_base(), ["/a", "/a/b"]);
    }
}
