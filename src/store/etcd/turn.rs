//! A hand-over in few words: the commit of one that knows what comes of it, and the short look of one that was woken by it.

use super::line::Request;
use super::shown::{self, Came, Look, Place, Scope, Seen, Sight};
use super::txn::Txn;
use super::{Change, Etcd, Refused, TXN};
use crate::ledger::view::FIRST;
use crate::ledger::{Commit, Id};
use crate::name::Name;
use crate::store::wire::Budget;
use crate::store::{Error, Outcome};

impl Etcd {
    /// Changes a lock if `compare` holds, and looks at it only if that went otherwise than its author must think.
    pub(super) fn change_unseen(
        &mut self,
        lock: &Name,
        id: &Id,
        commit: &Commit,
        change: Change,
        budget: Budget,
    ) -> Result<Result<Outcome, Refused>, Error> {
        let txn = Request { path: TXN, json: Txn::change(change.compare, change.ops, Vec::new()).json() };
        let requests: Vec<Request> = change.first.into_iter().chain([txn]).collect();
        let answers = self.cluster.ask(&requests, budget)?;
        let (done, came) = match self.came(answers, 0)? {
            Ok(came) => came,
            Err(refused) => return Ok(Err(refused)),
        };
        // In another life it was not what was meant.
        if !done || shown::epoch(&came.header) != commit.epoch {
            return Ok(Ok(Outcome::Conflict(self.look(lock, Some(id), budget)?.view)));
        }
        self.gone.extend(commit.drop.iter().cloned());
        self.did(lock, id, commit, &came);
        // One that was to be woken has gone: somebody else may have to be.
        let shown = if came.found_all { None } else { Some(self.look(lock, Some(id), budget)?.view) };
        Ok(Ok(Outcome::Done(shown)))
    }

    /// Takes note of what a commit has done.
    fn did(&mut self, lock: &Name, id: &Id, commit: &Commit, came: &Came) {
        if let Some((revision, _)) = self.looks.get_mut(lock) {
            *revision = came.header.revision.max(*revision);
        }
        if commit.settle.is_some() {
            self.record = self.record.take().map(|record| record.settled());
        }
        for dropped in &commit.drop {
            self.places.remove(dropped);
            self.beats.remove(dropped);
        }
        if commit.ledger.as_ref().is_some_and(|ledger| ledger.holder(id).is_some())
            && let Some((place, _)) = self.places.get_mut(id).filter(|(place, _)| *place != Place::Holding)
        {
            *place = Place::Holding;
            self.beats.insert(id.clone(), 1);
        }
        if !self.waits(id) {
            self.wakes.close(id);
        }
    }

    /// What one that was woken needs to see, as its member has it: that told of the wake, so it has all that came before.
    /// Nothing if more must be seen, or by another member.
    pub(super) fn look_after_wake(&mut self, lock: &Name, id: &Id, budget: Budget) -> Result<Option<Seen>, Error> {
        let Some(woken_at) = self.wakes.take(id) else { return Ok(None) };
        let (address, keys) = (self.cluster.address.clone(), self.keys(lock));
        let mine = self.mine(&keys, id);
        let (mine, max_ttl) = (mine.as_slice(), self.terms.max_ttl);
        let look = Look { address: &address, lock, keys: &keys, id: Some(id), mine, max_ttl, scope: Scope::Head };
        let answers = self.cluster.ask(&[Request { path: TXN, json: Txn::read(look.ops()).json() }], budget)?;
        let (_, came) = self.came(answers, look.ops().len())?.map_err(|refused| refused.error)?;
        if came.header.revision < woken_at.max(self.revision(lock)) {
            return Ok(None);
        }
        match look.sight(came)? {
            Sight::Seen(seen) if !seen.beyond && (seen.view.waiting <= FIRST || seen.view.enough(Some(id)) <= FIRST) => {
                self.note(lock, *seen, Some(id)).map(Some)
            }
            _ => Ok(None),
        }
    }
}
