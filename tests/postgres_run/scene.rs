//! A PostgreSQL server and a stage on it, for the tests of tests/served.

use std::time::Duration;

use crate::stage::Stage;
use crate::support::postgres::Postgres as Server;

pub fn scene() -> (Server, Stage) {
    scene_of(Duration::from_secs(3))
}

/// With leases of this length at the most, on a store that nobody can hold from before.
pub fn scene_of(max_ttl: Duration) -> (Server, Stage) {
    let server = Server::start();
    let stage = Stage::on(format!("{}?max_ttl={}ms&fresh=true", server.url(), max_ttl.as_millis()));
    (server, stage)
}

/// All that the server knows of a lock goes.
pub fn forget(server: &Server, lock: &str) {
    server
        .tell(&format!("DELETE FROM vaultlock.tickets WHERE lock = '{lock}'; DELETE FROM vaultlock.locks WHERE name = '{lock}'"));
}
