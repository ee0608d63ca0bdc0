//! What the scripts answer, turned into views. Nothing in it is believed unread.

use std::time::Duration;

use redis::Value;
use sha1_smol::Sha1;

use super::address::Address;
use super::refusal;
use crate::ledger::codec::{read_ledger, read_ticket, unsealed};
use crate::ledger::{Id, Ledger, Life, Listed, Memory, View};
use crate::name::Name;
use crate::store::{Beat, Error, Outcome, clocks_agree};
use crate::time::{Clock, Wall};

/// An answer and what was known when it was asked for.
pub(super) struct Reply<'a> {
    pub address: &'a Address,
    pub lock: &'a Name,
    /// The key of the lock's hash.
    pub key: &'a str,
    pub max_ttl: Duration,
    /// This host's clock before and after.
    pub between: (Wall, Wall),
    pub parts: std::vec::IntoIter<Value>,
}

/// What every answer begins with.
struct Head {
    kind: String,
    now: Wall,
    epoch: String,
    memory: Memory,
    /// Whether the server's clock agrees with this host's.
    clocks_agree: bool,
}

impl Reply<'_> {
    pub fn view(mut self, id: Option<&Id>) -> Result<View, Error> {
        let head = self.head()?;
        self.lock_as_shown(head, id)
    }

    pub fn outcome(mut self, id: &Id) -> Result<Outcome, Error> {
        let head = self.head()?;
        match head.kind.as_str() {
            "done" if self.parts.len() == 0 => Ok(Outcome::Done(None)),
            "done" => Ok(Outcome::Done(Some(self.lock_as_shown(head, Some(id))?))),
            "conflict" => Ok(Outcome::Conflict(self.lock_as_shown(head, Some(id))?)),
            _ => Err(refusal::stranger(self.address)),
        }
    }

    pub fn beat(mut self) -> Result<Beat, Error> {
        let head = self.head()?;
        if head.kind == "gone" {
            return Ok(Beat::Gone);
        }
        let version = match self.bytes()? {
            None => 0,
            Some(text) => self.number(&text, "its version is not a number")?,
        };
        let (mut others, mut quiet) = (Vec::new(), None);
        while let Some(id) = self.bytes_or_end()? {
            let beats = self.bytes()?.unwrap_or_default();
            let id = self.id(&id)?;
            let (count, last) = self.beats(&beats)?;
            if others.is_empty() && head.clocks_agree {
                quiet = Some(head.now.since(last));
            }
            others.push((id, count));
        }
        Ok(Beat::Alive { version, epoch: head.epoch, others, quiet })
    }

    fn head(&mut self) -> Result<Head, Error> {
        let mut text = || -> Result<String, Error> {
            let bytes = self.bytes()?.ok_or_else(|| refusal::stranger(self.address))?;
            String::from_utf8(bytes).map_err(|_| refusal::stranger(self.address))
        };
        let (kind, now, epoch, mark, settled, proof, carried) = (text()?, text()?, text()?, text()?, text()?, text()?, text()?);
        let now = Wall(now.parse().map_err(|_| refusal::stranger(self.address))?);
        let clocks_agree = clocks_agree(now, self.between);
        let memory = if settled == mark {
            Memory::Intact
        } else {
            Memory::Unsure { mark, quiet: self.proven(&proof, carried == "1", clocks_agree) }
        };
        Ok(Head { kind, now, epoch, memory, clocks_agree })
    }

    /// For how long the server can prove that it forgot nobody: it knows when it was started, by a clock that ours must
    /// confirm, and whether it was flushed since.
    fn proven(&self, uptime: &str, carried: bool, clocks_agree: bool) -> Duration {
        let Ok(uptime) = uptime.parse::<u64>() else { return Duration::ZERO };
        if self.address.fresh && !carried {
            return Duration::MAX;
        }
        if !clocks_agree {
            return Duration::ZERO;
        }
        // The server subtracts two whole seconds, so it may say up to one too many.
        let up = Duration::from_secs(uptime.saturating_sub(1));
        up.min(Duration::from_nanos(Clock::Boottime.now().0))
    }

    fn lock_as_shown(mut self, head: Head, id: Option<&Id>) -> Result<View, Error> {
        let (version, ledger, holders) = (self.bytes()?, self.bytes()?, self.bytes()?);
        let ledger = self.ledger(version, ledger, holders, &head)?;
        let (waiting, ahead) = (self.count()?, self.count()?);
        let mut tickets = Vec::new();
        while let Some(one) = self.bytes_or_end()? {
            let (text, place, beats) = (self.bytes()?, self.bytes()?, self.bytes()?);
            let Some(text) = text else { continue };
            let listed = self.listed(&one, &text, &place.unwrap_or_default(), &beats.unwrap_or_default(), &head);
            let matters = |known: &Id| known.as_str().as_bytes() == one;
            match listed {
                Ok(listed) => tickets.push(listed),
                // A stranger's damaged ticket is not granted anything; unlisted, it is passed like any frozen waiter.
                Err(error) if id.is_some_and(matters) || ledger.holders.iter().any(|h| matters(&h.id)) => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(View { ledger, tickets, waiting, ahead, epoch: head.epoch, memory: head.memory, max_ttl: self.max_ttl, now: head.now })
    }

    fn ledger(
        &self,
        version: Option<Vec<u8>>,
        ledger: Option<Vec<u8>>,
        holders: Option<Vec<u8>>,
        head: &Head,
    ) -> Result<Ledger, Error> {
        let (version, text, holders) = match (version, ledger, holders) {
            (None, None, None) => return Ok(Ledger::blank(self.lock.as_str(), &head.epoch)),
            (Some(version), Some(text), Some(holders)) => (version, text, holders),
            _ => return Err(self.damaged("its version, ledger or holders are missing")),
        };
        let version = self.number(&version, "its version is not a number")?;
        let later = head.now.max(self.between.1);
        let ledger = unsealed(&text)
            .and_then(|text| read_ledger(text, self.lock.as_str(), version, later))
            .map_err(|damage| self.damaged(&damage.to_string()))?;
        if holder_ids(&ledger).as_bytes() != holders {
            return Err(self.damaged("its list of holders is not the ledger's"));
        }
        Ok(ledger)
    }

    fn listed(&self, id: &[u8], text: &[u8], place: &[u8], beats: &[u8], head: &Head) -> Result<Listed, Error> {
        let id = self.id(id)?;
        let ticket = read_ticket(text).map_err(|damage| self.damaged(&format!("a ticket: {damage}")))?;
        if ticket.id != id {
            return Err(self.damaged("a ticket is kept under another id"));
        }
        let place = std::str::from_utf8(place).unwrap_or_default();
        let mut words = place.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (seq, order, at) = (word().parse(), word().parse(), word().parse());
        let (Ok(seq), Ok(order), Ok(at)) = (seq, order, at) else {
            return Err(self.damaged("a ticket's place in the queue is not three numbers"));
        };
        let (count, last) = self.beats(beats)?;
        let quiet = head.clocks_agree.then(|| head.now.since(last));
        Ok(Listed { ticket, order, seq, at: Wall(at), life: Life::Beat { count, quiet } })
    }

    fn beats(&self, text: &[u8]) -> Result<(u64, Wall), Error> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let (said, digest) = text.rsplit_once(' ').unwrap_or_default();
        let (count, last) = said.split_once(' ').unwrap_or_default();
        match (count.parse(), last.parse()) {
            (Ok(count), Ok(last)) if Sha1::from(said).digest().to_string()[..16] == *digest => Ok((count, Wall(last))),
            _ => Err(self.damaged("a ticket's beats are not a number, a time and their digest")),
        }
    }

    fn id(&self, bytes: &[u8]) -> Result<Id, Error> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Id::try_from(text).map_err(|why| self.damaged(why))
    }

    fn number(&self, text: &[u8], why: &str) -> Result<u64, Error> {
        let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|text| text.parse().ok()).ok_or_else(|| self.damaged(why))
    }

    fn count(&mut self) -> Result<usize, Error> {
        match self.parts.next() {
            Some(Value::Int(count)) if count >= 0 => Ok(count as usize),
            _ => Err(refusal::stranger(self.address)),
        }
    }

    fn bytes(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.parts.next() {
            Some(Value::BulkString(bytes)) => Ok(Some(bytes)),
            Some(Value::Nil) => Ok(None),
            _ => Err(refusal::stranger(self.address)),
        }
    }

    fn bytes_or_end(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.parts.len() == 0 { Ok(None) } else { Ok(Some(self.bytes()?.unwrap_or_default())) }
    }

    fn damaged(&self, why: &str) -> Error {
        refusal::damaged(self.address, self.key, why)
    }
}

/// The holders' ids as the scripts read them.
pub(super) fn holder_ids(ledger: &Ledger) -> String {
    ledger.holders.iter().map(|holder| holder.id.as_str()).collect::<Vec<_>>().join(" ")
}
