//! One look at a lock: which keys are read together, and the view in them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::Address;
use super::kept::{Kept, Stamp};
use super::keys::{self, Keys};
use super::record::Record;
use super::refusal;
use super::reply::{Header, Kv, Range};
use super::txn::{self, Op};
use crate::ledger::codec::{read_ledger, unsealed};
use crate::ledger::view::{FIRST, LISTED};
use crate::ledger::{Id, Ledger, Life, Listed, View};
use crate::name::Name;
use crate::store::{Error, clocks_agree};
use crate::time::Wall;

/// What is read of a lock for somebody.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub address: &'a Address,
    pub lock: &'a Name,
    pub keys: &'a Keys,
    pub id: Option<&'a Id>,
    /// Where the asker's ticket may be kept, if not among the holders, or what is left of it.
    pub mine: &'a [String],
    pub max_ttl: Duration,
    pub scope: Scope,
}

/// How much of a lock is read, and how fresh it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// As many waiters as any decision needs, with all that was ever acknowledged.
    Whole,
    /// The first waiters, as any member has them: enough for one that was woken, by a member that has its wake.
    Head,
}

/// What came of it, and when.
pub(super) struct Came {
    pub header: Header,
    pub reads: Vec<Range>,
    /// Whether all was there that was only to be touched.
    pub found_all: bool,
    pub now: Wall,
    /// The member's clock to the second, and this host's before and after.
    pub date: Option<Wall>,
    pub between: (Wall, Wall),
}

/// A lock as it was seen.
pub(super) struct Seen {
    pub view: View,
    pub record: Record,
    /// The tickets that are listed, and where they are kept.
    pub places: BTreeMap<Id, (Place, Kept)>,
    pub revision: u64,
    /// The asker's id must not come again.
    pub gone: bool,
    /// The asker stands behind those that are listed: how far must be asked for.
    pub beyond: bool,
}

impl Seen {
    /// How often each holder has beaten.
    pub fn beats(&self) -> BTreeMap<Id, u64> {
        let count = |listed: &Listed| match listed.life {
            Life::Beat { count, .. } => Some((listed.ticket.id.clone(), count)),
            Life::Alive | Life::Dead => None,
        };
        self.view.tickets.iter().filter_map(count).collect()
    }
}

/// The key under which a ticket is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Holding,
    /// Waits for as long as it has waited.
    Plain,
    /// Counts as having joined earlier or later.
    Led,
}

/// The look at a store without a record of this life; a new one replaces the one with this version, 0 if there is none.
pub(super) enum Sight {
    Seen(Box<Seen>),
    Unrecorded { version: u64 },
}

impl Place {
    pub fn key(self, keys: &Keys, id: &Id) -> String {
        match self {
            Place::Holding => keys.holder(id),
            Place::Plain => keys.plain(id),
            Place::Led => keys.led(id),
        }
    }
}

impl Scope {
    fn listed(self) -> usize {
        match self {
            Scope::Whole => LISTED,
            Scope::Head => FIRST,
        }
    }
}

impl Look<'_> {
    /// The reads, in the order in which [`Look::sight`] takes them.
    pub fn ops(&self) -> Vec<Op> {
        let keys = self.keys;
        let (from, to) = keys.held();
        let ranges = [
            txn::Range::one(&keys::record(&self.address.prefix)),
            txn::Range::between(&from, &to),
            txn::Range::all(&keys.queue()).by_age().first(self.scope.listed()),
            txn::Range::all(&keys.led_queue()).by_value().first(self.scope.listed()),
        ];
        let mine = self.mine.iter().map(|key| txn::Range::one(key));
        let as_it_is = self.scope == Scope::Head;
        ranges.into_iter().chain(mine).map(|range| if as_it_is { range.serializable() } else { range }).map(Op::from).collect()
    }

    pub fn sight(&self, came: Came) -> Result<Sight, Error> {
        let mut reads = came.reads.iter();
        let mut next = || reads.next().cloned().unwrap_or_default();
        let (record, held, plain, led) = (next(), next(), next(), next());
        let rest: Vec<Kv> = came.reads.iter().skip(4).filter_map(|read| read.first().cloned()).collect();
        let mine_in = |folder: &str| rest.iter().find(|kv| kv.key.starts_with(folder.as_bytes()));
        let held_in = |folder: &str| held.kvs.iter().filter(|kv| kv.key.starts_with(folder.as_bytes())).collect::<Vec<&Kv>>();
        let (holders, beats) = (held_in(&self.keys.holders()), held_in(&self.keys.all_beats()));
        let epoch = epoch(&came.header);
        let Some(record) = self.record(record.first(), &epoch)? else {
            return Ok(Sight::Unrecorded { version: record.first().map_or(0, |kv| kv.version) });
        };
        let ledger = self.ledger(held_in(&self.keys.ledger()).first().copied(), &epoch, came.now.max(came.between.1))?;
        let mut places = BTreeMap::new();
        let mut tickets = self.holders(&holders, &beats, &ledger, &came, &mut places)?;
        let mut waiters = self.waiters(&plain, mine_in(&self.keys.queue()), Place::Plain, &mut places)?;
        waiters.extend(self.waiters(&led, mine_in(&self.keys.led_queue()), Place::Led, &mut places)?);
        waiters.sort_by_key(|listed| (listed.order, listed.seq));
        let waiting = (plain.count + led.count) as usize;
        let at = self.id.and_then(|id| waiters.iter().position(|listed| listed.ticket.id == *id));
        let most = self.scope.listed();
        let mine = at.filter(|at| *at >= most).map(|at| waiters[at].clone());
        let beyond = mine.is_some() && waiters.len() < waiting;
        waiters.truncate(most);
        places.retain(|id, (place, _)| {
            *place == Place::Holding || self.id == Some(id) || waiters.iter().any(|listed| listed.ticket.id == *id)
        });
        tickets.extend(waiters);
        tickets.extend(mine);
        let memory = record.memory();
        let ahead = at.unwrap_or(waiting);
        let view = View { ledger, tickets, waiting, ahead, epoch, memory, max_ttl: self.max_ttl, now: came.now };
        let gone = self.id.is_some_and(|id| mine_in(&self.keys.gone(id)).is_some());
        Ok(Sight::Seen(Box::new(Seen { view, record, places, revision: came.header.revision, gone, beyond })))
    }

    /// The record of this life, if there is one.
    fn record(&self, kept: Option<&Kv>, epoch: &str) -> Result<Option<Record>, Error> {
        let Some(kept) = kept else { return Ok(None) };
        let key = keys::record(&self.address.prefix);
        let record = Record::read(&kept.value).map_err(|why| refusal::damaged(self.address, &key, &why))?;
        if u128::from(record.max_ttl_ms) != self.max_ttl.as_millis() {
            return Err(refusal::other_max_ttl(self.address, Duration::from_millis(record.max_ttl_ms)));
        }
        Ok(Some(record).filter(|record| record.epoch == epoch))
    }

    fn ledger(&self, kept: Option<&Kv>, epoch: &str, later: Wall) -> Result<Ledger, Error> {
        let Some(kept) = kept else { return Ok(Ledger::blank(self.lock.as_str(), epoch)) };
        // etcd counts how often a key was written: so does a ledger, from its first.
        unsealed(&kept.value)
            .and_then(|text| read_ledger(text, self.lock.as_str(), kept.version, later))
            .map_err(|damage| refusal::damaged(self.address, &self.keys.ledger(), &damage.to_string()))
    }

    fn holders(
        &self,
        kept: &[&Kv],
        beats: &[&Kv],
        ledger: &Ledger,
        came: &Came,
        places: &mut BTreeMap<Id, (Place, Kept)>,
    ) -> Result<Vec<Listed>, Error> {
        let beats: BTreeMap<Id, &Kv> = beats.iter().filter_map(|kv| Some((keys::id(&kv.key)?, *kv))).collect();
        let mut tickets = Vec::new();
        for kv in kept.iter().copied() {
            let listed = self.ticket(kv).and_then(|kept| {
                let beats = beats.get(&kept.ticket.id).ok_or("a holder's beats are missing")?;
                let life = Life::Beat { count: beats.version, quiet: quiet(Stamp::read(&beats.value)?, came) };
                Ok((listed(&kept, life), kept))
            });
            match listed {
                Ok((listed, kept)) => {
                    places.insert(kept.ticket.id.clone(), (Place::Holding, kept));
                    tickets.push(listed);
                }
                Err(why) => {
                    let id = keys::id(&kv.key);
                    if self.matters(id.as_ref(), ledger) {
                        return Err(self.damaged(kv, &why));
                    }
                }
            }
        }
        Ok(tickets)
    }

    /// Those of one queue that are listed, and the asker if it is in this queue.
    fn waiters(
        &self,
        kept: &Range,
        mine: Option<&Kv>,
        place: Place,
        places: &mut BTreeMap<Id, (Place, Kept)>,
    ) -> Result<Vec<Listed>, Error> {
        let mut waiters: Vec<Listed> = Vec::new();
        let mut latest = i64::MIN;
        for kv in kept.kvs.iter().chain(mine.filter(|mine| kept.kvs.iter().all(|kv| kv.key != mine.key))) {
            match self.ticket(kv) {
                Ok(mut kept) => {
                    // Who was appended first goes first, whatever the hosts' clocks say.
                    if place == Place::Plain {
                        latest = latest.max(kept.order);
                        kept.order = latest;
                    }
                    waiters.push(listed(&kept, Life::Alive));
                    places.insert(kept.ticket.id.clone(), (place, kept));
                }
                Err(why) if self.id.is_some_and(|id| keys::id(&kv.key).as_ref() == Some(id)) => {
                    return Err(self.damaged(kv, &why));
                }
                // A stranger's damaged ticket is not granted anything; unlisted, it is passed like any frozen waiter.
                Err(_) => {}
            }
        }
        Ok(waiters)
    }

    fn ticket(&self, kv: &Kv) -> Result<Kept, String> {
        let kept = Kept::read(&kv.value, kv.create_revision)?;
        match keys::id(&kv.key) {
            Some(id) if id == kept.ticket.id => Ok(kept),
            _ => Err("a ticket is kept under another id".to_owned()),
        }
    }

    fn matters(&self, id: Option<&Id>, ledger: &Ledger) -> bool {
        id.is_none_or(|id| self.id == Some(id) || ledger.holder(id).is_some())
    }

    fn damaged(&self, kv: &Kv, why: &str) -> Error {
        // The last part of the key is the ticket's id, which is not shown.
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        let folder = key.rsplit_once('/').map_or(self.keys.base(), |(folder, _)| folder);
        refusal::damaged(self.address, folder, why)
    }
}

/// The life of the store: another cluster is another one.
pub(super) fn epoch(header: &Header) -> String {
    format!("{:x}", header.cluster_id)
}

/// For how long a holder has been quiet, by the clock of the member that it named: only that one can say, and only if ours
/// confirms it.
pub(super) fn quiet(stamp: Option<Stamp>, came: &Came) -> Option<Duration> {
    let date = came.date?;
    let agrees = clocks_agree(date, came.between) || clocks_agree(Wall(date.0 + 999), came.between);
    stamp.filter(|stamp| stamp.member == came.header.member_id && agrees).map(|stamp| came.now.since(stamp.at))
}

pub(super) fn listed(kept: &Kept, life: Life) -> Listed {
    Listed { ticket: kept.ticket.clone(), order: kept.order, seq: kept.seq, at: kept.at, life }
}
