//! A store in this process's memory: the shortest engine, for tests and as a model for the others.
//!
//! Claims are told alive by their beats, as on Redis. [`MemoryServer`] is the server's side, and can be wiped.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Beat, Error, Kind, Outcome, Store};
use crate::bell::{Bell, listen};
use crate::ledger::{Commit, Guard, Id, Ledger, Life, Listed, Memory, Ticket, View, view::LISTED};
use crate::name::Name;
use crate::time::{Clock, Tick, Wall};

/// What all [`MemoryStore`]s of one server share.
#[derive(Clone, Debug)]
pub struct MemoryServer(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    locks: BTreeMap<Name, Lock>,
    lives: u64,
    marks: u64,
    /// The mark of the record, and whether somebody has waited it out.
    record: Option<(String, bool)>,
    quiet: Duration,
    max_ttl: Duration,
}

#[derive(Debug, Default)]
struct Lock {
    ledger: Option<Ledger>,
    seq: u64,
    tickets: BTreeMap<Id, Listed>,
    gone: BTreeSet<Id>,
    bells: BTreeMap<Id, Bell>,
}

impl MemoryServer {
    /// A server that can prove for `quiet` that it has forgotten nobody.
    pub fn new(max_ttl: Duration, quiet: Duration) -> MemoryServer {
        let state = State { locks: BTreeMap::new(), lives: 1, marks: 0, record: None, quiet, max_ttl };
        MemoryServer(Arc::new(Mutex::new(state)))
    }

    /// A client of this server.
    pub fn connect(&self) -> MemoryStore {
        MemoryStore { server: self.clone() }
    }

    /// Restarts it: a new epoch, and with `forget` nothing of what it knew.
    pub fn restart(&self, forget: bool) {
        let mut state = self.state();
        state.lives += 1;
        state.quiet = Duration::ZERO;
        if forget {
            state.locks.clear();
            state.record = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A client of a [`MemoryServer`].
#[derive(Debug)]
pub struct MemoryStore {
    server: MemoryServer,
}

impl Store for MemoryStore {
    fn kind(&self) -> Kind {
        Kind { engine: "memory", clock: Clock::Boottime, knows_the_dead: false }
    }

    fn allow(&mut self, _request: Duration) {}

    fn prepare(&mut self, _lock: &Name, _ticket: &Ticket) -> Result<Vec<RawFd>, Error> {
        Ok(Vec::new())
    }

    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error> {
        let mut state = self.server.state();
        let entry = state.lock(lock);
        if !entry.tickets.contains_key(&ticket.id) && !entry.gone.contains(&ticket.id) {
            entry.seq += 1;
            let at = Wall::now();
            let listed = Listed {
                ticket: ticket.clone(),
                order: at.0 as i64 - ticket.lead_ms,
                seq: entry.seq,
                at,
                life: Life::Beat { count: 1, quiet: None },
            };
            entry.tickets.insert(ticket.id.clone(), listed);
        }
        Ok(state.view(lock, Some(&ticket.id)))
    }

    fn beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error> {
        let mut state = self.server.state();
        let epoch = state.epoch();
        let entry = state.lock(lock);
        let Some(mine) = entry.tickets.get_mut(id) else { return Ok(Beat::Gone) };
        if let Life::Beat { count, .. } = &mut mine.life {
            *count += 1;
        }
        let others = with.iter().filter_map(|id| Some((id.clone(), count(entry.tickets.get(id)?)?))).collect();
        let version = entry.ledger.as_ref().map_or(0, |ledger| ledger.version);
        Ok(Beat::Alive { version, epoch, others, quiet: None })
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        Ok(self.server.state().view(lock, id))
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        let mut state = self.server.state();
        if !state.admits(lock, commit) {
            return Ok(Outcome::Conflict(state.view(lock, Some(id))));
        }
        if let (Some(_), Some((_, settled))) = (&commit.settle, &mut state.record) {
            *settled = true;
        }
        let entry = state.lock(lock);
        if let Some(ledger) = &commit.ledger {
            entry.ledger = Some(ledger.clone());
        }
        for id in &commit.drop {
            entry.tickets.remove(id);
            entry.bells.remove(id);
            entry.gone.insert(id.clone());
        }
        for bell in commit.wake.iter().filter_map(|id| entry.bells.get(id)) {
            bell.ring();
        }
        Ok(Outcome::Done(state.view(lock, Some(id))))
    }

    fn wait(&mut self, lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        let woken = {
            let mut state = self.server.state();
            let bells = &mut state.lock(lock).bells;
            match bells.get(id) {
                Some(woken) => woken.clone(),
                None => {
                    let woken = Bell::new().map_err(|error| Error::Unreachable(format!("can't wait: {error}")))?;
                    bells.insert(id.clone(), woken);
                    return Ok(());
                }
            }
        };
        let heard = listen(&[woken.as_fd(), bell], until, Clock::Boottime);
        woken.hush();
        heard.map(|_| ()).map_err(|error| Error::Unreachable(format!("can't wait: {error}")))
    }

    fn locks(&mut self) -> Result<Vec<Name>, Error> {
        Ok(self.server.state().locks.keys().cloned().collect())
    }
}

impl State {
    fn lock(&mut self, name: &Name) -> &mut Lock {
        self.locks.entry(name.clone()).or_default()
    }

    fn epoch(&self) -> String {
        format!("life {}", self.lives)
    }

    /// The record as of now: a new life or a lost record makes a new mark.
    fn memory(&mut self) -> Memory {
        let epoch = self.epoch();
        let mark = match &self.record {
            Some((mark, settled)) if mark.starts_with(&epoch) => {
                if *settled {
                    return Memory::Intact;
                }
                mark.clone()
            }
            _ => {
                self.marks += 1;
                format!("{epoch}, mark {}", self.marks)
            }
        };
        self.record = Some((mark.clone(), false));
        Memory::Unsure { mark, quiet: self.quiet }
    }

    fn view(&mut self, name: &Name, id: Option<&Id>) -> View {
        let memory = self.memory();
        let (epoch, max_ttl) = (self.epoch(), self.max_ttl);
        let lock = self.lock(name);
        let ledger = lock.ledger.clone().unwrap_or_else(|| Ledger::blank(name.as_str(), &epoch));
        let (holding, mut waiting): (Vec<&Listed>, Vec<&Listed>) =
            lock.tickets.values().partition(|listed| ledger.holder(&listed.ticket.id).is_some());
        waiting.sort_by_key(|listed| (listed.order, listed.seq));
        let ahead = id.and_then(|id| waiting.iter().position(|listed| listed.ticket.id == *id));
        let mine = ahead.filter(|at| *at >= LISTED).map(|at| waiting[at]);
        let shown = holding.into_iter().chain(waiting.iter().take(LISTED).copied()).chain(mine);
        View {
            tickets: shown.cloned().collect(),
            waiting: waiting.len(),
            ahead: ahead.unwrap_or(waiting.len()),
            ledger,
            epoch,
            memory,
            max_ttl,
            now: Wall::now(),
        }
    }

    fn admits(&mut self, name: &Name, commit: &Commit) -> bool {
        let memory = self.memory();
        let settles = match (&commit.settle, memory) {
            (Some(mine), Memory::Unsure { mark, .. }) => *mine == mark,
            _ => true,
        };
        let epoch = self.epoch();
        let lock = self.lock(name);
        let version = lock.ledger.as_ref().map_or(0, |ledger| ledger.version);
        settles
            && commit.epoch == epoch
            && (commit.ledger.is_none() || commit.version == version)
            && commit.guards.iter().all(|guard| match guard {
                Guard::Absent(id) => !lock.tickets.contains_key(id),
                Guard::Present(id) | Guard::Still(id, None) => lock.tickets.contains_key(id),
                Guard::Still(id, beat) => lock.tickets.get(id).is_some_and(|listed| count(listed) == *beat),
            })
    }
}

fn count(listed: &Listed) -> Option<u64> {
    match listed.life {
        Life::Beat { count, .. } => Some(count),
        Life::Alive | Life::Dead => None,
    }
}
