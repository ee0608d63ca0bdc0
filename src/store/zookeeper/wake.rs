//! Hearing that one's ticket was woken: a watch on the ticket's own wake node, on the line on which all else is asked. ZooKeeper
//! tells of one change and then of no other, so the watch is set anew with each look, before anything else is read; what was
//! written between two watches is known by the node's version.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::jute::Strange;
use super::reply::{NO_NODE, Reply};
use super::request::Request;
use super::{ZooKeeper, refusal};
use crate::bell;
use crate::ledger::Id;
use crate::store::Error;
use crate::store::wire::Budget;
use crate::time::{Clock, Tick};

const CLOCK: Clock = Clock::Boottime;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest that a server may take for what nobody waits for.
const ASIDE: Duration = Duration::from_secs(1);

/// What is listened for.
pub(super) struct Wakes {
    /// The tickets that are watched, on the line of this number.
    watched: BTreeSet<Id>,
    line: u64,
    /// How often each had been woken at its last look; never, where there was none.
    seen: BTreeMap<Id, i32>,
    /// After a failure, not before this.
    again: Tick,
    pause: Duration,
}

impl Wakes {
    pub fn new() -> Wakes {
        Wakes { watched: BTreeSet::new(), line: 0, seen: BTreeMap::new(), again: Tick(0), pause: FIRST_PAUSE }
    }

    /// A look has set the watch and read the node.
    pub fn armed(&mut self, id: &Id, reply: &Reply, line: u64) {
        self.on_line(line);
        if let (0, Ok((_, stat))) = (reply.error, reply.node()) {
            self.watched.insert(id.clone());
            self.seen.insert(id.clone(), stat.version);
        }
    }

    /// What was watched on another line is not watched any more.
    fn on_line(&mut self, line: u64) {
        if self.line != line {
            self.watched.clear();
            self.line = line;
        }
    }

    fn told(&mut self, paths: &[String]) {
        self.watched.retain(|id| !paths.iter().any(|path| path.ends_with(id.as_str())));
    }

    /// A server that comes back must not be met by all its waiters in one moment.
    fn give_up(&mut self) {
        let mut random = [0u8];
        // Without randomness all come at once, which is slow but right.
        let _ = getrandom::getrandom(&mut random);
        self.again = CLOCK.now() + self.pause / 2 + self.pause * u32::from(random[0]) / 256;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl ZooKeeper {
    /// Returns when the ticket is woken, when `bell` rings, or by `until`.
    pub(super) fn wait_as_waiter(&mut self, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            self.hear();
            if self.ensemble.line().is_none() || !self.wakes.watched.contains(id) {
                if CLOCK.now() >= until {
                    return Ok(());
                }
                if CLOCK.now() < self.wakes.again {
                    if heard(&[bell], until.min(self.wakes.again))? {
                        return Ok(());
                    }
                    continue;
                }
                match self.watch(id, until) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(Error::Unreachable(_)) => {
                        self.wakes.give_up();
                        continue;
                    }
                    Err(other) => return Err(other),
                }
            }
            self.wakes.pause = FIRST_PAUSE;
            if self.listen(until, bell)? {
                return Ok(());
            }
            self.hear();
            if !self.wakes.watched.contains(id) {
                if self.ensemble.line().is_none() {
                    self.wakes.give_up();
                }
                return Ok(());
            }
        }
    }

    /// A holder learns of requests by its beats. But when its line dies it looks at once.
    pub(super) fn wait_as_holder(&mut self, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            if self.ensemble.line().is_none() {
                return heard(&[bell], until).map(|_| ());
            }
            if self.listen(until, bell)? {
                return Ok(());
            }
            self.hear();
            if self.ensemble.line().is_none() {
                return Ok(());
            }
        }
    }

    /// Waits for a word from the server, and keeps the session meanwhile. True when the wait is over.
    fn listen(&mut self, until: Tick, bell: BorrowedFd<'_>) -> Result<bool, Error> {
        let Some(line) = self.ensemble.line() else { return Ok(false) };
        let ping = CLOCK.now() + Duration::from_millis(line.timeout / 3);
        let rung = bell::listen(&[line.fd(), bell], until.min(ping), CLOCK).map_err(|error| refusal::cannot_wait(&error))?;
        if rung[1] || CLOCK.now() >= until {
            return Ok(true);
        }
        if !rung[0] {
            self.ensemble.ping(Budget::new(ASIDE));
        }
        Ok(false)
    }

    /// Takes in what the server told.
    fn hear(&mut self) {
        let paths = self.ensemble.events();
        self.wakes.told(&paths);
        self.wakes.on_line(self.ensemble.lines);
        if self.ensemble.line().is_none() {
            self.wakes.watched.clear();
        }
    }

    /// Sets the watch; false if the ticket was woken since its last look, or is gone.
    fn watch(&mut self, id: &Id, until: Tick) -> Result<bool, Error> {
        // The caller's bell is not heard meanwhile, so that may not take long.
        let budget = Budget::new(ASIDE.min(self.terms.request).min(CLOCK.now().until(until)));
        let path = self.nodes.wake(id);
        let replies = self.ensemble.ask(&[Request::Get(path.clone(), true)], budget)?;
        self.wakes.on_line(self.ensemble.lines);
        match replies[0].error {
            0 => {}
            // Nor is there a hurry to find that out again.
            NO_NODE => {
                self.wakes.give_up();
                return Ok(false);
            }
            code => return Err(refusal::said(&self.ensemble.address, &path, code)),
        }
        let (_, stat) = replies[0].node().map_err(|Strange| self.stranger())?;
        self.wakes.watched.insert(id.clone());
        Ok(stat.version == self.wakes.seen.get(id).copied().unwrap_or(0))
    }
}

fn heard(to: &[BorrowedFd<'_>], until: Tick) -> Result<bool, Error> {
    Ok(bell::listen(to, until, CLOCK).map_err(|error| refusal::cannot_wait(&error))?.contains(&true))
}
