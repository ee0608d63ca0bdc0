//! Which locks there are: the names of the nodes.

use super::jute::Strange;
use super::reply::NO_NODE;
use super::request::Request;
use super::{ZooKeeper, refusal};
use crate::ledger::Ledger;
use crate::ledger::codec::unsealed;
use crate::name::Name;
use crate::store::Error;
use crate::store::wire::Budget;

impl ZooKeeper {
    /// The locks that have a node, in name order.
    pub(super) fn list(&mut self) -> Result<Vec<Name>, Error> {
        let budget = Budget::new(self.terms.request);
        let base = self.nodes.base.clone();
        let replies = self.ensemble.ask(&[Request::Sync(base.clone()), Request::Children(base.clone())], budget)?;
        let children = match replies[1].error {
            NO_NODE => Vec::new(),
            0 => replies[1].children().map_err(|Strange| self.stranger())?.0,
            code => return Err(refusal::said(&self.ensemble.address, &base, code)),
        };
        let mut names = Vec::new();
        for spelled in children.iter().filter(|spelled| !spelled.starts_with('.')) {
            names.push(self.name(spelled, budget)?);
        }
        names.sort();
        Ok(names)
    }

    /// A spelled name says the raw one, unless it was too long.
    fn name(&mut self, spelled: &str, budget: Budget) -> Result<Name, Error> {
        if let Some(name) = Name::from_spelled(spelled) {
            return Ok(name);
        }
        let path = format!("{}/{spelled}", self.nodes.base);
        let replies = self.ensemble.ask(&[Request::Get(path.clone(), false)], budget)?;
        let text = self.node(&replies[0], &path)?.map_or(Vec::new(), |(text, _)| text);
        let ledger = unsealed(&text).ok().and_then(|text| serde_json::from_slice::<Ledger>(text).ok());
        let name = ledger.and_then(|ledger| Name::new(&ledger.name).ok()).filter(|name| name.spelled() == spelled);
        name.ok_or_else(|| refusal::damaged(&self.ensemble.address, &path, "it belongs to no lock of this name"))
    }
}
