//! The verbs as changes of several nodes at once: joining and committing.

use std::collections::BTreeSet;

use super::jute::Strange;
use super::nodes::Slot;
use super::record::Record;
use super::reply::{NO_NODE, NODE_EXISTS};
use super::request::{Op, Request};
use super::shown::{Seen, Shown};
use super::{ZooKeeper, refusal};
use crate::ledger::codec::{LONGEST, sealed, write_ledger, write_ticket};
use crate::ledger::{Commit, Guard, Id, Life, Listed, Straight, Ticket, View};
use crate::mutant::{self, Mutant};
use crate::name::Name;
use crate::store::wire::Budget;
use crate::store::{Error, Outcome};
use crate::time::Wall;

/// Nobody waits behind so many; a script gone wild must not fill the server.
const MOST_WAITERS: usize = 10_000;
/// More than these callers that change a lock at once are told to try again.
const TRIES: usize = 8;
const BAD_VERSION: i32 = -103;
const NOT_EMPTY: i32 = -111;

/// The op that could not be done, so that none was, and why.
struct Failed {
    at: usize,
    code: i32,
}

impl ZooKeeper {
    /// Appends a ticket; with `straight` a plain lock is entered instead.
    pub(super) fn join(&mut self, lock: &Name, ticket: &Ticket, straight: Option<&Straight>) -> Result<View, Error> {
        let budget = Budget::new(self.terms.request);
        let id = &ticket.id;
        for _ in 0..TRIES {
            let seen = self.look(lock, Some(id), budget)?;
            if self.places.contains_key(id) || self.gone.contains(id) {
                return Ok(seen.view);
            }
            if seen.view.waiting >= MOST_WAITERS {
                return Err(refusal::full(&self.ensemble.address, MOST_WAITERS));
            }
            let entered = straight.and_then(|straight| straight.commit(&alone(&seen.view, ticket), ticket));
            let ledger = entered.and_then(|commit| commit.ledger).map(|ledger| sealed(&write_ledger(&ledger)));
            let ops = self.joining(lock, ticket, &seen, ledger);
            // Else another has changed it, or another life has begun meanwhile: what was done was done in that.
            let now = seen.view.now;
            if let Ok(Some(seen)) = self.change(lock, Some(id), ops, Vec::new(), budget)? {
                // Whoever is in is so since then.
                let is_in = seen.view.ledger.holder(id).is_some();
                return Ok(if is_in { View { now, ..seen.view } } else { seen.view });
            }
        }
        Err(refusal::said(&self.ensemble.address, &self.nodes.ledger(lock), NO_NODE))
    }

    /// Appends the ticket; with a ledger only while nobody else joins, and that ledger is written too.
    fn joining(&self, lock: &Name, ticket: &Ticket, seen: &Seen, ledger: Option<String>) -> Vec<Op> {
        let access = self.ensemble.address.access();
        let create = |path: String, text: Vec<u8>, numbered| Op::Create { path, text, access, numbered };
        let tickets = self.nodes.tickets(lock);
        let mut ops = vec![self.same_life()];
        if !seen.is_known {
            ops.push(create(self.nodes.ledger(lock), Vec::new(), false));
        }
        if seen.joined.is_none() {
            ops.push(create(tickets.clone(), Vec::new(), false));
        }
        let joined = if ledger.is_some() { seen.joined.unwrap_or(0) } else { -1 };
        ops.push(Op::Set(tickets.clone(), Vec::new(), joined));
        let name = Slot::name(ticket, seen.view.now);
        ops.push(create(format!("{tickets}/{name}"), sealed(&write_ticket(ticket)).into_bytes(), true));
        // Only one of two with the same id can make it.
        ops.push(create(self.nodes.wake(&ticket.id), Vec::new(), false));
        if let Some(text) = ledger {
            ops.push(Op::Set(self.nodes.ledger(lock), text.into_bytes(), seen.view.ledger.version as i32));
        }
        ops
    }

    fn same_life(&self) -> Op {
        let mark = self.record.as_ref().map_or("", |record| record.mark.as_str());
        Op::Check(self.nodes.life(mark), -1)
    }

    /// Carries the changes out and looks at the lock, unless the store has no record any more. `after` goes out behind them on the same line.
    fn change(
        &mut self,
        lock: &Name,
        id: Option<&Id>,
        ops: Vec<Op>,
        after: Vec<Request>,
        budget: Budget,
    ) -> Result<Result<Option<Seen>, Failed>, Error> {
        let paths: Vec<String> = ops.iter().map(|op| op.path().to_owned()).collect();
        let reads = self.reads(lock, id);
        let behind = after.len();
        let requests: Vec<Request> = [Request::Multi(ops)].into_iter().chain(after).chain(reads).collect();
        let sent = Wall::now();
        let replies = self.ensemble.ask(&requests, budget)?;
        if replies[0].error != 0 {
            return Err(refusal::said(&self.ensemble.address, &self.nodes.base, replies[0].error));
        }
        let multi = replies[0].multi().map_err(|Strange| self.stranger())?;
        if let Some((at, code)) = multi.failed {
            let path = paths.get(at).map_or("", String::as_str);
            return match code {
                NO_NODE | NODE_EXISTS | BAD_VERSION | NOT_EMPTY => Ok(Err(Failed { at, code })),
                code => Err(refusal::said(&self.ensemble.address, path, code)),
            };
        }
        if let Some(stat) = multi.written {
            self.shown = Some(Shown::new(stat, sent));
        }
        let seen = self.sight(lock, id, &replies[1 + behind..], budget)?;
        Ok(Ok(seen))
    }

    pub(super) fn carry_out(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        let budget = Budget::new(self.terms.request);
        // Who has no ticket here speaks of one that it has seen.
        let seen = commit.guards.iter().any(|guard| matches!(guard, Guard::Present(id) if self.places.contains_key(id)));
        if self.record.is_none() || !(seen || self.places.contains_key(id)) {
            self.look(lock, Some(id), budget)?;
        }
        let Some(record) = self.record.clone() else { unreachable!("a look takes note of the record") };
        let other_life = commit.epoch != record.epoch() || commit.settle.as_ref().is_some_and(|mark| *mark != record.mark);
        let guards = self.guards(commit);
        let (false, Some(guards)) = (other_life, guards) else {
            return Ok(Outcome::Conflict(self.look(lock, Some(id), budget)?.view));
        };
        let written = self.written(lock, commit, &record)?;
        let woken: Vec<Request> = unique(&commit.wake)
            .filter(|woken| *woken != id && !commit.drop.contains(woken) && !self.holding.contains(woken))
            .map(|woken| Request::Set(self.nodes.wake(woken), Vec::new()))
            .collect();
        let mut dropped: Vec<Op> = unique(&commit.drop).flat_map(|id| self.dropping(id)).collect();
        let fixed = [guards, written].concat();
        for _ in 0..=dropped.len() {
            let ops = [&fixed[..], &dropped].concat();
            match self.change(lock, Some(id), ops, woken.clone(), budget)? {
                Ok(seen) => {
                    self.gone.extend(commit.drop.iter().cloned());
                    return Ok(match seen {
                        Some(seen) if seen.view.epoch == commit.epoch => Outcome::Done(Some(seen.view)),
                        // In another life it was not what was meant.
                        _ => Outcome::Conflict(self.look(lock, Some(id), budget)?.view),
                    });
                }
                // It went away by itself.
                Err(Failed { at, code: NO_NODE }) if at >= fixed.len() => drop(dropped.remove(at - fixed.len())),
                Err(_) => break,
            }
        }
        Ok(Outcome::Conflict(self.look(lock, Some(id), budget)?.view))
    }

    /// What must still be so; `None` if it is seen not to be.
    fn guards(&self, commit: &Commit) -> Option<Vec<Op>> {
        let mut ops = vec![self.same_life()];
        for guard in &commit.guards {
            match guard {
                Guard::Present(id) => ops.push(Op::Check(self.places.get(id)?.clone(), -1)),
                Guard::Still(id, Some(count)) => {
                    ops.push(Op::Check(self.places.get(id)?.clone(), i32::try_from(*count).ok()?));
                }
                // What is not there can be made; and nobody sees it who looks afterwards.
                Guard::Absent(id) | Guard::Still(id, None) => {
                    let (path, access) = (self.nodes.wake(id), self.ensemble.address.access());
                    ops.push(Op::Create { path: path.clone(), text: Vec::new(), access, numbered: false });
                    ops.push(Op::Delete(path));
                }
            }
        }
        Some(ops)
    }

    fn written(&self, lock: &Name, commit: &Commit, record: &Record) -> Result<Vec<Op>, Error> {
        let mut ops = Vec::new();
        if let Some(ledger) = &commit.ledger {
            let text = sealed(&write_ledger(ledger));
            if text.len() > LONGEST {
                return Err(Error::Refused(format!(
                    "the ledger of {lock:?} would be too long: use fewer holders or shorter labels"
                )));
            }
            let version = if mutant::on(Mutant::BlindCommit) { -1 } else { commit.version as i32 };
            ops.push(Op::Set(self.nodes.ledger(lock), text.into_bytes(), version));
        }
        if commit.settle.is_some() {
            ops.push(Op::Set(self.nodes.record(), record.settled().text().into_bytes(), -1));
        }
        Ok(ops)
    }

    /// A ticket goes, and its wake with it.
    fn dropping(&self, id: &Id) -> Vec<Op> {
        let Some(path) = self.places.get(id) else { return Vec::new() };
        vec![Op::Delete(path.clone()), Op::Delete(self.nodes.wake(id))]
    }

    /// A new life begins with a memory that nobody has waited out.
    pub(super) fn write_record(&mut self, budget: Budget) -> Result<(), Error> {
        let access = self.ensemble.address.access();
        let way: Vec<String> = self.nodes.way_to_base().into_iter().chain([self.nodes.wakes()]).collect();
        let creates: Vec<Request> = way.iter().map(|path| Request::Create(path.clone(), access)).collect();
        let record = Record::new(self.terms.max_ttl.as_millis() as u64);
        let create = |path: String, text: Vec<u8>| Op::Create { path, text, access, numbered: false };
        let write = Request::Multi(vec![
            create(self.nodes.record(), record.text().into_bytes()),
            create(self.nodes.life(&record.mark), Vec::new()),
        ]);
        let requests: Vec<Request> = creates.into_iter().chain([write]).collect();
        let replies = self.ensemble.ask(&requests, budget)?;
        let (written, made) = replies.split_last().expect("each request has its answer");
        if written.error != 0 {
            return Err(refusal::said(&self.ensemble.address, &self.nodes.base, written.error));
        }
        match written.multi().map_err(|Strange| self.stranger())?.failed {
            // Another has written it.
            None | Some((_, NODE_EXISTS)) => Ok(()),
            Some((_, code)) => {
                // A node above that could not be made tells more than the one below it that is missing.
                let above = way.iter().zip(made).find(|(_, reply)| !matches!(reply.error, 0 | NODE_EXISTS));
                let (path, code) = above.map_or((&self.nodes.base, code), |(path, reply)| (path, reply.error));
                Err(refusal::said(&self.ensemble.address, path, code))
            }
        }
    }
}

/// The view as it would be with this ticket alone in the queue.
fn alone(view: &View, ticket: &Ticket) -> View {
    let life = Life::Beat { count: 0, quiet: None };
    let listed = Listed { ticket: ticket.clone(), order: 0, seq: 0, at: view.now, life };
    let tickets = view.tickets.iter().cloned().chain([listed]).collect();
    View { tickets, waiting: view.waiting + 1, ..view.clone() }
}

fn unique(ids: &[Id]) -> impl Iterator<Item = &Id> {
    ids.iter().collect::<BTreeSet<_>>().into_iter()
}
