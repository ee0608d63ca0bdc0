//! Tickets and beats as they are kept. Nothing in it is believed unread.

use sha1_smol::Sha1;

use crate::ledger::Ticket;
use crate::ledger::codec::{read_ticket, write_ticket};
use crate::time::Wall;

/// Orders are kept as positive numbers of as many digits, which sort as text.
const ZERO: i64 = 1 << 52;

/// A ticket with its place in the queue: `order at seq text`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub order: i64,
    /// When it was taken, on the store's clock.
    pub at: Wall,
    /// The store's revision when it was appended.
    pub seq: u64,
    pub ticket: Ticket,
}

impl Kept {
    /// A ticket taken at this time; etcd itself numbers it.
    pub fn new(ticket: &Ticket, at: Wall) -> Kept {
        let order = (at.0 as i64).saturating_sub(ticket.lead_ms).clamp(-ZERO, ZERO);
        Kept { order, at, seq: 0, ticket: ticket.clone() }
    }

    pub fn text(&self) -> String {
        format!("{:017} {} {} {}", self.order + ZERO, self.at.0, self.seq, write_ticket(&self.ticket))
    }

    /// `created` numbers it if it does not say itself.
    pub fn read(text: &[u8], created: u64) -> Result<Kept, String> {
        let odd = || "a ticket's place in the queue is not three numbers".to_owned();
        let mut parts = text.splitn(4, |byte| *byte == b' ');
        let mut number = || parts.next().and_then(|part| std::str::from_utf8(part).ok()?.parse::<i64>().ok());
        let (Some(order), Some(at), Some(seq)) = (number(), number(), number()) else { return Err(odd()) };
        let (Ok(at), Ok(seq)) = (u64::try_from(at), u64::try_from(seq)) else { return Err(odd()) };
        let ticket = read_ticket(parts.next().unwrap_or_default()).map_err(|damage| format!("a ticket: {damage}"))?;
        let order = order.checked_sub(ZERO).ok_or_else(odd)?;
        Ok(Kept { order, at: Wall(at), seq: if seq == 0 { created } else { seq }, ticket })
    }
}

/// When a holder beat, on the clock of one member: `member ms digest`. Others' clocks say nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub member: u64,
    pub at: Wall,
}

impl Stamp {
    pub fn text(stamp: Option<Stamp>) -> String {
        let said = stamp.map_or("0 0".to_owned(), |stamp| format!("{:x} {}", stamp.member, stamp.at.0));
        format!("{said} {}", digest(&said))
    }

    /// `None` where the holder knew no member's clock. A flipped digit must not make a living holder look long quiet.
    pub fn read(text: &[u8]) -> Result<Option<Stamp>, String> {
        let odd = || "a holder's beats are not a member, a time and their digest".to_owned();
        let text = std::str::from_utf8(text).map_err(|_| odd())?;
        let (said, sum) = text.rsplit_once(' ').ok_or_else(odd)?;
        let (member, at) = said.split_once(' ').ok_or_else(odd)?;
        match (u64::from_str_radix(member, 16), at.parse()) {
            _ if digest(said) != sum => Err(odd()),
            (Ok(0), Ok(0)) => Ok(None),
            (Ok(member), Ok(at)) => Ok(Some(Stamp { member, at: Wall(at) })),
            _ => Err(odd()),
        }
    }
}

fn digest(text: &str) -> String {
    Sha1::from(text).digest().to_string()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_sort_as_text_and_stamps_are_read_as_written() {
        let text = |order: i64| format!("{:017}", order + ZERO);
        let orders = [-ZERO, -1, 0, 1, 1_795_650_990_000, ZERO];
        assert!(orders.windows(2).all(|pair| text(pair[0]) < text(pair[1])));
        for stamp in [None, Some(Stamp { member: u64::MAX, at: Wall(7) })] {
            assert_eq!(Stamp::read(Stamp::text(stamp).as_bytes()), Ok(stamp));
        }
        for wrong in ["", "0 0", "1 2 3", "0 0 0000000000000000"] {
            assert!(Stamp::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for wrong in ["", "1 2 3", "1 2 x {}", "1 -2 3 {}", "-9223372036854775808 1 1 {}"] {
            assert!(Kept::read(wrong.as_bytes(), 1).is_err(), "{wrong}");
        }
    }
}
