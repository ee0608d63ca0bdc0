//! A claim as one of several: what the bundle asks of it.

use super::claim::{Claim, Phase};
use crate::time::Tick;

impl Claim {
    /// Among the holders.
    pub(super) fn is_in(&self) -> bool {
        self.fence.is_some()
    }

    /// Among the holders, by what the store said last, and with enough of the lease left for a job.
    pub(super) fn is_ready(&self, now: Tick) -> bool {
        self.is_in() && matches!(self.phase, Phase::Holding { look: false, .. }) && self.is_fresh(now)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// In the queue, with nothing to do but wait.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Whether the store did not answer it last time.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.failures > 0
    }

    /// All the others are ready: beats before its time if its own lease is too old for a job.
    pub(super) fn freshen(&mut self, now: Tick) {
        let fresh = self.is_fresh(now);
        if let Phase::Holding { beat_at, .. } = &mut self.phase
            && !fresh
        {
            *beat_at = now.min(*beat_at);
        }
    }

    /// Takes back what was made ready for it in the store, although it never asked for its ticket.
    pub(super) fn leave_unborn(&mut self, now: Tick) {
        self.phase = Phase::Leaving { until: now + self.timing.request * 2, look: true };
    }

    /// The chain of who begins ends in those before it, as they are called now.
    pub(super) fn follow(&mut self, before: &[Claim]) {
        let outer = self.ticket.chain.len().saturating_sub(before.len());
        for (level, claim) in self.ticket.chain[outer..].iter_mut().zip(before) {
            level.session = claim.ticket.id.session();
        }
    }

    /// Gone from the queue for the sake of an earlier lock: ready to join again, at the tail and under another id.
    pub(super) fn begin_again(&mut self) {
        self.rejoin();
        (self.view, self.heard, self.ending) = (None, None, None);
        (self.failures, self.again_at, self.over) = (0, Tick(0), false);
        self.news.clear();
    }
}
