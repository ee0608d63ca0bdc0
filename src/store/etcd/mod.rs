//! Locks in etcd: a few keys a lock, changed by transactions, over the cluster's JSON gateway.
//!
//! ```text
//! {prefix}/{name}/ledger   sealed; its version is the one that etcd counts
//! {prefix}/{name}/h/{id}   a holder's ticket     {prefix}/{name}/b/{id}   its beats: how often written, and when
//! {prefix}/{name}/q/{id}   a waiter's ticket, on a lease; in the order of creation
//! {prefix}/{name}/r/{id}   the same of one that counts as having joined at another time; in the order of that
//! {prefix}/{name}/x/{id}   an id that left the queue and must not come again, on the lease of its ticket
//! {prefix}/.store          the store's record
//! ```
//!
//! Waiters live on leases: who dies leaves the queue, and nothing is lost but a place in it. Holders do not. A leader that
//! was frozen for longer than a lease has its followers revoke it after it thaws, although it was renewed all the while and
//! a linearizable read after the renewal still showed its keys (etcd issues 12528, 15247; etcd before 3.4.31 and 3.5.13).
//! What a lease keeps alive can so vanish a moment after its best beat, and with the lock would go to another. A holder's
//! beat is a write instead, and who wants to know whether it lives must watch that, as on every other server.
//!
//! A waiter's own key is what wakes it: a waker writes it anew, unchanged.

mod address;
mod beats;
mod cluster;
mod examine;
mod http;
mod kept;
mod keys;
mod line;
mod listing;
mod record;
mod refusal;
mod reply;
mod shown;
mod turn;
mod txn;
mod verbs;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use address::Address;

use self::cluster::{Answers, Cluster, TXN};
use self::kept::{Kept, Stamp};
use self::keys::Keys;
use self::line::Request;
use self::record::Record;
use self::reply::Complaint;
use self::shown::{Came, Look, Place, Scope, Seen, Sight};
use self::txn::{Compare, Op, Txn};
use self::wake::Wakes;
use super::wire::Budget;
use super::{Beat, Error, Finding, Kind, Liveness, Outcome, Server as _, Store, Terms};
use crate::ledger::{Commit, Id, Straight, Ticket, View};
use crate::name::Name;

use crate::time::{Clock, Tick, Wall};

/// A record that two write at once is there at the next look.
const LOOKS: usize = 4;

/// A store in one etcd cluster.
pub struct Etcd {
    cluster: Cluster,
    terms: Terms,
    wakes: Wakes,
    /// The record as it was last seen.
    record: Option<Record>,
    /// Of each lock the revision of the last look, and the ids that it showed.
    looks: BTreeMap<Name, (u64, Vec<Id>)>,
    /// A member's clock, and when it showed that.
    shown: Option<(Stamp, Tick)>,
    /// Tickets of the last looks, and where they are kept.
    places: BTreeMap<Id, (Place, Kept)>,
    /// How often the holders of the last looks had beaten.
    beats: BTreeMap<Id, u64>,
    /// Ids whose ticket was asked for.
    asked: BTreeSet<Id>,
    /// Ids whose ticket was asked for without an answer: it may yet be appended.
    loose: BTreeSet<Id>,
    /// Ids that were dropped.
    gone: BTreeSet<Id>,
}

impl Etcd {
    /// A store that connects when it is first used.
    pub fn open(address: Address, terms: &Terms) -> Etcd {
        Etcd {
            cluster: Cluster::new(address),
            terms: terms.clone(),
            wakes: Wakes::new(),
            record: None,
            looks: BTreeMap::new(),
            shown: None,
            places: BTreeMap::new(),
            beats: BTreeMap::new(),
            asked: BTreeSet::new(),
            loose: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    fn keys(&self, lock: &Name) -> Keys {
        Keys::of(&self.cluster.address.prefix, lock)
    }

    /// Looks at a lock. A store that has no record of this life gets one.
    fn look(&mut self, lock: &Name, id: Option<&Id>, budget: Budget) -> Result<Seen, Error> {
        let keys = self.keys(lock);
        let mine = id.map_or(Vec::new(), |id| self.mine(&keys, id));
        self.look_for(lock, id, &mine, budget)
    }

    /// Where the ticket may be kept that is not among the holders.
    fn mine(&self, keys: &Keys, id: &Id) -> Vec<String> {
        match self.places.get(id) {
            Some((Place::Holding, _)) => Vec::new(),
            Some((place, _)) => vec![place.key(keys, id)],
            None => vec![keys.plain(id), keys.led(id), keys.gone(id)],
        }
    }

    fn look_for(&mut self, lock: &Name, id: Option<&Id>, mine: &[String], budget: Budget) -> Result<Seen, Error> {
        let keys = self.keys(lock);
        for _ in 0..LOOKS {
            let address = self.cluster.address.clone();
            let max_ttl = self.terms.max_ttl;
            let look = Look { address: &address, lock, keys: &keys, id, mine, max_ttl, scope: Scope::Whole };
            let answers = self.cluster.ask(&[Request { path: TXN, json: Txn::read(look.ops()).json() }], budget)?;
            let (_, came) = self.came(answers, look.ops().len())?.map_err(|refused| refused.error)?;
            let epoch = shown::epoch(&came.header);
            match look.sight(came)? {
                Sight::Seen(seen) => {
                    let mut seen = *seen;
                    if seen.beyond {
                        seen.view.ahead = self.count_ahead(&keys, &seen, id, budget)?;
                    }
                    return self.note(lock, seen, id);
                }
                Sight::Unrecorded { version } => self.write_record(&epoch, version, budget)?,
            }
        }
        Err(Error::Unreachable(format!("the record in {} keeps changing: try again", self.cluster.address.display())))
    }

    /// A new life begins with a memory that nobody has waited out.
    fn write_record(&mut self, epoch: &str, version: u64, budget: Budget) -> Result<(), Error> {
        let key = keys::record(&self.cluster.address.prefix);
        let record = Record::new(epoch, self.terms.max_ttl.as_millis() as u64);
        let compare = vec![Compare::version(&key, version)];
        let write = Txn::change(compare, vec![Op::put(&key, &record.text())], Vec::new());
        let answers = self.cluster.ask(&[Request { path: TXN, json: write.json() }], budget)?;
        self.came(answers, 0)?.map(drop).map_err(|refused| refused.error)
    }

    /// Changes a lock if `compare` holds, and looks at it; says whether it did. `first` goes out before it on the same line.
    fn change(&mut self, lock: &Name, id: &Id, change: Change, budget: Budget) -> Result<Result<(bool, Seen), Refused>, Error> {
        let keys = self.keys(lock);
        let address = self.cluster.address.clone();
        let mine = self.mine(&keys, id);
        let (mine, max_ttl) = (mine.as_slice(), self.terms.max_ttl);
        let look = Look { address: &address, lock, keys: &keys, id: Some(id), mine, max_ttl, scope: Scope::Whole };
        let reads = look.ops();
        let count = reads.len();
        let txn = Request { path: TXN, json: Txn::change(change.compare, change.ops, reads).json() };
        let requests: Vec<Request> = change.first.into_iter().chain([txn]).collect();
        let answers = self.cluster.ask(&requests, budget)?;
        let (done, came) = match self.came(answers, count)? {
            Ok(came) => came,
            Err(refused) => return Ok(Err(refused)),
        };
        if !done {
            return Ok(Ok((false, self.look(lock, Some(id), budget)?)));
        }
        match look.sight(came)? {
            Sight::Seen(seen) => {
                let mut seen = *seen;
                if seen.beyond {
                    seen.view.ahead = self.count_ahead(&keys, &seen, Some(id), budget)?;
                }
                Ok(Ok((true, self.note(lock, seen, Some(id))?)))
            }
            // Another life has begun meanwhile: what was done was done in that.
            Sight::Unrecorded { .. } => Ok(Ok((false, self.look(lock, Some(id), budget)?))),
        }
    }

    /// Reads the last answer, that to a transaction; what etcd refused comes with the error it is by default.
    fn came(&mut self, answers: Answers, count: usize) -> Result<Result<(bool, Came), Refused>, Error> {
        let (now, date, between, member) = (answers.now(), answers.date(), answers.between, answers.member);
        let last = answers.parts.into_iter().next_back();
        let answer = match last {
            Some(Ok(answer)) => answer,
            Some(Err(complaint)) => {
                let error = self.cluster.refusal(member, &complaint);
                return Ok(Err(Refused { complaint, error }));
            }
            None => unreachable!("each request has its answer"),
        };
        let txn: reply::Txn = self.cluster.read(member, &answer.json)?;
        let header = txn.header.clone();
        if date.is_some() {
            self.shown = Some((Stamp { member: header.member_id, at: now }, Clock::Boottime.now()));
        }
        let found_all = txn.found_all();
        let (done, reads) = txn.settled(count);
        // No cluster has the number zero.
        if header.cluster_id == 0 || (done && reads.len() != count) {
            return Err(refusal::stranger(&self.cluster.address.members[member], None));
        }
        Ok(Ok((done, Came { header, reads, found_all, now, date, between })))
    }

    /// Takes note of a look, which is never older than the one before.
    fn note(&mut self, lock: &Name, seen: Seen, id: Option<&Id>) -> Result<Seen, Error> {
        let same_life = self.record.as_ref().is_some_and(|known| known.mark == seen.record.mark);
        if same_life && seen.revision < self.revision(lock) {
            return Err(refusal::set_back(&self.cluster.address));
        }
        self.record = Some(seen.record.clone());
        let ids = seen.places.keys().cloned().collect();
        for id in self.looks.insert(lock.clone(), (seen.revision, ids)).into_iter().flat_map(|(_, ids)| ids) {
            self.places.remove(&id);
            self.beats.remove(&id);
        }
        self.places.extend(seen.places.clone());
        self.beats.extend(seen.beats());
        if let Some(id) = id.filter(|id| !self.waits(id)) {
            self.wakes.close(id);
        }
        Ok(seen)
    }

    fn revision(&self, lock: &Name) -> u64 {
        self.looks.get(lock).map_or(0, |(revision, _)| *revision)
    }

    fn waits(&self, id: &Id) -> bool {
        self.places.get(id).is_some_and(|(place, _)| *place != Place::Holding)
    }

    /// What a holder's beat says now.
    fn stamp(&self) -> String {
        let stamp = self.shown.map(|(stamp, seen)| {
            let later = Clock::Boottime.now().since(seen).as_millis() as u64;
            Stamp { member: stamp.member, at: Wall(stamp.at.0 + later) }
        });
        Stamp::text(stamp)
    }

    /// A holder learns of requests by its beats: an uncontended lock must not cost a second connection. But when its own
    /// line dies it looks at once.
    fn wait_as_holder(&mut self, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        let Some(line) = self.cluster.line() else { return wake::heard(&[bell], until).map(|_| ()) };
        wake::heard(&[bell, line.fd()], until)?;
        if !line.is_idle() {
            self.cluster.hang_up();
        }
        Ok(())
    }
}

/// A change to a lock.
#[derive(Default)]
struct Change {
    first: Option<Request>,
    compare: Vec<Compare>,
    ops: Vec<Op>,
}

/// A transaction that etcd did not even look into.
struct Refused {
    complaint: Complaint,
    error: Error,
}

impl Store for Etcd {
    fn kind(&self) -> Kind {
        Kind { engine: "etcd", clock: Clock::Boottime, liveness: Liveness::Beats }
    }

    fn allow(&mut self, request: Duration) {
        self.terms.request = request;
    }

    fn prepare(&mut self, _lock: &Name, _ticket: &Ticket) -> Result<Vec<RawFd>, Error> {
        Ok(Vec::new())
    }

    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error> {
        self.join(lock, ticket, None)
    }

    fn enter(&mut self, lock: &Name, ticket: &Ticket, straight: &Straight) -> Result<View, Error> {
        self.join(lock, ticket, Some(straight))
    }

    fn beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error> {
        let budget = Budget::new(self.terms.request);
        if self.waits(id) { self.beat_as_waiter(lock, id, with, budget) } else { self.beat_as_holder(lock, id, with, budget) }
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        let budget = Budget::new(self.terms.request);
        if let Some(id) = id
            && let Some(seen) = self.look_after_wake(lock, id, budget)?
        {
            return Ok(seen.view);
        }
        Ok(self.look(lock, id, budget)?.view)
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        self.carry_out(lock, id, commit)
    }

    fn wait(&mut self, lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        let Some((place, _)) = self.places.get(id).filter(|(place, _)| *place != Place::Holding) else {
            return self.wait_as_holder(until, bell);
        };
        let (key, revision) = (place.key(&self.keys(lock), id), self.revision(lock));
        self.wakes.wait(&mut self.cluster, &key, revision, until, bell, self.terms.request)
    }

    fn locks(&mut self) -> Result<Vec<Name>, Error> {
        self.list()
    }

    fn examine(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}
