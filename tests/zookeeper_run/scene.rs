//! A node on a ZooKeeper server and a stage on it, for the tests of tests/served.

use std::sync::Arc;
use std::time::Duration;

use crate::stage::Stage;
use crate::support::zookeeper::ZooKeeper;

/// A node of one's own on a server that tests share.
pub struct Chroot {
    pub server: Arc<ZooKeeper>,
    pub url: String,
}

pub fn scene() -> (Chroot, Stage) {
    scene_of(Duration::from_secs(3))
}

/// With leases of this length at the most, on a store that nobody can hold from before.
pub fn scene_of(max_ttl: Duration) -> (Chroot, Stage) {
    let server = ZooKeeper::shared();
    let url = server.settled(max_ttl);
    (Chroot { server, url: url.clone() }, Stage::on(url))
}

/// All that the server knows of a lock goes.
pub fn forget(chroot: &Chroot, lock: &str) {
    let (_, path) = chroot.url.split_once("/locks/").unwrap();
    let node = format!("/locks/{}/{lock}", path.split('?').next().unwrap());
    chroot.server.tell(&["deleteall", &node]);
}
