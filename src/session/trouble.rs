//! A claim whose store does not answer, or refuses: how soon it asks again, and for how long it puts up with that.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::claim::{Claim, Pause, Phase};
use super::words::{Ending, News};
use crate::ledger::Commit;
use crate::mutant::{self, Mutant};
use crate::store;
use crate::time::Tick;

impl Claim {
    /// The store did not do as asked, or nobody knows whether it did.
    pub(super) fn suffer(&mut self, now: Tick, error: store::Error) {
        let lasting = !matches!(error, store::Error::Unreachable(_));
        self.trouble = error.to_string();
        // Where another lock is out of reach, it is no more looked at: my own beat must not wait for it.
        self.break_off_search();
        match self.phase {
            Phase::Leaving { .. } | Phase::PassingOn(_) if lasting => return self.fail_to_leave(Ending::Failed(error)),
            _ if lasting && !self.granted => {
                self.ending = Some(Ending::Failed(error));
                self.leave(now);
                return;
            }
            Phase::Committing(Commit { ledger: Some(ref ledger), .. }) if mutant::on(Mutant::GuessDone) => {
                return self.let_in(now, ledger.fence);
            }
            // The commit may have been carried out: look before doing anything else.
            Phase::Committing(_) if self.granted => self.phase = Phase::Holding { beat_at: now, look: true },
            Phase::Committing(_) => self.phase = Phase::Waiting(Pause::Look),
            Phase::Leaving { until, .. } => self.phase = Phase::Leaving { until, look: true },
            _ => {}
        }
        if self.failures == 0 {
            self.heard.get_or_insert(now);
            self.news.push(News::Trouble(self.trouble.clone()));
        }
        self.failures += 1;
        self.again_at = now + self.backoff();
    }

    /// Doubles from 50 ms to a quarter of a beat, each time shortened by up to a half: a thousand clients of a server
    /// that comes back must not come back in step.
    fn backoff(&self) -> Duration {
        let longest = self.timing.beat / 4;
        let span = (Duration::from_millis(50) * 2u32.pow(self.failures.min(10))).min(longest);
        let seed = Sha256::digest(format!("{}{}", self.ticket.id.as_str(), self.failures).as_bytes())[0];
        span - span * u32::from(seed) / 512
    }

    /// Whether the store has been silent for longer than it is worth waiting for.
    pub(super) fn give_up(&mut self, now: Tick) -> Option<Ending> {
        if self.failures == 0 {
            return None;
        }
        let silent = self.heard.map_or(Duration::ZERO, |heard| now.since(heard));
        match self.phase {
            Phase::Joining { .. } if silent >= self.timing.request => {}
            Phase::Waiting(_) | Phase::Committing(_) if now >= self.patience || silent >= self.timing.ttl * 2 => {}
            Phase::Holding { .. } if !self.granted && silent >= self.timing.ttl * 2 => {}
            Phase::Leaving { until, .. } if now >= until => {
                self.fail_to_leave(Ending::Unavailable(self.trouble.clone()));
                return self.ending.take();
            }
            _ => return None,
        }
        Some(Ending::Unavailable(self.trouble.clone()))
    }
}
