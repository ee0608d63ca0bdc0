//! The server's side of the memory store: pure, told the time, and able to fail as real servers do. It is the model of
//! the others: tests/engines.rs holds it to the same suite, and the simulator lets it restart, flush and fail over.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::{Commit, Guard, Id, Ledger, Life, Listed, Memory, Straight, Ticket, View, view::FIRST, view::LISTED};
use crate::mutant::{self, Mutant};
use crate::name::Name;
use crate::store::{Beat, Liveness, Outcome};
use crate::time::{Tick, Wall};

/// A moment on the server's clocks: the one that nobody sets, and the wall's.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub tick: Tick,
    pub wall: Wall,
}

/// All that a server knows. A clone is a replica.
#[derive(Clone, Debug)]
pub struct Engine {
    locks: BTreeMap<Name, Lock>,
    lives: u64,
    marks: u64,
    record: Option<Record>,
    proof: Option<Proof>,
    max_ttl: Duration,
    liveness: Liveness,
}

/// What the server was told to remember of its memory: for which life, and whether somebody has waited it out.
#[derive(Clone, Debug)]
struct Record {
    epoch: String,
    mark: String,
    settled: bool,
}

/// That it forgot nobody for so long before `since`, and nobody after.
#[derive(Clone, Debug)]
struct Proof {
    before: Duration,
    since: Tick,
}

#[derive(Clone, Debug, Default)]
struct Lock {
    ledger: Option<Ledger>,
    seq: u64,
    /// The time of the last append: a clock that is set back must not let a newcomer go first.
    last: Wall,
    tickets: BTreeMap<Id, Kept>,
    gone: BTreeMap<Id, Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    listed: Listed,
    count: u64,
    /// When it was last renewed.
    beaten: Wall,
    renewed: Tick,
}

impl Engine {
    /// A server that forgot nobody for `proven` before now. `liveness` is [`Liveness::Beats`] or [`Liveness::Leases`].
    pub fn new(max_ttl: Duration, liveness: Liveness, proven: Duration, now: Tick) -> Engine {
        let proof = Some(Proof { before: proven, since: now });
        Engine { locks: BTreeMap::new(), lives: 1, marks: 0, record: None, proof, max_ttl, liveness }
    }

    pub fn take(&mut self, lock: &Name, ticket: &Ticket, at: Moment) -> View {
        self.expire(at.tick);
        let entry = self.lock(lock);
        if !entry.knows(&ticket.id) {
            entry.seq += 1;
            entry.last = entry.last.max(at.wall);
            let order = (entry.last.0 as i64).saturating_sub(ticket.lead_ms);
            let listed = Listed { ticket: ticket.clone(), order, seq: entry.seq, at: entry.last, life: Life::Alive };
            entry.tickets.insert(ticket.id.clone(), Kept { listed, count: 1, beaten: at.wall, renewed: at.tick });
        }
        self.view(lock, Some(&ticket.id), at)
    }

    pub fn enter(&mut self, lock: &Name, ticket: &Ticket, straight: &Straight, at: Moment) -> View {
        let known = self.locks.get(lock).is_some_and(|entry| entry.knows(&ticket.id));
        let view = self.take(lock, ticket, at);
        match straight.commit(&view, ticket).filter(|_| !known) {
            Some(commit) => {
                self.lock(lock).ledger = commit.ledger;
                self.view(lock, Some(&ticket.id), at)
            }
            None => view,
        }
    }

    pub fn beat(&mut self, lock: &Name, id: &Id, with: &[Id], at: Moment) -> Beat {
        self.expire(at.tick);
        let epoch = self.epoch();
        let entry = self.lock(lock);
        if mutant::on(Mutant::Revive)
            && let Some(kept) = entry.gone.remove(id)
        {
            entry.tickets.insert(id.clone(), kept);
        }
        let Some(mine) = entry.tickets.get_mut(id) else { return Beat::Gone };
        mine.count += 1;
        (mine.beaten, mine.renewed) = (at.wall, at.tick);
        let known = |id: &Id| entry.tickets.get(id).map(|kept| (id.clone(), kept));
        let others: Vec<(Id, &Kept)> = with.iter().filter_map(known).collect();
        Beat::Alive {
            version: entry.version(),
            epoch,
            quiet: others.first().map(|(_, kept)| at.wall.since(kept.beaten)),
            others: others.into_iter().map(|(id, kept)| (id, kept.count)).collect(),
        }
    }

    /// The lock with as many waiters as `id` must be shown.
    pub fn view(&mut self, name: &Name, id: Option<&Id>, at: Moment) -> View {
        let view = self.list(name, id, FIRST, at);
        if view.enough(id) > FIRST { self.list(name, id, LISTED, at) } else { view }
    }

    /// The lock with this many waiters.
    pub fn list(&mut self, name: &Name, id: Option<&Id>, listed: usize, at: Moment) -> View {
        self.expire(at.tick);
        let memory = self.memory(at.tick);
        let (epoch, max_ttl, liveness) = (self.epoch(), self.max_ttl, self.liveness);
        let lock = self.lock(name);
        let ledger = lock.ledger.clone().unwrap_or_else(|| Ledger::blank(name.as_str(), &epoch));
        let shown = |kept: &Kept| Listed { life: kept.life(liveness, at.wall), ..kept.listed.clone() };
        let (holding, mut waiting): (Vec<&Kept>, Vec<&Kept>) =
            lock.tickets.values().partition(|kept| ledger.holder(&kept.listed.ticket.id).is_some());
        waiting.sort_by_key(|kept| (kept.listed.order, kept.listed.seq));
        let ahead = id.and_then(|id| waiting.iter().position(|kept| kept.listed.ticket.id == *id));
        let mine = ahead.filter(|at| *at >= listed).map(|at| waiting[at]);
        let first = waiting.iter().take(listed).copied();
        let mut tickets: Vec<Listed> = holding.into_iter().chain(first).chain(mine).map(shown).collect();
        if liveness == Liveness::Leases {
            let ended = ledger.holders.iter().filter(|holder| !lock.tickets.contains_key(&holder.id));
            tickets.extend(ended.map(Listed::dead));
        }
        let (waiting, ahead) = (waiting.len(), ahead.unwrap_or(waiting.len()));
        View { tickets, waiting, ahead, ledger, epoch, memory, max_ttl, now: at.wall }
    }

    /// Carries a commit out, and says whom it woke.
    pub fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit, at: Moment) -> (Outcome, Vec<Id>) {
        self.expire(at.tick);
        if !self.admits(lock, commit, at.tick) {
            return (Outcome::Conflict(self.view(lock, Some(id), at)), Vec::new());
        }
        if let (Some(_), Some(record)) = (&commit.settle, &mut self.record) {
            record.settled = true;
        }
        let entry = self.lock(lock);
        if let Some(ledger) = &commit.ledger {
            entry.ledger = Some(ledger.clone());
        }
        for id in &commit.drop {
            entry.bury(id);
        }
        let missed = commit.wake.iter().any(|id| !self.lock(lock).tickets.contains_key(id));
        (Outcome::Done((commit.show || missed).then(|| self.view(lock, Some(id), at))), commit.wake.clone())
    }

    /// Begins a new life, with `forget` without anything it knew.
    pub fn restart(&mut self, forget: bool, now: Tick) {
        self.lives += 1;
        self.proof = Some(Proof { before: Duration::ZERO, since: now });
        if forget {
            self.locks.clear();
            self.record = None;
        }
        for kept in self.locks.values_mut().flat_map(|lock| lock.tickets.values_mut()) {
            kept.renewed = now;
        }
    }

    /// Forgets everything without a new life.
    pub fn flush(&mut self) {
        self.locks.clear();
        self.record = None;
        self.proof = None;
    }

    /// A replica that may lag behind takes over from `lost`.
    pub fn take_over(&mut self, lost: &Engine, now: Tick) {
        (self.lives, self.marks) = (lost.lives, lost.marks);
        self.restart(false, now);
    }

    pub fn locks(&self) -> impl Iterator<Item = &Name> {
        self.locks.keys()
    }

    /// The lock's ledger, if it has one.
    pub fn ledger(&self, lock: &Name) -> Option<&Ledger> {
        self.locks.get(lock)?.ledger.as_ref()
    }

    /// When a ticket was last renewed; `None` if there is none.
    pub fn renewed(&self, lock: &Name, id: &Id) -> Option<Tick> {
        Some(self.locks.get(lock)?.tickets.get(id)?.renewed)
    }

    fn lock(&mut self, name: &Name) -> &mut Lock {
        self.locks.entry(name.clone()).or_default()
    }

    fn epoch(&self) -> String {
        format!("life {}", self.lives)
    }

    /// Leases end by themselves.
    fn expire(&mut self, now: Tick) {
        if self.liveness != Liveness::Leases {
            return;
        }
        for lock in self.locks.values_mut() {
            let over = |kept: &Kept| now >= kept.renewed + kept.listed.ticket.ttl().min(self.max_ttl);
            let ended: Vec<Id> = lock.tickets.iter().filter(|(_, kept)| over(kept)).map(|(id, _)| id.clone()).collect();
            ended.iter().for_each(|id| lock.bury(id));
        }
    }

    /// The record as of now: a new life or a lost record makes a new mark.
    fn memory(&mut self, now: Tick) -> Memory {
        let epoch = self.epoch();
        let record = match self.record.take() {
            Some(record) if record.epoch == epoch => record,
            _ => {
                self.marks += 1;
                Record { mark: format!("{epoch}, mark {}", self.marks), epoch, settled: false }
            }
        };
        let quiet = self.proof.as_ref().map_or(Duration::ZERO, |proof| proof.before + now.since(proof.since));
        let memory = if record.settled { Memory::Intact } else { Memory::Unsure { mark: record.mark.clone(), quiet } };
        self.record = Some(record);
        memory
    }

    fn admits(&mut self, name: &Name, commit: &Commit, now: Tick) -> bool {
        let memory = self.memory(now);
        let settles = match (&commit.settle, memory) {
            (Some(mine), Memory::Unsure { mark, .. }) => *mine == mark,
            _ => true,
        };
        let epoch = self.epoch();
        let lock = self.lock(name);
        let fits = commit.ledger.is_none() || commit.version == lock.version() || mutant::on(Mutant::BlindCommit);
        settles && commit.epoch == epoch && fits && commit.guards.iter().all(|guard| lock.holds(guard))
    }
}

impl Lock {
    fn version(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| ledger.version)
    }

    /// Whether it has, or had, this ticket.
    fn knows(&self, id: &Id) -> bool {
        self.tickets.contains_key(id) || self.gone.contains_key(id)
    }

    fn bury(&mut self, id: &Id) {
        if let Some(kept) = self.tickets.remove(id) {
            self.gone.insert(id.clone(), kept);
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            // Where leases end by themselves, who was dead is gone.
            Guard::Absent(id) | Guard::Still(id, None) => !self.tickets.contains_key(id),
            Guard::Present(id) => self.tickets.contains_key(id),
            Guard::Still(id, Some(beat)) => self.tickets.get(id).is_some_and(|kept| kept.count == *beat),
        }
    }
}

impl Kept {
    fn life(&self, liveness: Liveness, now: Wall) -> Life {
        match liveness {
            Liveness::Beats => Life::Beat { count: self.count, quiet: Some(now.since(self.beaten)) },
            Liveness::Kernel | Liveness::Leases => Life::Alive,
        }
    }
}
