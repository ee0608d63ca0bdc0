//! A Redis Cluster and a stage on it, for the tests of tests/served.

use std::time::Duration;

use crate::stage::Stage;
use crate::support::cluster::Quarter;

pub fn scene() -> (Quarter, Stage) {
    scene_of(Duration::from_secs(3))
}

/// With leases of this length at the most, on a store that nobody can hold from before.
pub fn scene_of(max_ttl: Duration) -> (Quarter, Stage) {
    let quarter = Quarter::take();
    let stage = Stage::on(format!("{}&max_ttl={}ms", quarter.url(), max_ttl.as_millis()));
    (quarter, stage)
}

/// All that the servers know of a lock goes.
pub fn forget(quarter: &Quarter, lock: &str) {
    let owner = quarter.cluster.owner(quarter.cluster.slot(lock));
    quarter.cluster.nodes[owner].tell(&["DEL", &format!("{}:{{{lock}}}", quarter.prefix)]);
}
