//! A store in this process's memory: the shortest one, for tests and as a model for the others.
//!
//! Claims are told alive by their beats, as on Redis. [`MemoryServer`] is the server's side, and can be wiped.

mod engine;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Beat, Error, Finding, Kind, Liveness, Outcome, Store};
use crate::bell::{Bell, listen};
use crate::ledger::{Commit, Id, Straight, Ticket, View};
use crate::name::Name;
use crate::time::{Clock, Tick, Wall};

pub use engine::{Engine, Moment};

/// What all [`MemoryStore`]s of one server share.
#[derive(Clone, Debug)]
pub struct MemoryServer(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    engine: Engine,
    bells: BTreeMap<Id, Bell>,
}

impl MemoryServer {
    /// A server that can prove for `quiet` that it has forgotten nobody.
    pub fn new(max_ttl: Duration, quiet: Duration) -> MemoryServer {
        let engine = Engine::new(max_ttl, Liveness::Beats, quiet, now().tick);
        MemoryServer(Arc::new(Mutex::new(State { engine, bells: BTreeMap::new() })))
    }

    /// A client of this server.
    pub fn connect(&self) -> MemoryStore {
        MemoryStore { server: self.clone() }
    }

    /// Restarts it: a new epoch, and with `forget` nothing of what it knew.
    pub fn restart(&self, forget: bool) {
        self.state().engine.restart(forget, now().tick);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn now() -> Moment {
    Moment { tick: Clock::Boottime.now(), wall: Wall::now() }
}

/// A client of a [`MemoryServer`].
#[derive(Debug)]
pub struct MemoryStore {
    server: MemoryServer,
}

impl Store for MemoryStore {
    fn kind(&self) -> Kind {
        Kind { engine: "memory", clock: Clock::Boottime, liveness: Liveness::Beats }
    }

    fn allow(&mut self, _request: Duration) {}

    fn prepare(&mut self, _lock: &Name, _ticket: &Ticket) -> Result<Vec<RawFd>, Error> {
        Ok(Vec::new())
    }

    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error> {
        Ok(self.server.state().engine.take(lock, ticket, now()))
    }

    fn enter(&mut self, lock: &Name, ticket: &Ticket, straight: &Straight) -> Result<View, Error> {
        Ok(self.server.state().engine.enter(lock, ticket, straight, now()))
    }

    fn beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error> {
        Ok(self.server.state().engine.beat(lock, id, with, now()))
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        Ok(self.server.state().engine.view(lock, id, now()))
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        let mut state = self.server.state();
        let (outcome, woken) = state.engine.commit(lock, id, commit, now());
        woken.iter().filter_map(|id| state.bells.get(id)).for_each(Bell::ring);
        if matches!(outcome, Outcome::Done(_)) {
            state.bells.retain(|id, _| !commit.drop.contains(id));
        }
        Ok(outcome)
    }

    fn wait(&mut self, _lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        let woken = {
            let bells = &mut self.server.state().bells;
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
        Ok(self.server.state().engine.locks().cloned().collect())
    }

    fn examine(&mut self) -> Result<Vec<Finding>, Error> {
        Ok(vec![Finding::fatal("persistence", "all is gone with this process: it is for tests")])
    }
}
