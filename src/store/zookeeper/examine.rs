//! What a ZooKeeper ensemble can promise, by what its members let us do.

use super::ensemble::Ensemble;
use super::reply::{NO_NODE, NODE_EXISTS};
use super::request::{Access, Request};
use super::{ZooKeeper, refusal};
use crate::store::wire::Budget;
use crate::store::{Error, Finding};

impl ZooKeeper {
    pub(super) fn findings(&mut self) -> Result<Vec<Finding>, Error> {
        let budget = Budget::new(self.terms.request);
        // Proves that we may make and delete nodes. No lock's name begins with a dot.
        let path = format!("{}/.rehearsal", self.nodes.base);
        self.look(&crate::name::Name::new("rehearsal").expect("a plain word"), None, budget)?;
        let access = self.ensemble.address.access();
        let requests = [Request::Create(path.clone(), access), Request::Delete(path.clone())];
        for reply in self.ensemble.ask(&requests, budget)? {
            if !matches!(reply.error, 0 | NODE_EXISTS | NO_NODE) {
                return Err(refusal::said(&self.ensemble.address, &path, reply.error));
            }
        }
        Ok(vec![
            rights(&self.nodes.base, access),
            Finding::fine(
                "liveness",
                "whoever waits watches a holder's beats on its own clock, each a write that a majority acknowledged; sound while the \
                 clocks of two hosts run within 1 % of each other, and a host kills a job within its margin",
            ),
            Finding::fine(
                "persistence",
                format!(
                    "what is acknowledged is on the disks of a majority, unless forceSync is off there; after a restore from a backup \
                     delete {} and all below it",
                    self.nodes.record()
                ),
            ),
            self.members(),
        ])
    }

    /// Which of the members that the URL names give a session.
    fn members(&self) -> Finding {
        let address = &self.ensemble.address;
        let ask = |at: usize| {
            let mut alone = address.clone();
            alone.members = vec![address.members[at].clone()];
            Ensemble::new(alone).ask(&[Request::Exists(self.nodes.base.clone())], Budget::new(self.terms.request))
        };
        let heard: Vec<(String, Result<_, Error>)> =
            (0..address.members.len()).map(|at| (address.members[at].display(), ask(at))).collect();
        let up = heard.iter().filter(|(_, answer)| answer.is_ok()).count();
        let says = match heard.len() {
            1 => {
                "the URL names one member: when it is down nobody gets a lock, and holders stop in time. Name them all".to_owned()
            }
            count => format!("{up} of the {count} members that the URL names serve"),
        };
        match heard.iter().find_map(|(member, answer)| Some((member, answer.as_ref().err()?))) {
            None => Finding::fine("members", says),
            Some((member, why)) => Finding::partly("members", format!("{says}; {member} does not: {why}")),
        }
    }
}

fn rights(base: &str, access: Access) -> Finding {
    match access {
        Access::Creator => {
            Finding::fine("rights", format!("we may make and delete nodes below {base}; what we make is this user's alone"))
        }
        Access::Everybody => Finding::fine(
            "rights",
            format!(
                "we may make and delete nodes below {base}, and so may whoever reaches a member: the store URL has no user, so what we \
                 make is everybody's (zk://USER:PASSWORD@HOST makes it one user's)"
            ),
        ),
    }
}
