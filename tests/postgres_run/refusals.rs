//! What can't be used is refused before the job starts, in one line that says what to do and shows no password.

use std::time::{Duration, Instant};

use crate::stage::Stage;
use crate::support::postgres::Postgres as Server;
use crate::support::redis::free_port;
use crate::support::verdict::CANARY;

/// The store of this URL is refused, in one line with these words in it; no job runs.
#[track_caller]
fn refused(url: &str, parts: &[&str]) {
    let stage = Stage::on(url.to_owned());
    let started = Instant::now();
    let done = stage.run(&["--ttl", "3s"], &["echo", "ran"]);
    done.said_one_line(125, parts);
    println!("    {}", done.err.trim_end());
    assert!(done.out.is_empty() && !done.err.contains(CANARY), "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn a_server_that_does_not_let_us_in_or_may_not_keep_locks() {
    let server = Server::with(&["wal_level=replica"]);
    server.tell(&format!("CREATE ROLE alice LOGIN PASSWORD '{CANARY}'; CREATE ROLE weak LOGIN"));
    server.admit(
        "host all postgres 127.0.0.1/32 trust\nhost all weak 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n\
         host replication all 127.0.0.1/32 trust\n",
    );
    let at = |user: &str, dbname: &str| format!("postgres://{user}@127.0.0.1:{}/{dbname}?max_ttl=3s", server.port);
    refused(&at("alice", "postgres"), &["wants a password: put it into the store URL, PGPASSWORD or ~/.pgpass"]);
    refused(&at(&format!("alice:{CANARY}1"), "postgres"), &["does not accept the password of \"alice\""]);
    refused(&at("weak", "postgres"), &["let the owner of database \"postgres\" run man/postgres.sql"]);
    refused(&at("postgres", "nowhere"), &["has no database \"nowhere\": create it"]);
    refused(&at(&format!("alice:{CANARY}"), "postgres").replace("max_ttl", "sslmode=require&max_ttl"), &["the server has none"]);
    let mut standby = Server::following(&server, &[]);
    refused(&format!("{}?max_ttl=3s", standby.url()), &["is read-only", "give the primary in the store URL"]);
    standby.kill();
    standby.recover_for_ever();
    refused(&format!("{}?max_ttl=3s", standby.url()), &["is not ready (the database system is", "try again in a while"]);
    refused(
        &format!("postgres://postgres@127.0.0.1:{}/d", free_port()),
        &["the job was not run: ", "is the server running there?"],
    );
    refused("postgres://u@no-such-host.invalid/d", &["the job was not run: ", "check the name in the URL"]);
}

#[test]
fn a_connection_limit_is_waited_out() {
    let server = Server::with(&["max_connections=6", "superuser_reserved_connections=3"]);
    server.tell("CREATE ROLE bob LOGIN; GRANT CREATE ON DATABASE postgres TO bob");
    let url = server.url().replace("postgres@", "bob@");
    let stage = Stage::new(&url);
    let holder = stage.hold(&[], &[]);
    let waiters: Vec<_> = (0..2).map(|_| stage.queue(&[], &["for", "5"])).collect();
    crate::stage::wait_for("two waiters", || server.tell("SELECT count(*) FROM vaultlock.tickets WHERE NOT holds") == "2");
    refused(&format!("{url}?max_ttl=3s"), &["has no connection left", "raise its max_connections or use a pooler"]);
    stage.let_go();
    holder.end().was_silent(0);
    waiters.into_iter().for_each(|waiter| waiter.end().was_silent(0));
    stage.log().check(3);
}

#[test]
fn a_password_shows_nowhere_and_the_job_gets_none() {
    let server = Server::start();
    server.tell(&format!("CREATE ROLE alice LOGIN PASSWORD '{CANARY}'; GRANT CREATE ON DATABASE postgres TO alice"));
    server.admit("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
    let stage = Stage::on(format!("postgres://alice:{CANARY}@127.0.0.1:{}/postgres?max_ttl=3s&fresh=true", server.port));
    let done = stage.run(&["-v"], &["env"]);
    assert_eq!(done.code, 0);
    assert!(!done.out.contains(CANARY) && !done.err.contains(CANARY), "{done:?}");
    assert!(
        done.out.contains(&format!("VAULTLOCK_STORE=postgres://127.0.0.1:{}/postgres?fresh=true", server.port)),
        "{}",
        done.out
    );
    for words in [&["status"][..], &["status", "x", "--json"], &["-v", "status"]] {
        let done = stage.say(words);
        assert!(done.code == 0 && !done.out.contains(CANARY) && !done.err.contains(CANARY), "{done:?}");
    }
    let url = stage.url().to_owned();
    let typed = Stage::on(String::new()).say(&["--store", &url, "run", "x", "--", "true"]);
    typed.said_one_line(0, &["the password in --store can be read by everyone on this host"]);
    assert!(!server.tell("SELECT * FROM vaultlock.locks, vaultlock.store").contains(CANARY));
}

#[test]
fn urls_that_can_not_be_read_are_wrong_words() {
    for (url, part) in [
        ("postgres://h:99999", "port"),
        ("postgres://h/d?colour=red", "colour"),
        ("postgres://h/d?max_ttl=soon", "max_ttl"),
        ("postgres://h/d?max_ttl=200h", "max_ttl"),
        ("postgres://h/d?sslmode=never", "never"),
        ("postgres://h/d?target_session_attrs=standby", "must be written"),
    ] {
        Stage::on(url.to_owned()).run(&[], &["true"]).said_one_line(64, &["$VAULTLOCK_STORE: ", part]);
    }
}
