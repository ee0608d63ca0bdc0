//! Which locks there are: the names in the keys, page by page.

use super::cluster::TXN;
use super::line::Request;
use super::txn::{Range, Txn};
use super::{Etcd, refusal};
use crate::ledger::Ledger;
use crate::ledger::codec::unsealed;
use crate::name::Name;
use crate::store::Error;
use crate::store::wire::Budget;

const PAGE: usize = 1000;

impl Etcd {
    /// The locks that have a ledger, in name order.
    pub(super) fn list(&mut self) -> Result<Vec<Name>, Error> {
        let budget = Budget::new(self.terms.request);
        let base = format!("{}/", self.cluster.address.prefix);
        let end = format!("{}0", self.cluster.address.prefix);
        let (mut from, mut names) = (base.clone(), Vec::new());
        loop {
            let page = self.read(Range::between(&from, &end).keys_only().first(PAGE), budget)?;
            let keys: Vec<String> = page.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
            for key in &keys {
                let lock = key.strip_prefix(&base).and_then(|rest| rest.strip_suffix("/ledger"));
                if let Some(spelled) = lock.filter(|spelled| !spelled.contains('/')) {
                    names.push(self.name(spelled, key, budget)?);
                }
            }
            let Some(last) = keys.last().filter(|_| keys.len() == PAGE) else { break };
            // Whatever else this lock has comes after its ledger.
            from = match last.strip_prefix(&base).and_then(|rest| rest.split_once('/')) {
                Some((spelled, rest)) if rest > "ledger" => format!("{base}{spelled}0"),
                _ => format!("{last}\0"),
            };
        }
        names.sort();
        Ok(names)
    }

    /// A spelled name says the raw one, unless it was too long.
    fn name(&mut self, spelled: &str, key: &str, budget: Budget) -> Result<Name, Error> {
        if let Some(name) = Name::from_spelled(spelled) {
            return Ok(name);
        }
        let kept = self.read(Range::one(key), budget)?;
        let text = kept.first().map(|kv| kv.value.as_slice()).unwrap_or_default();
        let ledger = unsealed(text).ok().and_then(|text| serde_json::from_slice::<Ledger>(text).ok());
        let name = ledger.and_then(|ledger| Name::new(&ledger.name).ok()).filter(|name| name.spelled() == spelled);
        name.ok_or_else(|| refusal::damaged(&self.cluster.address, key, "it belongs to no lock of this name"))
    }

    fn read(&mut self, range: Range, budget: Budget) -> Result<super::reply::Range, Error> {
        let answers = self.cluster.ask(&[Request { path: TXN, json: Txn::read(vec![range.into()]).json() }], budget)?;
        let (_, mut came) = self.came(answers, 1)?.map_err(|refused| refused.error)?;
        Ok(came.reads.remove(0))
    }
}
