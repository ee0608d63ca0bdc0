//! Locks in ZooKeeper: a few nodes a lock, changed several at once or not at all, over a small client of our own.
//!
//! ```text
//! {chroot}/{name}                          the ledger, sealed; its version is the one that ZooKeeper counts
//! {chroot}/{name}/t                        how often it was written counts those who joined
//! {chroot}/{name}/t/{order}-{p|l}-{id}-{n} a ticket, sealed, numbered by ZooKeeper; written anew, unchanged, by each beat
//! {chroot}/.wake/{id}                      written to wake that ticket; comes and goes with it
//! {chroot}/.store                          the store's record
//! {chroot}/.store/{mark}                   is there for as long as the life of that record
//! ```
//!
//! No ticket is ephemeral: nothing here hangs on a session. A follower answers pings by itself, also for a while after it was
//! cut off, while the leader ends the session and with it what it owned; so a session that seems well proves nothing, and what
//! a session owns can go to another while its owner works on. A beat is a write instead, which a majority acknowledges, and who
//! wants to know whether a claim lives must watch that, as on every other server. What a session is good for is order: what was
//! sent on it before is carried out before what is sent now, or never, whichever member it went to. So no ticket is appended
//! after it was withdrawn.

mod address;
mod beats;
mod ensemble;
mod examine;
mod jute;
mod line;
mod listing;
mod nodes;
mod record;
mod refusal;
mod reply;
mod request;
mod shown;
mod verbs;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use address::Address;

use self::ensemble::Ensemble;
use self::nodes::Nodes;
use self::record::Record;
use self::shown::Shown;
use self::wake::Wakes;
use super::wire::Budget;
use super::{Beat, Error, Finding, Kind, Liveness, Outcome, Server as _, Store, Terms};
use crate::ledger::{Commit, Id, Straight, Ticket, View};
use crate::name::Name;
use crate::time::{Clock, Tick};

/// A store in one ZooKeeper ensemble.
pub struct ZooKeeper {
    ensemble: Ensemble,
    nodes: Nodes,
    terms: Terms,
    wakes: Wakes,
    /// The record as it was last seen, and the number of the last change at that time.
    record: Option<Record>,
    zxid: i64,
    /// Of each lock the ids that the last look showed.
    looks: BTreeMap<Name, Vec<Id>>,
    /// The leader's clock.
    shown: Option<Shown>,
    /// The nodes of the tickets of the last looks, and the texts of those that were listed.
    places: BTreeMap<Id, String>,
    texts: BTreeMap<Id, Vec<u8>>,
    /// The holders among them.
    holding: BTreeSet<Id>,
    /// Ids that were dropped.
    gone: BTreeSet<Id>,
}

impl ZooKeeper {
    /// A store that connects when it is first used.
    pub fn open(address: Address, terms: &Terms) -> ZooKeeper {
        ZooKeeper {
            nodes: Nodes { base: address.chroot.clone() },
            ensemble: Ensemble::new(address),
            terms: terms.clone(),
            wakes: Wakes::new(),
            record: None,
            zxid: 0,
            looks: BTreeMap::new(),
            shown: None,
            places: BTreeMap::new(),
            texts: BTreeMap::new(),
            holding: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    fn display(&self) -> String {
        self.ensemble.address.display()
    }

    fn waits(&self, id: &Id) -> bool {
        self.places.contains_key(id) && !self.holding.contains(id)
    }

    fn stranger(&self) -> Error {
        refusal::stranger(self.ensemble.asked())
    }
}

impl Store for ZooKeeper {
    fn kind(&self) -> Kind {
        Kind { engine: "zookeeper", clock: Clock::Boottime, liveness: Liveness::Beats }
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
        self.write_beat(lock, id, with)
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        Ok(self.look(lock, id, Budget::new(self.terms.request))?.view)
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        self.carry_out(lock, id, commit)
    }

    fn wait(&mut self, _lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        if self.waits(id) { self.wait_as_waiter(id, until, bell) } else { self.wait_as_holder(until, bell) }
    }

    fn locks(&mut self) -> Result<Vec<Name>, Error> {
        self.list()
    }

    fn examine(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}
