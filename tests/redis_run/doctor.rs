//! `vaultlock doctor` on Redis servers of several kinds.

use crate::stage::Stage;
use crate::support::redis::Server;

#[track_caller]
fn told(server: &Server, more: &str, code: i32, parts: &[&str]) {
    let done = Stage::on(format!("{}{more}", server.url())).say(&["doctor"]);
    assert_eq!((done.code, done.err.as_str()), (code, ""), "{}", done.out);
    for part in parts {
        assert!(done.out.contains(part), "{part:?} is missing in {}", done.out);
    }
}

#[test]
fn what_a_server_can_promise_hangs_on_how_it_is_run() {
    let server = Server::with(&["--appendonly", "yes"]);
    told(&server, "", 0, &["appendonly is on", "its clock agrees", "may do what the locks need", "keeps the whole promise"]);
    assert_eq!(server.ask(&["KEYS", "*"]), "vaultlock:store", "it leaves what a first use leaves");
    server.ask(&["CONFIG", "SET", "appendonly", "no"]);
    told(&server, "", 1, &["part  persistence", "set appendonly yes", "keeps the promise in part"]);
    told(&server, "/?fresh=true", 1, &["part  fresh"]);
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    told(&server, "", 2, &["set maxmemory-policy noeviction", "can't be used as it is"]);
}

#[test]
fn a_user_who_may_too_little_is_told_what_it_lacks() {
    let server = Server::with(&["--appendonly", "yes"]);
    // All that a look takes, and no write.
    server.ask(&[
        "ACL",
        "SETUSER",
        "weak",
        "on",
        ">pw",
        "~vaultlock:*",
        "&*",
        "-@all",
        "+eval",
        "+evalsha",
        "+info",
        "+time",
        "+type",
    ]);
    server.ask(&["ACL", "SETUSER", "weak", "+exists", "+hget", "+hmget", "+hset", "+zcard", "+zrank", "+zscore", "+zrange"]);
    let done = Stage::on(server.url().replace("redis://", "redis://weak:pw@")).say(&["doctor"]);
    assert_eq!(done.code, 2, "{}", done.out);
    assert!(done.out.contains("none  rights") && done.out.contains("ACL SETUSER"), "{}", done.out);
}

#[test]
fn a_replica_that_nobody_waits_for_is_a_hole() {
    let server = Server::with(&["--appendonly", "yes"]);
    let replica = Server::with(&["--replicaof", "127.0.0.1", &server.port.to_string()]);
    crate::stage::wait_for("the replica", || server.ask(&["INFO", "replication"]).contains("connected_slaves:1"));
    told(&server, "", 1, &["part  replicas", "min-replicas-to-write"]);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    crate::stage::wait_for("a good replica", || server.ask(&["INFO", "replication"]).contains("min_slaves_good_slaves:1"));
    told(&server, "", 0, &["without enough of them it takes no writes"]);
    told(&replica, "", 2, &["none  reach"]);
}
