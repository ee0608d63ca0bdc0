//! What an etcd cluster can promise, by what its members tell.

use serde::Deserialize;

use super::Etcd;
use super::cluster::{Cluster, TXN};
use super::line::Request;
use super::txn::{Op, Txn};
use crate::store::wire::Budget;
use crate::store::{Error, Finding};

const STATUS: &str = "/v3/maintenance/status";

/// What a member says of itself (etcd's StatusResponse).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    version: String,
    db_size: String,
    leader: String,
    errors: Vec<String>,
}

impl Etcd {
    pub(super) fn findings(&mut self) -> Result<Vec<Finding>, Error> {
        let budget = Budget::new(self.terms.request);
        // Proves that the role may read and write below the prefix. No lock's name begins with a dot.
        let key = format!("{}/.rehearsal", self.cluster.address.prefix);
        for op in [Op::put(&key, ""), Op::delete(&key)] {
            let answers = self.cluster.ask(&[Request { path: TXN, json: Txn::read(vec![op]).json() }], budget)?;
            self.came(answers, 1)?.map_err(|refused| refused.error)?;
        }
        let heard = self.members();
        Ok([
            vec![
                Finding::fine("rights", format!("its user may read and write below {}/", self.cluster.address.prefix)),
                Finding::fine(
                    "liveness",
                    "whoever waits watches a holder's beats on its own clock, each read back by a majority; sound while the clocks of two \
                     hosts run within 1 % of each other, and a host kills a job within its margin",
                ),
                Finding::fine("persistence", "what is acknowledged is on the disks of a majority; a restore from a backup needs a new --initial-cluster-token"),
                members(&heard),
            ],
            alarms(&heard),
            leases(&heard).into_iter().collect(),
        ]
        .concat())
    }

    /// What each member that the URL names says, or why it says nothing.
    fn members(&self) -> Vec<(String, Result<Status, String>)> {
        let address = &self.cluster.address;
        let ask = |at: usize| {
            let mut alone = address.clone();
            alone.members = vec![address.members[at].clone()];
            let mut cluster = Cluster::new(alone);
            let answers = cluster.ask(&[Request { path: STATUS, json: "{}".to_owned() }], Budget::new(self.terms.request));
            match answers.map_err(|error| error.to_string())?.parts.pop() {
                Some(Ok(answer)) => cluster.read(0, &answer.json).map_err(|error| error.to_string()),
                Some(Err(complaint)) => Err(cluster.refusal(0, &complaint).to_string()),
                None => Err("no answer".to_owned()),
            }
        };
        (0..address.members.len()).map(|at| (address.members[at].display(), ask(at))).collect()
    }
}

fn members(heard: &[(String, Result<Status, String>)]) -> Finding {
    let (up, down): (Vec<_>, Vec<_>) = heard.iter().partition(|(_, status)| status.is_ok());
    let versions: std::collections::BTreeSet<&str> =
        up.iter().filter_map(|(_, status)| Some(status.as_ref().ok()?.version.as_str())).collect();
    let version = versions.into_iter().collect::<Vec<_>>().join(" and ");
    let leaderless = up.iter().any(|(_, status)| status.as_ref().is_ok_and(|status| matches!(status.leader.as_str(), "" | "0")));
    let says = match heard.len() {
        1 => format!(
            "etcd {version}; the URL names one member: when it is down nobody gets a lock, and holders stop in time. Name them all"
        ),
        count => format!("etcd {version}; {} of the {count} members that the URL names answer", up.len()),
    };
    match down.first() {
        _ if leaderless => Finding::fatal("members", format!("{says}; one of them has no leader, so it can't write")),
        None => Finding::fine("members", says),
        Some((member, status)) => {
            let why = status.as_ref().err().map_or("", String::as_str);
            Finding::partly("members", format!("{says}; {member} does not: {why}"))
        }
    }
}

fn alarms(heard: &[(String, Result<Status, String>)]) -> Vec<Finding> {
    let alarms = heard.iter().filter_map(|(member, status)| Some((member, status.as_ref().ok()?)));
    alarms
        .flat_map(|(member, status)| status.errors.iter().map(move |error| (member, status, error)))
        .map(|(member, status, error)| {
            let size = status.db_size.parse::<u64>().unwrap_or(0) >> 20;
            Finding::fatal(
                "alarm",
                format!("{member} says {error} ({size} MiB): compact and defragment it, then etcdctl alarm disarm"),
            )
        })
        .collect()
}

/// etcd-io/etcd#15247: before these a lease that is renewed may still be revoked.
fn leases(heard: &[(String, Result<Status, String>)]) -> Option<Finding> {
    let old = heard.iter().filter_map(|(_, status)| status.as_ref().ok()).find(|status| has_lease_bugs(&status.version))?;
    Some(Finding::fine(
        "leases",
        format!(
            "etcd {} may revoke a lease that is renewed: holders do not hang on leases here, and a waiter that loses its place takes a new one",
            old.version
        ),
    ))
}

fn has_lease_bugs(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    match (next(), next(), next()) {
        (3, 4, patch) => patch < 31,
        (3, 5, patch) => patch < 13,
        (3, minor, _) => minor < 4,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Promise;

    fn up(version: &str, leader: &str) -> (String, Result<Status, String>) {
        let status = Status { version: version.to_owned(), leader: leader.to_owned(), ..Status::default() };
        ("a:1".to_owned(), Ok(status))
    }

    #[test]
    fn members_are_judged_by_what_they_say() {
        let down = || ("b:1".to_owned(), Err("refused".to_owned()));
        assert_eq!(members(&[up("3.5.13", "7")]).promise, Promise::All);
        assert_eq!(members(&[up("3.5.13", "7"), down(), up("3.5.13", "7")]).promise, Promise::Part);
        assert_eq!(members(&[up("3.5.13", "0"), down(), down()]).promise, Promise::None);
        let mut full = up("3.4.23", "7");
        full.1.as_mut().unwrap().errors.push("memberID:1 alarm:NOSPACE".to_owned());
        assert_eq!(alarms(&[full])[0].promise, Promise::None);
    }

    #[test]
    fn the_versions_with_lease_bugs_are_known() {
        for (version, bugs) in
            [("3.4.23", true), ("3.4.31", false), ("3.5.12", true), ("3.5.13", false), ("3.6.0", false), ("3.3.9", true)]
        {
            assert_eq!(has_lease_bugs(version), bugs, "{version}");
        }
    }
}
