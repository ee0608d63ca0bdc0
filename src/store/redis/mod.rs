//! Locks in Redis or Valkey: one hash a lock, changed by short scripts; leases are told dead by watching their beats.
//!
//! ```text
//! {prefix}:{<name>}        hash: v, ledger, h (holders' ids), seq, last (no ticket is older than one before it);
//!                          of each ticket t:<id> its text, s:<id> "seq order at", b:<id> "beats ms digest"
//! {prefix}:{<name>}:queue  zset of those who wait: score = order, member = seq:id
//! {prefix}:{<name>}:gone   zset id -> ms of ids that never return, for an hour and at most 10,000
//! {prefix}:store           hash: the life of the store, and whether its memory is to be trusted
//! {prefix}:names           set of the locks' raw names
//! {prefix}:wake:<id>       channel: a wake, and with it what the waiter's next look would show
//! ```
//!
//! In a cluster `store` and `names` are each lock's own, `{prefix}:{<name>}:store`, and of each node there is besides
//! {prefix}:{<tag>}:node    hash, in the lowest of its slots: the life of the node whose memory was waited out
//!
//! No key has a time to live: a lock that expired would be a lock forgotten.
//!
//! A user that may do no more than this:
//! `ACL SETUSER locks on >PASSWORD resetkeys ~vaultlock:* resetchannels &vaultlock:* -@all +evalsha +eval +info +time
//! +type +exists +hget +hmget +hset +hdel +hexists +zadd +zrem +zscore +zcard +zrank +zrange +zremrangebyscore
//! +zremrangebyrank +sadd +smembers +publish +subscribe +select` (also in [`ACL`]).

mod address;
mod arguments;
mod asking;
mod connection;
mod examine;
mod lines;
mod listing;
mod lookout;
mod refusal;
mod reply;
mod resp;
mod scripts;
mod several;
mod wake;

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, RawFd};
use std::thread;
use std::time::Duration;

use redis::Value;

pub use address::Address;
pub use refusal::ACL;

use self::arguments::{bytes, commit_args, straight_args};
use self::lines::Lines;
use self::reply::Reply;
use self::scripts::{BEAT, COMMIT, LOOK, TAKE};
use self::wake::Wakes;
use super::{Beat, Error, Finding, Kind, Liveness, Outcome, Store, Terms, clocks_agree};
use crate::ledger::codec::write_ticket;
use crate::ledger::{Commit, Form, Id, Straight, Ticket, View, view::FIRST};
use crate::name::Name;
use crate::time::{Clock, Tick, Wall};

/// Nobody waits behind so many; a script gone wild must not fill the server.
const MOST_WAITERS: u32 = 10_000;
/// The server reckons with doubles: beyond this an order would be rounded.
const FURTHEST_LEAD: i64 = 1 << 51;

/// A store in one Redis server, or in several that know of each other.
pub struct Redis {
    address: Address,
    terms: Terms,
    lines: Lines,
    wakes: Wakes,
    /// Tickets that were last seen waiting: they alone are worth a subscription.
    waiting: BTreeSet<Id>,
}

impl Redis {
    /// A holder learns of requests by its beats: an uncontended lock must not cost a second connection. But when its own
    /// line dies it looks at once, for the server may have come back without its memory.
    fn wait_as_holder(&mut self, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        let heard = [vec![bell], self.lines.fds()].concat();
        wake::heard(&heard, until)?;
        self.lines.look_after();
        Ok(())
    }

    /// A store that connects when it is first used.
    pub fn open(address: Address, terms: &Terms) -> Redis {
        let lines = Lines::new(&address);
        Redis { address, terms: terms.clone(), lines, wakes: Wakes::new(), waiting: BTreeSet::new() }
    }

    /// The keys of a lock, as the scripts know them.
    fn keys(&self, lock: &Name) -> [String; 5] {
        let (prefix, key) = (&self.address.prefix, self.key(lock));
        // What is the store's is each lock's own in a cluster: a script gets keys of one slot.
        let whole = if self.address.is_cluster() { &key } else { prefix };
        [key.clone(), format!("{key}:queue"), format!("{key}:gone"), format!("{whole}:store"), format!("{whole}:names")]
    }

    fn slot(&self, lock: &Name) -> u16 {
        self.lines.slot(&lock.spelled())
    }

    fn key(&self, lock: &Name) -> String {
        format!("{}:{{{}}}", self.address.prefix, lock.spelled())
    }

    fn channel(&self, id: &str) -> String {
        format!("{}:wake:{id}", self.address.prefix)
    }

    fn reply<'a>(&self, answer: &'a mut Answer, lock: &'a Name) -> Reply<'a> {
        Reply {
            address: &answer.server,
            lock,
            key: &answer.key,
            max_ttl: self.terms.max_ttl,
            between: answer.between,
            parts: std::mem::take(&mut answer.parts).into_iter(),
        }
    }

    /// Appends a ticket; `straight` is what the script needs to let it in at once.
    fn join(&mut self, lock: &Name, ticket: &Ticket, straight: Vec<Vec<u8>>) -> Result<View, Error> {
        let lead = ticket.lead_ms.clamp(-FURTHEST_LEAD, FURTHEST_LEAD);
        let mut args = vec![
            bytes(ticket.id.as_str()),
            bytes(write_ticket(ticket)),
            bytes(lead.to_string()),
            bytes(lock.as_str()),
            bytes(MOST_WAITERS.to_string()),
        ];
        args.extend(straight);
        let answer = self.run(&TAKE, lock, &args)?;
        self.seen(answer, lock, Some(&ticket.id))
    }

    fn seen(&mut self, answer: Answer, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        let view = self.read(answer, lock, id)?;
        self.noted(view, lock, id)
    }

    fn read(&self, mut answer: Answer, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        self.reply(&mut answer, lock).view(id)
    }

    /// Takes note of whether the asker waits. A view that lists too few for it is taken anew.
    fn noted(&mut self, mut view: View, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        if is_short(&view, id) {
            let answer = self.run(&LOOK, lock, &[bytes(id.map_or("", Id::as_str)), bytes("1")])?;
            view = self.read(answer, lock, id)?;
        }
        let Some(id) = id else { return Ok(view) };
        if view.ticket(id).is_some() && view.ledger.holder(id).is_none() {
            self.waiting.insert(id.clone());
        } else {
            self.waiting.remove(id);
        }
        Ok(view)
    }

    /// The lock as it was when its ticket was woken, if that came with the wake a moment ago.
    fn woken_with(&mut self, lock: &Name, id: &Id) -> Option<View> {
        let (parts, got) = self.wakes.shown(id)?;
        let server = self.lines.home(self.slot(lock))?;
        let answer = Answer { server, key: self.key(lock), between: (got, got), parts };
        let view = self.read(answer, lock, Some(id)).ok()?;
        let fresh = clocks_agree(view.now, (got, Wall::now()));
        (fresh && view.enough(Some(id)) == FIRST).then_some(view)
    }
}

impl Store for Redis {
    fn kind(&self) -> Kind {
        Kind { engine: "redis", clock: Clock::Boottime, liveness: Liveness::Beats }
    }

    fn allow(&mut self, request: Duration) {
        self.terms.request = request;
    }

    fn prepare(&mut self, _lock: &Name, _ticket: &Ticket) -> Result<Vec<RawFd>, Error> {
        Ok(Vec::new())
    }

    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error> {
        self.join(lock, ticket, Vec::new())
    }

    fn enter(&mut self, lock: &Name, ticket: &Ticket, straight: &Straight) -> Result<View, Error> {
        let form = Form::of(lock.as_str(), ticket, straight.wall);
        self.join(lock, ticket, form.map(|form| straight_args(form, straight)).unwrap_or_default())
    }

    fn beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error> {
        let args: Vec<Vec<u8>> = [id].into_iter().chain(with).map(|id| bytes(id.as_str())).collect();
        let mut answer = self.run(&BEAT, lock, &args)?;
        let beat = self.reply(&mut answer, lock).beat()?;
        if beat == Beat::Gone {
            self.waiting.remove(id);
        }
        Ok(beat)
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        if let Some(view) = id.and_then(|id| self.woken_with(lock, id)) {
            return self.noted(view, lock, id);
        }
        let answer = self.run(&LOOK, lock, &[bytes(id.map_or("", Id::as_str))])?;
        self.seen(answer, lock, id)
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        let args = commit_args(lock, id, commit, self.channel(""))?;
        let mut answer = self.run(&COMMIT, lock, &args)?;
        if !commit.wake.is_empty() {
            // The server has yet to tell them, and they have something to do.
            thread::yield_now();
        }
        match self.reply(&mut answer, lock).outcome(id)? {
            Outcome::Done(None) => {
                let holds = commit.ledger.as_ref().is_some_and(|ledger| ledger.holder(id).is_some());
                if holds || commit.drop.contains(id) {
                    self.waiting.remove(id);
                }
                Ok(Outcome::Done(None))
            }
            Outcome::Done(Some(view)) => Ok(Outcome::Done(Some(self.noted(view, lock, Some(id))?))),
            Outcome::Conflict(view) => Ok(Outcome::Conflict(self.noted(view, lock, Some(id))?)),
        }
    }

    fn wait(&mut self, lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        if !self.waiting.contains(id) {
            self.wakes.close();
            return self.wait_as_holder(until, bell);
        }
        let channel = self.channel(id.as_str());
        // Whose home is not known is asked for by the next look.
        let Some(home) = self.lines.home(self.slot(lock)) else { return Ok(()) };
        self.wakes.wait(&home, id, &channel, until, bell, self.terms.request)
    }

    fn locks(&mut self) -> Result<Vec<Name>, Error> {
        self.names()
    }

    fn examine(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

/// Whether a view lists fewer waiters than the asker needs, and there are more.
fn is_short(view: &View, id: Option<&Id>) -> bool {
    let listed = view.waiters().count();
    listed <= FIRST && listed < view.waiting && view.enough(id) > FIRST
}

/// What a script answered, not yet read.
struct Answer {
    /// Who answered.
    server: Address,
    key: String,
    between: (Wall, Wall),
    parts: Vec<Value>,
}
