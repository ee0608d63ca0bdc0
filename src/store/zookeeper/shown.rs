//! One look at a lock: what is read together, and the view in it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::jute::Strange;
use super::nodes::{Slot, in_order};
use super::record::Record;
use super::reply::{NO_NODE, Reply, Stat};
use super::request::Request;
use super::{ZooKeeper, refusal};
use crate::ledger::codec::{read_ledger, read_ticket, unsealed};
use crate::ledger::view::LISTED;
use crate::ledger::{Id, Ledger, Life, Listed, Ticket, View};
use crate::name::Name;
use crate::store::wire::Budget;
use crate::store::{Error, clocks_agree};
use crate::time::{Clock, Tick, Wall};

/// A record that two write at once is there at the next look.
const LOOKS: usize = 4;

/// A lock as it was seen.
pub(super) struct Seen {
    pub view: View,
    /// How often somebody has joined, and nothing if nobody ever did.
    pub joined: Option<i32>,
    /// The lock has its node.
    pub is_known: bool,
}

/// What a leader's clock showed when it wrote for us, and when that was here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Counts leaders: others' clocks say nothing about this one's.
    leader: i64,
    at: Wall,
    seen: Tick,
    /// Our clock said the same.
    agrees: bool,
}

impl Shown {
    pub fn new(stat: Stat, sent: Wall) -> Shown {
        let at = Wall(u64::try_from(stat.mtime).unwrap_or(0));
        Shown { leader: leader(stat.mzxid), at, seen: Clock::Boottime.now(), agrees: clocks_agree(at, (sent, Wall::now())) }
    }

    fn now(self) -> Wall {
        Wall(self.at.0 + Clock::Boottime.now().since(self.seen).as_millis() as u64)
    }
}

/// The upper half of a change's number.
fn leader(zxid: i64) -> i64 {
    zxid >> 32
}

impl ZooKeeper {
    /// Looks at a lock. A store that has no record gets one.
    pub(super) fn look(&mut self, lock: &Name, id: Option<&Id>, budget: Budget) -> Result<Seen, Error> {
        for _ in 0..LOOKS {
            let reads = self.reads(lock, id);
            let requests: Vec<Request> = [Request::Sync(self.nodes.base.clone())].into_iter().chain(reads).collect();
            let replies = self.ensemble.ask(&requests, budget)?;
            if let Some(seen) = self.sight(lock, id, &replies[1..], budget)? {
                return Ok(seen);
            }
            self.write_record(budget)?;
        }
        Err(Error::Unreachable(format!("the record in {} keeps changing: try again", self.display())))
    }

    /// The reads, in the order in which [`ZooKeeper::sight`] takes them. The wake first: what comes after it is heard of. The
    /// ledger before the tickets: whose ticket is missing then is gone.
    pub(super) fn reads(&self, lock: &Name, id: Option<&Id>) -> Vec<Request> {
        let wake = id.filter(|id| self.waits(id)).map(|id| Request::Get(self.nodes.wake(id), true));
        let rest = [
            Request::Get(self.nodes.record(), false),
            Request::Get(self.nodes.ledger(lock), false),
            Request::Children(self.nodes.tickets(lock)),
        ];
        wake.into_iter().chain(rest).collect()
    }

    /// The view in what was read; `None` if the store has no record.
    pub(super) fn sight(
        &mut self,
        lock: &Name,
        id: Option<&Id>,
        replies: &[Reply],
        budget: Budget,
    ) -> Result<Option<Seen>, Error> {
        let (wake, rest) = replies.split_at(replies.len() - 3);
        let Some(record) = self.record_in(&rest[0])? else { return Ok(None) };
        let ledger_node = self.nodes.ledger(lock);
        let kept = self.node(&rest[1], &ledger_node)?;
        let ledger = self.ledger(lock, kept.as_ref(), &record.epoch())?;
        let folder = self.nodes.tickets(lock);
        let children = match rest[2].error {
            NO_NODE => None,
            0 => Some(rest[2].children().map_err(|Strange| self.stranger())?),
            code => return Err(refusal::said(&self.ensemble.address, &folder, code)),
        };
        let joined = children.as_ref().map(|(_, stat)| stat.version);
        let slots = in_order(&folder, &children.map_or(Vec::new(), |(names, _)| names));
        self.note(lock, record.clone(), &ledger, &slots, rest[2].zxid)?;
        if let (Some(id), Some(wake)) = (id, wake.first()) {
            self.wakes.armed(id, wake, self.ensemble.lines);
        }
        let (holders, waiters): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(|slot| ledger.holder(&slot.id).is_some());
        let at = id.and_then(|id| waiters.iter().position(|slot| slot.id == *id));
        let further = at.filter(|at| *at >= LISTED).map(|at| &waiters[at]);
        let listed: Vec<Slot> = holders.iter().chain(waiters.iter().take(LISTED)).chain(further).cloned().collect();
        let (tickets, missing) = self.tickets(&listed, &ledger, id, budget)?;
        let waiting = waiters.len().saturating_sub(missing);
        let (epoch, memory, now) = (record.epoch(), record.memory(), self.now());
        let ahead = at.unwrap_or(waiting);
        let view = View { ledger, tickets, waiting, ahead, epoch, memory, max_ttl: self.terms.max_ttl, now };
        Ok(Some(Seen { view, joined, is_known: kept.is_some() }))
    }

    pub(super) fn record_in(&self, reply: &Reply) -> Result<Option<Record>, Error> {
        let path = self.nodes.record();
        let Some((text, _)) = self.node(reply, &path)? else { return Ok(None) };
        let record = Record::read(&text).map_err(|why| refusal::damaged(&self.ensemble.address, &path, &why))?;
        if u128::from(record.max_ttl_ms) != self.terms.max_ttl.as_millis() {
            return Err(refusal::other_max_ttl(&self.ensemble.address, Duration::from_millis(record.max_ttl_ms)));
        }
        Ok(Some(record))
    }

    /// A node's text and what is known of it, if it is there.
    pub(super) fn node(&self, reply: &Reply, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
        match reply.error {
            NO_NODE => Ok(None),
            0 => Ok(Some(reply.node().map_err(|Strange| self.stranger())?)),
            code => Err(refusal::said(&self.ensemble.address, path, code)),
        }
    }

    fn ledger(&self, lock: &Name, kept: Option<&(Vec<u8>, Stat)>, epoch: &str) -> Result<Ledger, Error> {
        match kept {
            None => Ok(Ledger::blank(lock.as_str(), epoch)),
            Some((text, stat)) if text.is_empty() && stat.version == 0 => Ok(Ledger::blank(lock.as_str(), epoch)),
            // ZooKeeper counts how often a node was written: so does a ledger, from its first.
            Some((text, stat)) => unsealed(text)
                .and_then(|text| read_ledger(text, lock.as_str(), stat.version as u64, self.now().max(Wall::now())))
                .map_err(|damage| refusal::damaged(&self.ensemble.address, &self.nodes.ledger(lock), &damage.to_string())),
        }
    }

    /// The tickets in these nodes, and how many waiters' are gone meanwhile.
    fn tickets(
        &mut self,
        slots: &[Slot],
        ledger: &Ledger,
        id: Option<&Id>,
        budget: Budget,
    ) -> Result<(Vec<Listed>, usize), Error> {
        if slots.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let requests: Vec<Request> = slots.iter().map(|slot| Request::Get(slot.path.clone(), false)).collect();
        let replies = self.ensemble.ask(&requests, budget)?;
        let (mut tickets, mut missing) = (Vec::new(), 0);
        for (slot, reply) in slots.iter().zip(&replies) {
            let Some((text, stat)) = self.node(reply, &slot.path)? else {
                missing += usize::from(ledger.holder(&slot.id).is_none());
                continue;
            };
            match ticket(&text, slot) {
                Ok(ticket) => {
                    self.texts.insert(slot.id.clone(), text);
                    let life = Life::Beat { count: stat.version as u64, quiet: self.quiet(stat) };
                    let at = Wall(u64::try_from(stat.ctime).unwrap_or(0));
                    tickets.push(Listed { ticket, order: slot.order, seq: slot.seq, at, life });
                }
                // A stranger's damaged ticket is not granted anything; unlisted, it is passed like any frozen waiter.
                Err(why) if id == Some(&slot.id) || ledger.holder(&slot.id).is_some() => {
                    return Err(refusal::damaged(&self.ensemble.address, &self.folder_of(&slot.path), &why));
                }
                Err(_) => {}
            }
        }
        Ok((tickets, missing))
    }

    /// The node above, for messages: a ticket's own name holds its id, which is not shown.
    fn folder_of(&self, path: &str) -> String {
        path.rsplit_once('/').map_or(self.nodes.base.as_str(), |(folder, _)| folder).to_owned()
    }

    /// The store's clock, or this host's where no leader has shown us one.
    pub(super) fn now(&self) -> Wall {
        self.shown.map_or_else(Wall::now, Shown::now)
    }

    /// For how long a claim has been quiet, by the clock of the leader that wrote its beat: only that one can say, and only if
    /// ours confirms it.
    pub(super) fn quiet(&self, stat: Stat) -> Option<Duration> {
        let shown = self.shown.filter(|shown| shown.agrees && shown.leader == leader(stat.mzxid))?;
        Some(shown.now().since(Wall(u64::try_from(stat.mtime).ok()?)))
    }

    /// Takes note of a look, which is never older than the one before.
    fn note(&mut self, lock: &Name, record: Record, ledger: &Ledger, slots: &[Slot], zxid: i64) -> Result<(), Error> {
        let same_life = self.record.as_ref().is_some_and(|known| known.mark == record.mark);
        if same_life && zxid < self.zxid {
            return Err(refusal::set_back(&self.ensemble.address));
        }
        (self.record, self.zxid) = (Some(record), zxid);
        let ids = slots.iter().map(|slot| slot.id.clone()).collect();
        for id in self.looks.insert(lock.clone(), ids).unwrap_or_default() {
            self.places.remove(&id);
            self.holding.remove(&id);
        }
        for slot in slots {
            self.places.insert(slot.id.clone(), slot.path.clone());
            if ledger.holder(&slot.id).is_some() {
                self.holding.insert(slot.id.clone());
            }
        }
        let places: &BTreeMap<Id, String> = &self.places;
        self.texts.retain(|id, _| places.contains_key(id));
        Ok(())
    }
}

fn ticket(text: &[u8], slot: &Slot) -> Result<Ticket, String> {
    let ticket = unsealed(text).and_then(read_ticket).map_err(|damage| format!("a ticket: {damage}"))?;
    match ticket.id == slot.id && (ticket.lead_ms != 0) == slot.led {
        true => Ok(ticket),
        false => Err("a ticket is kept under another name".to_owned()),
    }
}
