//! Beats: a waiter renews its lease, a holder writes.

use super::Etcd;
use super::cluster::{KEEP_ALIVE, TXN};
use super::kept::Stamp;
use super::keys::{self, Keys};
use super::line::Request;
use super::reply::{self, KeptAlive, Streamed};
use super::shown::{self, Place};
use super::txn::{Compare, Op, Range, Txn};
use crate::ledger::Id;
use crate::name::Name;
use crate::store::wire::Budget;
use crate::store::{Beat, Error};

impl Etcd {
    /// Renews the lease. That counts only if the ticket is still seen after it: etcd also renews leases that are gone.
    pub(super) fn beat_as_waiter(&mut self, lock: &Name, id: &Id, with: &[Id], budget: Budget) -> Result<Beat, Error> {
        let keys = self.keys(lock);
        let alive = serde_json::json!({ "ID": keys::lease(id).to_string() }).to_string();
        let own = [keys.ledger(), keys.holder(id), keys.plain(id), keys.led(id)];
        let (reads, watched) = self.beat_reads(&keys, &own, with);
        let count = reads.len();
        let requests = [Request { path: KEEP_ALIVE, json: alive }, Request { path: TXN, json: Txn::read(reads).json() }];
        let answers = self.cluster.ask(&requests, budget)?;
        let member = answers.member;
        let renewed = match &answers.parts[0] {
            Ok(answer) => self.cluster.read::<Streamed<KeptAlive>>(member, &answer.json)?.result.is_some_and(|kept| kept.ttl > 0),
            Err(complaint) => return Err(self.cluster.refusal(member, complaint)),
        };
        let (_, came) = self.came(answers, count)?.map_err(|refused| refused.error)?;
        let is_at = |read: usize| came.reads[read].first().is_some();
        if is_at(1) {
            // An entry whose answer was lost.
            return self.beat_as_holder(lock, id, with, budget);
        }
        if !renewed || !(is_at(2) || is_at(3)) {
            self.wakes.close(id);
            return Ok(Beat::Gone);
        }
        Ok(alive_with(&came, own.len(), &watched))
    }

    /// Writes the beat, which who watches can see, if the ticket is there.
    pub(super) fn beat_as_holder(&mut self, lock: &Name, id: &Id, with: &[Id], budget: Budget) -> Result<Beat, Error> {
        let keys = self.keys(lock);
        let own = [keys.ledger()];
        let (reads, watched) = self.beat_reads(&keys, &own, with);
        let count = reads.len();
        let txn = Txn::change(vec![Compare::present(&keys.holder(id))], vec![Op::put(&keys.beats(id), &self.stamp())], reads);
        let answers = self.cluster.ask(&[Request { path: TXN, json: txn.json() }], budget)?;
        let (beaten, came) = self.came(answers, count)?.map_err(|refused| refused.error)?;
        if beaten {
            return Ok(alive_with(&came, own.len(), &watched));
        }
        match self.places.get(id) {
            Some((Place::Holding, _)) => Ok(Beat::Gone),
            // One of which nothing is known here but its id.
            _ => self.beat_as_waiter(lock, id, with, budget),
        }
    }

    /// What a beat brings back: these keys, and of each watched claim where it may be.
    fn beat_reads(&self, keys: &Keys, own: &[String], with: &[Id]) -> (Vec<Op>, Vec<(Id, Vec<String>)>) {
        let places = |id: &Id| match self.places.get(id) {
            Some((Place::Holding, _)) => vec![keys.beats(id)],
            Some((place, _)) => vec![place.key(keys, id), keys.beats(id)],
            None => vec![keys.beats(id), keys.plain(id), keys.led(id)],
        };
        let watched: Vec<(Id, Vec<String>)> = with.iter().map(|id| (id.clone(), places(id))).collect();
        let own = own.iter().map(|key| Range::one(key).keys_only());
        let others = watched.iter().flat_map(|(_, places)| places).map(|key| match key.starts_with(&keys.all_beats()) {
            true => Range::one(key),
            false => Range::one(key).keys_only(),
        });
        (own.chain(others).map(Op::from).collect(), watched)
    }
}

/// The answer to a beat: the ledger's version, then what else was the asker's, then the watched ones'.
fn alive_with(came: &shown::Came, own: usize, watched: &[(Id, Vec<String>)]) -> Beat {
    let version = came.reads[0].first().map_or(0, |kv| kv.version);
    let (mut others, mut quiet) = (Vec::new(), None);
    let mut reads = came.reads[own..].iter();
    for (id, places) in watched {
        let found: Vec<&reply::Kv> = reads.by_ref().take(places.len()).filter_map(|read| read.first()).collect();
        // Beats have a value, and of a waiter's ticket only the key is read.
        match found.iter().find(|kv| !kv.value.is_empty()) {
            Some(beats) => {
                if others.is_empty() {
                    quiet = shown::quiet(Stamp::read(&beats.value).ok().flatten(), came);
                }
                others.push((id.clone(), beats.version));
            }
            None if !found.is_empty() => others.push((id.clone(), 0)),
            None => {}
        }
    }
    Beat::Alive { version, epoch: shown::epoch(&came.header), others, quiet }
}
