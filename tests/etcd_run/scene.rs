//! An etcd server and a stage on it, for the tests of tests/served.

use std::time::Duration;

use crate::stage::Stage;
use crate::support::etcd::Etcd;

pub fn scene() -> (Etcd, Stage) {
    scene_of(Duration::from_secs(3))
}

/// With leases of this length at the most, on a store that nobody can hold from before.
pub fn scene_of(max_ttl: Duration) -> (Etcd, Stage) {
    let server = Etcd::start();
    let stage = Stage::on(server.settled(max_ttl));
    (server, stage)
}

/// All that the server knows of a lock goes.
pub fn forget(server: &Etcd, lock: &str) {
    server.tell(&["del", "--prefix", &format!("vaultlock/{lock}/")]);
}
