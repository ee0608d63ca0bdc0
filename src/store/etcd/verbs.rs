//! The verbs as transactions: joining and committing.

use std::collections::BTreeSet;

use super::cluster::{GRANT, TXN};
use super::kept::Kept;
use super::keys::{self, Keys};
use super::line::Request;
use super::reply;
use super::shown::{self, Place, Seen};
use super::txn::{Compare, Op, Range, Txn};
use super::{Change, Etcd, Refused, refusal};
use crate::ledger::codec::{LONGEST, sealed, write_ledger};
use crate::ledger::{Commit, Guard, Id, Ledger, Life, Listed, Straight, Ticket, View};
use crate::mutant::{self, Mutant};
use crate::name::Name;

use crate::store::wire::Budget;
use crate::store::{Error, Outcome, Server as _};

/// Nobody waits behind so many; a script gone wild must not fill the server.
const MOST_WAITERS: usize = 10_000;
/// More of those before one's place that count as having joined earlier are not looked through for it.
const MOST_LED: usize = 500;
/// More that are found dead at once are not compared one by one.
const MOST_JUDGED: usize = 40;
/// An id whose ticket may yet be appended must stay gone for longer than a request may be under way, in seconds.
const GONE_FOR: u64 = 60;

impl Etcd {
    /// Appends a ticket; with `straight` a plain lock is entered instead. The ledger is not known before it is read, so that
    /// takes two round trips, of which only the second is written.
    pub(super) fn join(&mut self, lock: &Name, ticket: &Ticket, straight: Option<&Straight>) -> Result<View, Error> {
        let budget = Budget::new(self.terms.request);
        let id = &ticket.id;
        // An id that was never asked for lies nowhere but among those that are listed, if anywhere.
        let keys = self.keys(lock);
        let mine = if self.asked.insert(id.clone()) { Vec::new() } else { self.mine(&keys, id) };
        let seen = self.look_for(lock, Some(id), &mine, budget)?;
        if seen.gone || seen.view.ticket(id).is_some() || self.gone.contains(id) {
            return Ok(seen.view);
        }
        if seen.view.waiting >= MOST_WAITERS {
            return Err(refusal::full(&self.cluster.address, MOST_WAITERS));
        }
        let entered = straight.and_then(|straight| straight.commit(&alone(&seen.view, ticket), ticket));
        if let Some(ledger) = entered.and_then(|commit| commit.ledger) {
            let tried = self.go_straight(lock, ticket, &seen, ledger, budget);
            if let Some(entered) = self.unless_loose(id, tried)? {
                return Ok(entered.view);
            }
        }
        let appended = self.append(lock, ticket, &seen, budget);
        Ok(self.unless_loose(id, appended)?.view)
    }

    /// What was asked for without an answer may yet be done.
    fn unless_loose<T>(&mut self, id: &Id, tried: Result<T, Error>) -> Result<T, Error> {
        if matches!(tried, Err(Error::Unreachable(_))) || self.cluster.asked_twice() {
            self.loose.insert(id.clone());
        }
        tried
    }

    /// Enters the lock that was seen plain, if it still is: then it is known what is there without looking.
    fn go_straight(
        &mut self,
        lock: &Name,
        ticket: &Ticket,
        seen: &Seen,
        ledger: Ledger,
        budget: Budget,
    ) -> Result<Option<Seen>, Error> {
        let (keys, id) = (self.keys(lock), &ticket.id);
        let compare = vec![
            Compare::value(&keys::record(&self.cluster.address.prefix), &seen.record.text()),
            Compare::version(&keys.ledger(), seen.view.ledger.version),
            Compare::none(&keys.queue()),
            Compare::none(&keys.led_queue()),
            Compare::absent(&keys.holder(id)),
            Compare::absent(&keys.gone(id)),
        ];
        let mut kept = Kept::new(ticket, seen.view.now);
        let ops = vec![
            Op::put(&keys.ledger(), &sealed(&write_ledger(&ledger))),
            Op::put(&keys.holder(id), &kept.text()),
            Op::put(&keys.beats(id), &self.stamp()),
        ];
        let enter = Txn::change(compare, ops, Vec::new());
        let answers = self.cluster.ask(&[Request { path: TXN, json: enter.json() }], budget)?;
        let (done, came) = self.came(answers, 0)?.map_err(|refused| refused.error)?;
        if !done || shown::epoch(&came.header) != seen.view.epoch {
            return Ok(None);
        }
        let revision = came.header.revision;
        kept.seq = revision;
        let tickets = vec![shown::listed(&kept, Life::Beat { count: 1, quiet: None })];
        let view = View { ledger, tickets, waiting: 0, ahead: 0, ..seen.view.clone() };
        let places = [(id.clone(), (Place::Holding, kept))].into();
        let entered = Seen { view, record: seen.record.clone(), places, revision, gone: false, beyond: false };
        self.note(lock, entered, Some(id)).map(Some)
    }

    fn append(&mut self, lock: &Name, ticket: &Ticket, seen: &Seen, budget: Budget) -> Result<Seen, Error> {
        let (keys, id) = (self.keys(lock), &ticket.id);
        let place = if ticket.lead_ms == 0 { Place::Plain } else { Place::Led };
        let kept = Kept::new(ticket, seen.view.now);
        // Whole seconds, and no less than the ttl; etcd makes at least two of them.
        let seconds = ticket.ttl().min(self.terms.max_ttl).as_millis().div_ceil(1000) as u64;
        let all_keys = [keys.holder(id), keys.plain(id), keys.led(id), keys.gone(id)];
        let change = Change {
            first: Some(grant(keys::lease(id), seconds)),
            compare: all_keys.iter().map(|key| Compare::absent(key)).collect(),
            ops: vec![Op::put_on(&place.key(&keys, id), &kept.text(), Some(keys::lease(id)))],
        };
        match self.change(lock, id, change, budget)? {
            Ok((_, seen)) => Ok(seen),
            // The grant was refused, which is said on its own; or the lease of an earlier attempt has just run out.
            Err(Refused { complaint, .. }) if complaint.says("lease not found") => Err(Error::Unreachable(self.lease_trouble())),
            Err(Refused { error, .. }) => Err(error),
        }
    }

    fn lease_trouble(&self) -> String {
        format!("{} granted no lease: look at its health, and whether it is full", self.cluster.address.display())
    }

    pub(super) fn carry_out(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        let budget = Budget::new(self.terms.request);
        // Who has no ticket here speaks of one that it has seen.
        let seen = commit.guards.iter().any(|guard| matches!(guard, Guard::Present(id) if self.places.contains_key(id)));
        if self.record.is_none() || !(seen || self.places.contains_key(id)) {
            self.look(lock, Some(id), budget)?;
        }
        let Some(record) = self.record.clone() else { unreachable!("a look takes note of the record") };
        if commit.epoch != record.epoch || commit.settle.as_ref().is_some_and(|mark| *mark != record.mark) {
            return Ok(Outcome::Conflict(self.look(lock, Some(id), budget)?.view));
        }
        let mut change = Change { compare: self.compares(lock, commit, &record), ..Change::default() };
        change.ops = self.changes(lock, id, commit)?;
        if commit.settle.is_some() {
            change.ops.push(Op::put(&keys::record(&self.cluster.address.prefix), &record.settled().text()));
        }
        let graves = self.graves(lock, id, commit, &mut change);
        let plain: (Vec<Compare>, Vec<Op>) = (change.compare.clone(), change.ops.clone());
        change.ops.extend(graves);
        match self.change_as_told(lock, id, commit, change, budget)? {
            // The lease has just run out, and with it the ticket: that can't come again either.
            Err(Refused { complaint, .. }) if complaint.says("lease not found") => {
                let change = Change { first: None, compare: plain.0, ops: plain.1 };
                self.change_as_told(lock, id, commit, change, budget)?.map_err(|refused| refused.error)
            }
            done => done.map_err(|refused| refused.error),
        }
    }

    fn change_as_told(
        &mut self,
        lock: &Name,
        id: &Id,
        commit: &Commit,
        change: Change,
        budget: Budget,
    ) -> Result<Result<Outcome, Refused>, Error> {
        if !commit.show {
            return self.change_unseen(lock, id, commit, change, budget);
        }
        let (done, seen) = match self.change(lock, id, change, budget)? {
            Ok(changed) => changed,
            Err(refused) => return Ok(Err(refused)),
        };
        // In another life it was not what was meant.
        if !done || seen.view.epoch != commit.epoch {
            return Ok(Ok(Outcome::Conflict(seen.view)));
        }
        self.gone.extend(commit.drop.iter().cloned());
        Ok(Ok(Outcome::Done(Some(seen.view))))
    }

    fn compares(&self, lock: &Name, commit: &Commit, record: &super::Record) -> Vec<Compare> {
        let keys = self.keys(lock);
        let mut compare = Vec::new();
        if commit.ledger.is_some() || commit.settle.is_some() {
            compare.push(Compare::value(&keys::record(&self.cluster.address.prefix), &record.text()));
        }
        if commit.ledger.is_some() && !mutant::on(Mutant::BlindCommit) {
            compare.push(Compare::version(&keys.ledger(), commit.version));
        }
        // More than etcd compares at once: in place of each of them, that none of this lock's holders has beaten since.
        let judged = commit.guards.iter().filter(|guard| matches!(guard, Guard::Still(_, Some(_)))).count();
        let many = judged > MOST_JUDGED;
        if many {
            compare.push(Compare::unchanged(&keys.all_beats(), self.revision(lock)));
        }
        for guard in &commit.guards {
            match guard {
                Guard::Still(id, Some(count)) if many && self.beats.get(id) == Some(count) => {}
                Guard::Present(id) => compare.push(Compare::present(&self.place(id).key(&keys, id))),
                Guard::Still(id, Some(count)) => {
                    // Beats come and go with the ticket.
                    compare.push(Compare::version(&keys.beats(id), *count));
                }
                Guard::Absent(id) | Guard::Still(id, None) => {
                    compare.extend([keys.holder(id), keys.plain(id), keys.led(id)].iter().map(|key| Compare::absent(key)));
                }
            }
        }
        compare
    }

    fn changes(&self, lock: &Name, id: &Id, commit: &Commit) -> Result<Vec<Op>, Error> {
        let keys = self.keys(lock);
        let mut ops = Vec::new();
        if let Some(ledger) = &commit.ledger {
            let text = sealed(&write_ledger(ledger));
            if text.len() > LONGEST {
                return Err(Error::Refused(format!(
                    "the ledger of {lock:?} would be too long: use fewer holders or shorter labels"
                )));
            }
            ops.push(Op::put(&keys.ledger(), &text));
        }
        // Let in, it leaves the queue and the lease.
        if let Some((place @ (Place::Plain | Place::Led), kept)) = self.places.get(id)
            && commit.ledger.as_ref().is_some_and(|ledger| ledger.holder(id).is_some())
        {
            ops.push(Op::delete(&place.key(&keys, id)));
            ops.push(Op::put(&keys.holder(id), &kept.text()));
            ops.push(Op::put(&keys.beats(id), &self.stamp()));
        }
        for dropped in unique(&commit.drop) {
            let dropped_keys = match self.places.get(dropped) {
                Some((Place::Holding, _)) => vec![keys.holder(dropped), keys.beats(dropped)],
                Some((place, _)) => vec![place.key(&keys, dropped)],
                None => vec![keys.holder(dropped), keys.beats(dropped), keys.plain(dropped), keys.led(dropped)],
            };
            ops.extend(dropped_keys.iter().map(|key| Op::delete(key)));
        }
        for woken in unique(&commit.wake).filter(|woken| *woken != id && !commit.drop.contains(woken)) {
            let woken_keys = match self.places.get(woken) {
                Some((Place::Holding, _)) => Vec::new(),
                Some((place, _)) => vec![place.key(&keys, woken)],
                None => vec![keys.plain(woken), keys.led(woken)],
            };
            ops.extend(woken_keys.iter().map(|key| Op::touch(key)));
        }
        Ok(ops)
    }

    /// What keeps dropped ids from coming again, on the leases of their tickets, which end by themselves. An id whose ticket may
    /// yet be appended gets a lease of its own.
    fn graves(&self, lock: &Name, id: &Id, commit: &Commit, change: &mut Change) -> Vec<Op> {
        let keys = self.keys(lock);
        let mut graves = Vec::new();
        for dropped in unique(&commit.drop) {
            let waits = self.places.get(dropped).is_some_and(|(place, _)| *place != Place::Holding);
            let lease = if waits {
                keys::lease(dropped)
            } else if dropped == id && self.loose.contains(id) {
                let lease = keys::grave_lease(dropped);
                change.first = Some(grant(lease, GONE_FOR));
                lease
            } else {
                continue;
            };
            graves.push(Op::put_on(&keys.gone(dropped), "", Some(lease)));
        }
        graves
    }

    /// Where a ticket is kept, as far as is known here.
    fn place(&self, id: &Id) -> Place {
        self.places.get(id).map_or(Place::Holding, |(place, _)| *place)
    }

    /// How many stand before the asker, who stands further back than those that were listed.
    pub(super) fn count_ahead(&mut self, keys: &Keys, seen: &Seen, id: Option<&Id>, budget: Budget) -> Result<usize, Error> {
        let Some((place, mine)) = id.and_then(|id| seen.places.get(id)) else { return Ok(seen.view.waiting) };
        let mut plain = Range::all(&keys.queue()).keys_only();
        if *place == Place::Plain {
            plain = plain.created_before(mine.seq);
        }
        let led = Range::all(&keys.led_queue()).by_value().first(MOST_LED);
        let read = Txn::read(vec![plain.into(), led.into()]);
        let answers = self.cluster.ask(&[Request { path: TXN, json: read.json() }], budget)?;
        let (_, came) = self.came(answers, 2)?.map_err(|refused| refused.error)?;
        let before = |kv: &&reply::Kv| Kept::read(&kv.value, kv.create_revision).is_ok_and(|kept| kept.order < mine.order);
        Ok(came.reads[0].kvs.len() + came.reads[1].kvs.iter().filter(before).count())
    }
}

/// The view as it would be with this ticket alone in the queue.
fn alone(view: &View, ticket: &Ticket) -> View {
    let mine = Kept::new(ticket, view.now);
    let listed = Listed { ticket: ticket.clone(), order: mine.order, seq: mine.seq, at: mine.at, life: Life::Alive };
    let tickets = view.tickets.iter().cloned().chain([listed]).collect();
    View { tickets, waiting: view.waiting + 1, ..view.clone() }
}

fn grant(lease: i64, seconds: u64) -> Request {
    Request { path: GRANT, json: serde_json::json!({ "ID": lease.to_string(), "TTL": seconds.to_string() }).to_string() }
}

fn unique(ids: &[Id]) -> impl Iterator<Item = &Id> {
    ids.iter().collect::<BTreeSet<_>>().into_iter()
}
