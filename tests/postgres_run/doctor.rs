//! `vaultlock doctor` on PostgreSQL, on a role that may too little, and through a pooler.

use crate::stage::Stage;
use crate::support::postgres::{Bouncer, Postgres as Server};

#[track_caller]
fn told(url: &str, code: i32, parts: &[&str]) {
    let done = Stage::on(url.to_owned()).say(&["doctor"]);
    assert_eq!((done.code, done.err.as_str()), (code, ""), "{}", done.out);
    for part in parts {
        assert!(done.out.contains(part), "{part:?} is missing in {}", done.out);
    }
}

#[test]
fn what_a_server_can_promise_hangs_on_how_it_is_run() {
    let server = Server::with(&["fsync=on"]);
    told(&server.url(), 0, &["a restart loses nothing", "woken by NOTIFY", "keeps the whole promise"]);
    assert_eq!(server.tell("SELECT count(*) FROM vaultlock.locks"), "0", "it leaves what a first use leaves");
    let bouncer = Bouncer::before(&server, "pool_mode = transaction");
    told(&bouncer.url(), 0, &["nobody is woken, so waiters look again"]);
    server.tell(
        "CREATE ROLE weak LOGIN; GRANT USAGE ON SCHEMA vaultlock TO weak; GRANT SELECT ON ALL TABLES IN SCHEMA vaultlock TO weak",
    );
    told(&server.url().replace("postgres@", "weak@"), 2, &["none  rights", "INSERT on tickets", "man/postgres.sql"]);
    let lossy = Server::with(&["fsync=off"]);
    told(&lossy.url(), 1, &["part  persistence", "set fsync on"]);
}
