//! What the statements bring, turned into views. Nothing in it is believed unread.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::address::Address;
use super::message::Brought;
use super::refusal;
use crate::ledger::codec::{LONGEST, read_ledger, read_ticket};
use crate::ledger::{Id, Ledger, Life, Listed, Memory, View};
use crate::name::Name;
use crate::store::{Beat, Error, clocks_agree};
use crate::time::Wall;

type Row = Vec<Option<String>>;

/// An answer and what was known when it was asked for.
pub(super) struct Reply<'a> {
    pub address: &'a Address,
    pub lock: &'a Name,
    pub max_ttl: Duration,
    /// This host's clock before and after.
    pub between: (Wall, Wall),
    pub brought: Vec<Brought>,
}

/// How a view turned out.
pub(super) enum Seen {
    View(Box<View>, Backend),
    /// The store's record is missing, or of another life: it must be written before anything counts.
    Stale,
}

/// The server's process that answered.
#[derive(Clone, Copy)]
pub(super) struct Backend(pub i32);

impl Reply<'_> {
    /// The last two statements are the lock and its tickets.
    pub fn view(mut self, id: Option<&Id>) -> Result<Seen, Error> {
        let (tickets, lock) = (self.brought.pop(), self.brought.pop());
        let (Some(tickets), Some(row)) = (tickets, lock.and_then(|mut lock| lock.rows.pop_front())) else {
            return Err(self.damaged("it answered with too little"));
        };
        let mut fields = row.into_iter();
        let mut field = || fields.next().flatten();
        let (now, epoch) = (field(), field().unwrap_or_default());
        let (recorded, mark, settled, max_ttl, carried) = (field(), field(), field(), field(), field());
        let backend = field();
        let (version, ledger, seal, waiting, ahead) = (field(), field(), field(), field(), field());
        if epoch.is_empty() {
            return Err(refusal::standby(self.address, &self.address.hosts[0]));
        }
        let now = Wall(self.number(now)?);
        let (Some(recorded), Some(mark), Some(settled)) = (recorded, mark, settled) else { return Ok(Seen::Stale) };
        if !recorded.is_empty() {
            let theirs = self.number(max_ttl)?;
            if u128::from(theirs) != self.max_ttl.as_millis() {
                return Err(refusal::max_ttl(self.address, theirs));
            }
        }
        if recorded != epoch {
            return Ok(Seen::Stale);
        }
        if mark.is_empty() || (!settled.is_empty() && settled != mark) {
            return Err(refusal::damaged(self.address, "the store's record", "a field is not what it should be"));
        }
        let memory = if settled == mark {
            Memory::Intact
        } else {
            let excused = self.address.fresh && carried.as_deref() == Some("false");
            Memory::Unsure { mark, quiet: if excused { Duration::MAX } else { Duration::ZERO } }
        };
        let ledger = self.ledger(version, ledger, seal, &epoch, now)?;
        let (waiting, ahead) = (self.number(waiting)? as usize, self.number(ahead)? as usize);
        let tickets = self.tickets(tickets, &ledger, id, now)?;
        let backend = Backend(backend.and_then(|backend| backend.parse().ok()).unwrap_or(0));
        let view = View { ledger, tickets, waiting, ahead, epoch, memory, max_ttl: self.max_ttl, now };
        Ok(Seen::View(Box::new(view), backend))
    }

    /// Whether a commit was carried out: the statement before the view says so.
    pub fn was_done(&self) -> bool {
        let said = self.brought.iter().rev().nth(2).and_then(|brought| brought.rows.front()?.first()?.clone());
        said.as_deref() == Some("1")
    }

    pub fn beat(mut self, id: &Id) -> Result<Beat, Error> {
        let (heard, counted) = (self.brought.pop().unwrap_or_default(), self.brought.pop().unwrap_or_default());
        let (mut head, mut known) = (None, Vec::new());
        for row in heard.rows {
            match row.first().and_then(Option::as_deref) {
                Some("") => head = Some(row),
                _ => known.push(row),
            }
        }
        let Some(head) = head else { return Err(self.damaged("it answered with too little")) };
        let mut head = head.into_iter().skip(1);
        let mut field = || head.next().flatten();
        let (now, epoch, version) = (Wall(self.number(field())?), field().unwrap_or_default(), field());
        let (mut mine, mut others, mut quiet) = (false, Vec::new(), None);
        for row in known {
            let (of, count, last) = self.beats(row)?;
            match of == *id {
                true => mine = true,
                false => others.push((of, count, last)),
            }
        }
        if !mine {
            return Ok(Beat::Gone);
        }
        if counted.changed != 1 {
            return Err(self.damaged("a ticket's beats do not fit their digest"));
        }
        if let Some((_, _, last)) = others.first().filter(|_| clocks_agree(now, self.between)) {
            quiet = Some(now.since(*last));
        }
        let version = version.map_or(Ok(0), |version| self.number(Some(version)))?;
        Ok(Beat::Alive { version, epoch, others: others.into_iter().map(|(id, count, _)| (id, count)).collect(), quiet })
    }

    fn beats(&self, row: Row) -> Result<(Id, u64, Wall), Error> {
        let mut fields = row.into_iter();
        let mut field = || fields.next().flatten();
        let (id, count, last, seal) = (self.id(field())?, field(), field(), field());
        let (count, last) = self.sealed_beats(count, last, seal)?;
        Ok((id, count, last))
    }

    fn sealed_beats(&self, count: Option<String>, last: Option<String>, seal: Option<String>) -> Result<(u64, Wall), Error> {
        let (count, last) = (self.number(count)?, self.number(last)?);
        match seal {
            // A few flipped digits would make a living holder look as if it had been quiet for days.
            Some(seal) if seal == digest(&format!("{count} {last}")) => Ok((count, Wall(last))),
            _ => Err(self.damaged("a ticket's beats do not fit their digest")),
        }
    }

    fn ledger(
        &self,
        version: Option<String>,
        text: Option<String>,
        seal: Option<String>,
        epoch: &str,
        now: Wall,
    ) -> Result<Ledger, Error> {
        let version = version.map_or(Ok(0), |version| self.number(Some(version)))?;
        let (text, seal) = match (version, text, seal) {
            (0, None, None) => return Ok(Ledger::blank(self.lock.as_str(), epoch)),
            (1.., Some(text), Some(seal)) => (text, seal),
            _ => return Err(self.damaged("its version, ledger or seal are missing")),
        };
        if text.len() > LONGEST {
            return Err(self.damaged(&format!("its ledger has {} bytes", text.len())));
        }
        if seal != digest(&text) {
            return Err(self.damaged("its digest does not fit: it was cut, damaged or edited"));
        }
        let later = now.max(self.between.1);
        read_ledger(text.as_bytes(), self.lock.as_str(), version, later).map_err(|damage| self.damaged(&damage.to_string()))
    }

    fn tickets(&self, tickets: Brought, ledger: &Ledger, id: Option<&Id>, now: Wall) -> Result<Vec<Listed>, Error> {
        let clocks_agree = clocks_agree(now, self.between);
        let mut listed = Vec::new();
        for row in tickets.rows {
            let one = row.first().cloned().flatten().unwrap_or_default();
            let matters = |known: &Id| known.as_str() == one;
            match self.listed(row, ledger, now, clocks_agree) {
                Ok(ticket) => listed.push(ticket),
                // A stranger's damaged ticket is not granted anything; unlisted, it is passed like any frozen waiter.
                Err(error) if id.is_some_and(matters) || ledger.holders.iter().any(|holder| matters(&holder.id)) => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(listed)
    }

    fn listed(&self, row: Row, ledger: &Ledger, now: Wall, clocks_agree: bool) -> Result<Listed, Error> {
        let mut fields = row.into_iter();
        let mut field = || fields.next().flatten();
        let (id, text) = (self.id(field())?, field().unwrap_or_default());
        let (seq, place, taken, holds) = (field(), field(), field(), field());
        let (count, last, seal) = (field(), field(), field());
        let ticket = read_ticket(text.as_bytes()).map_err(|damage| self.damaged(&format!("a ticket: {damage}")))?;
        if ticket.id != id {
            return Err(self.damaged("a ticket is kept under another id"));
        }
        if (holds.as_deref() == Some("true")) != ledger.holder(&id).is_some() {
            return Err(self.damaged("its tickets hold it otherwise than its ledger says"));
        }
        let (count, last) = self.sealed_beats(count, last, seal)?;
        let order = place.and_then(|place| place.parse().ok()).ok_or_else(|| self.damaged("a ticket's place is no number"))?;
        let quiet = clocks_agree.then(|| now.since(last));
        Ok(Listed { ticket, order, seq: self.number(seq)?, at: Wall(self.number(taken)?), life: Life::Beat { count, quiet } })
    }

    fn id(&self, text: Option<String>) -> Result<Id, Error> {
        Id::try_from(text.unwrap_or_default()).map_err(|why| self.damaged(why))
    }

    fn number(&self, text: Option<String>) -> Result<u64, Error> {
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.damaged("a number is none, or below zero"))
    }

    fn damaged(&self, why: &str) -> Error {
        refusal::damaged(self.address, &format!("lock {:?}", self.lock.as_str()), why)
    }
}

/// The head of a text's SHA-256, which a server makes as well.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
