//! Hearing that one's ticket was woken: a line of its own on which etcd tells of every change to the ticket's key, from the
//! revision at which the lock was last looked at. So no wake between the look and the wait is missed.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::cluster::{ASIDE, Cluster, WATCH};
use super::line::{Line, Pieces, Request};
use super::refusal;
use super::reply::{Streamed, Watched};
use super::txn::Bytes;
use crate::bell;
use crate::ledger::Id;
use crate::store::Error;
use crate::store::wire::Budget;
use crate::time::{Clock, Tick};

const CLOCK: Clock = Clock::Boottime;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The listening side of at most one waiting ticket.
pub(super) struct Wakes {
    watch: Option<Watch>,
    /// The revision of the last wake, until it was looked at.
    woken: Option<u64>,
    /// After a failure, not before this.
    again: Tick,
    pause: Duration,
}

struct Watch {
    key: String,
    line: Line,
    pieces: Pieces,
}

impl Wakes {
    pub fn new() -> Wakes {
        Wakes { watch: None, woken: None, again: Tick(0), pause: FIRST_PAUSE }
    }

    /// Returns when the key changes after `revision`, when `bell` rings, or by `until`.
    pub fn wait(
        &mut self,
        cluster: &mut Cluster,
        key: &str,
        revision: u64,
        until: Tick,
        bell: BorrowedFd<'_>,
        request: Duration,
    ) -> Result<(), Error> {
        loop {
            // A member that is not asked any more is not listened to either.
            if self.watch.as_ref().is_none_or(|watch| watch.key != key || watch.line.member != cluster.member()) {
                self.watch(cluster, key, revision, until, request);
            }
            let Some(watch) = &mut self.watch else {
                if heard(&[bell], until.min(self.again))? || CLOCK.now() >= until {
                    return Ok(());
                }
                continue;
            };
            // Before the wait: TLS may have read ahead what poll(2) can't see any more.
            match watch.changed(revision) {
                Some(Some(woken)) => {
                    self.pause = FIRST_PAUSE;
                    self.woken = Some(woken);
                    return Ok(());
                }
                Some(None) => {}
                None => {
                    self.give_up();
                    return Ok(());
                }
            }
            let rung = bell::listen(&[watch.line.fd(), bell], until, CLOCK).map_err(|error| refusal::cannot_wait(&error))?;
            if rung[1] || CLOCK.now() >= until {
                return Ok(());
            }
        }
    }

    /// The revision at which this ticket was woken since it was last looked at, once.
    pub fn take(&mut self, id: &Id) -> Option<u64> {
        let woken = self.woken.take();
        woken.filter(|_| self.watch.as_ref().is_some_and(|watch| watch.key.ends_with(id.as_str())))
    }

    /// Listens no more for this ticket: it has been let in or is gone.
    pub fn close(&mut self, id: &Id) {
        if self.watch.as_ref().is_some_and(|watch| watch.key.ends_with(id.as_str())) {
            *self = Wakes::new();
        }
    }

    fn watch(&mut self, cluster: &mut Cluster, key: &str, revision: u64, until: Tick, request: Duration) {
        self.watch = None;
        if CLOCK.now() < self.again {
            return;
        }
        // The caller's bell is not heard meanwhile, so that may not take long.
        let budget = Budget::new(ASIDE.min(request).min(CLOCK.now().until(until)));
        let from = (revision + 1).to_string();
        let create = serde_json::json!({ "create_request": { "key": Bytes::from(key), "start_revision": from } });
        match cluster.open_stream(Request { path: WATCH, json: create.to_string() }, budget) {
            Ok(line) => self.watch = Some(Watch { key: key.to_owned(), line, pieces: Pieces::default() }),
            Err(_) => self.give_up(),
        }
    }

    /// A server that comes back must not be met by all its waiters in one moment.
    fn give_up(&mut self) {
        self.watch = None;
        let mut random = [0u8];
        // Without randomness all come at once, which is slow but right.
        let _ = getrandom::getrandom(&mut random);
        self.again = CLOCK.now() + self.pause / 2 + self.pause * u32::from(random[0]) / 256;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Watch {
    /// When the key last changed after `revision`, as far as was told; `None` if nothing more will be told.
    fn changed(&mut self, revision: u64) -> Option<Option<u64>> {
        let came = self.line.drain().ok()?;
        let mut changed = None;
        for line in self.pieces.lines(&came).ok()? {
            let told: Streamed<Watched> = serde_json::from_slice(&line).ok()?;
            let watched = told.result.filter(|watched| !watched.canceled && told.error.is_none())?;
            let revisions = watched.events.iter().map(|event| event.kv.mod_revision).filter(|at| *at > revision);
            changed = revisions.max().max(changed);
        }
        Some(changed)
    }
}

pub(super) fn heard(to: &[BorrowedFd<'_>], until: Tick) -> Result<bool, Error> {
    Ok(bell::listen(to, until, CLOCK).map_err(|error| refusal::cannot_wait(&error))?.contains(&true))
}
