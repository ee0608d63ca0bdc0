//! Beats: a ticket's node is written, which a majority must acknowledge and who watches can see.

use super::jute::Strange;
use super::reply::NO_NODE;
use super::request::Request;
use super::shown::Shown;
use super::{ZooKeeper, refusal};
use crate::ledger::Id;
use crate::name::Name;
use crate::store::wire::Budget;
use crate::store::{Beat, Error};
use crate::time::Wall;

impl ZooKeeper {
    /// Writes the beat if the ticket is there, and brings back those of the watched ones.
    pub(super) fn write_beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error> {
        let budget = Budget::new(self.terms.request);
        if !self.texts.contains_key(id) || with.iter().any(|id| !self.places.contains_key(id)) {
            self.look(lock, Some(id), budget)?;
        }
        let (Some(path), Some(text)) = (self.places.get(id).cloned(), self.texts.get(id).cloned()) else {
            return Ok(Beat::Gone);
        };
        // One that is not known has no ticket.
        let watched: Vec<(Id, String)> = with.iter().filter_map(|id| Some((id.clone(), self.places.get(id)?.clone()))).collect();
        let own = [
            Request::Set(path.clone(), text),
            Request::Exists(self.nodes.ledger(lock)),
            Request::Get(self.nodes.record(), false),
        ];
        let others = watched.iter().map(|(_, path)| Request::Exists(path.clone()));
        let sent = Wall::now();
        let replies = self.ensemble.ask(&own.into_iter().chain(others).collect::<Vec<_>>(), budget)?;
        match replies[0].error {
            NO_NODE => return Ok(Beat::Gone),
            0 => {}
            code => return Err(refusal::said(&self.ensemble.address, &self.nodes.tickets(lock), code)),
        }
        let stat = |at: usize| -> Result<_, Error> {
            match replies[at].error {
                NO_NODE => Ok(None),
                0 => Ok(Some(replies[at].stat().map_err(|Strange| self.stranger())?)),
                code => Err(refusal::said(&self.ensemble.address, &self.nodes.tickets(lock), code)),
            }
        };
        let shown = stat(0)?.map(|stat| Shown::new(stat, sent));
        let version = stat(1)?.map_or(0, |stat| stat.version as u64);
        let stats = (0..watched.len()).map(|at| stat(3 + at)).collect::<Result<Vec<_>, _>>()?;
        let record = self.record_in(&replies[2])?;
        self.shown = shown.or(self.shown);
        let epoch = match record {
            Some(record) => record.epoch(),
            // Its record was deleted: another life begins.
            None => self.look(lock, Some(id), budget)?.view.epoch,
        };
        let quiet = stats.first().copied().flatten().and_then(|stat| self.quiet(stat));
        let others = watched.into_iter().zip(stats).filter_map(|((id, _), stat)| Some((id, stat?.version as u64))).collect();
        Ok(Beat::Alive { version, epoch, others, quiet })
    }
}
