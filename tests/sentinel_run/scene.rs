//! A Sentinel set and a stage on it, for the tests of tests/served.

use std::time::Duration;

use crate::stage::Stage;
use crate::support::sentinel::Corner;

pub fn scene() -> (Corner, Stage) {
    scene_of(Duration::from_secs(3))
}

/// With leases of this length at the most, on a store that nobody can hold from before.
pub fn scene_of(max_ttl: Duration) -> (Corner, Stage) {
    let corner = Corner::take();
    let stage = Stage::on(format!("{}&max_ttl={}ms", corner.url(), max_ttl.as_millis()));
    (corner, stage)
}

/// All that the server knows of a lock goes.
pub fn forget(corner: &Corner, lock: &str) {
    let primary = &corner.set.servers[corner.set.primary()];
    primary.tell(&["DEL", &format!("{}:{{{lock}}}", corner.prefix)]);
}
