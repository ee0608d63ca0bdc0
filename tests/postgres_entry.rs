//! Ways into a PostgreSQL server: roles, passwords, databases, sockets, several hosts, TLS.

pub mod support;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use support::claims::{hold, lock, nothing, ticket};
use support::postgres::Postgres as Server;
use support::proxy::parrot;
use support::redis::{free_port, make_authority};
use support::verdict::{CANARY, refused, unreachable};
use vaultlock::bell::Bell;
use vaultlock::ledger::View;
use vaultlock::store::postgres::{Address, Postgres, Surroundings};
use vaultlock::store::{Error, Store, Terms};
use vaultlock::time::Clock;

fn around(url: &str, around: &Surroundings) -> Result<View, Error> {
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    Postgres::open(Address::parse(url, around).unwrap(), &terms).view(&lock("x"), None)
}

fn view(url: &str) -> Result<View, Error> {
    around(url, &Surroundings::default())
}

#[test]
fn a_password_is_proven_in_each_way_that_servers_know_and_never_shown() {
    let server = Server::start();
    server.tell(&format!(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE alice LOGIN PASSWORD '{CANARY}';
         SET password_encryption = 'md5'; CREATE ROLE bob LOGIN PASSWORD '{CANARY}';
         CREATE ROLE carol LOGIN PASSWORD '{CANARY}';
         GRANT CREATE ON DATABASE postgres TO alice, bob, carol"
    ));
    server.admit(
        "host all postgres 127.0.0.1/32 trust\nhost all alice 127.0.0.1/32 scram-sha-256\nhost all bob 127.0.0.1/32 md5\n\
         host all carol 127.0.0.1/32 password\nhost all dave 127.0.0.1/32 gss\n",
    );
    let at = |user: &str, rest: &str| format!("postgres://{user}@127.0.0.1:{}/postgres{rest}", server.port);
    for user in ["alice", "bob", "carol"] {
        let schema = format!("?prefix={user}");
        view(&at(&format!("{user}:{CANARY}"), &schema)).unwrap();
        refused(view(&at(&format!("{user}:{CANARY}x"), &schema)), "does not accept the password");
        refused(view(&at(user, &schema)), "wants a password: put it into the store URL, PGPASSWORD or ~/.pgpass");
        let variables = [("PGPASSWORD".to_owned(), CANARY.to_owned())].into();
        around(&at(user, &schema), &Surroundings { variables, ..Surroundings::default() }).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    fs::write(&file, format!("127.0.0.1:{}:postgres:alice:{CANARY}\n", server.port)).unwrap();
    let habits = Surroundings { home: Some(home.path().to_owned()), ..Surroundings::default() };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused(around(&at("alice", "?prefix=alice"), &habits), "is not looked at while others may read it: chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    around(&at("alice", "?prefix=alice"), &habits).unwrap();
    refused(view(&at("dave:x", "")), "GSSAPI");
    refused(view(&at("erin:x", "")), "check pg_hba.conf there");
    refused(view(&at("alice:x", "").replace("/postgres", "/nowhere")), "does not accept the password");
    refused(view(&format!("postgres://postgres@127.0.0.1:{}/nowhere", server.port)), "has no database \"nowhere\"");
}

#[test]
fn a_role_that_may_not_make_tables_is_told_how_to_get_them() {
    let server = Server::start();
    server.tell("CREATE ROLE bob LOGIN");
    let url = server.url().replace("postgres@", "bob@");
    refused(view(&url), "run man/postgres.sql");
    let schema = include_str!("../man/postgres.sql");
    server.tell(schema);
    server.tell(schema);
    refused(view(&url), "GRANT USAGE ON SCHEMA vaultlock");
    // The two lines that the file and the message say.
    server.tell("GRANT USAGE ON SCHEMA vaultlock TO bob");
    refused(view(&url), "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA vaultlock");
    server.tell("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA vaultlock TO bob");
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    let mut store = Postgres::open(Address::parse(&url, &Surroundings::default()).unwrap(), &terms);
    hold(&mut store, "x", &ticket("me"));
    server.tell("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC");
    refused(store.view(&lock("x"), None), "pg_control_system");
    server.tell("GRANT EXECUTE ON FUNCTION pg_control_system() TO bob");
    store.view(&lock("x"), None).unwrap();
    server.tell("ALTER ROLE bob SET default_transaction_read_only = on");
    refused(
        Postgres::open(Address::parse(&url, &Surroundings::default()).unwrap(), &terms).take(&lock("x"), &ticket("you")),
        "is read-only",
    );
}

#[test]
fn a_database_in_another_encoding_is_refused() {
    let server = Server::start();
    server.tell("CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0");
    refused(view(&format!("postgres://postgres@127.0.0.1:{}/old", server.port)), "use one with UTF8");
    server.tell("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0");
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    let url = format!("postgres://postgres@127.0.0.1:{}/bytes", server.port);
    let mut store = Postgres::open(Address::parse(&url, &Surroundings::default()).unwrap(), &terms);
    assert_eq!(hold(&mut store, "日本", &ticket("ü")).ledger.name, "日本");
}

#[test]
fn of_several_hosts_the_first_that_will_do_is_used() {
    let server = Server::start();
    let (nobody, silent) = (free_port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = silent.local_addr().unwrap().port();
    let hosts = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let url = |ports: &[u16]| format!("postgres://postgres@{}/postgres", hosts(ports));
    view(&url(&[nobody, server.port])).unwrap();
    view(&format!("{}?connect_timeout=2", url(&[silent, server.port]))).unwrap();
    view(&format!("{}?target_session_attrs=any", url(&[nobody, server.port]))).unwrap();
    unreachable(view(&url(&[nobody, nobody])), "is the server running there?");
    unreachable(view("postgres://postgres@no-such-host.invalid/x"), "check the name in the URL");
    unreachable(view("postgres://postgres@%2Fnowhere/x"), "unix_socket_directories");
    view(&server.socket_url()).unwrap();
    let http = parrot(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    refused(view(&format!("postgres://postgres@127.0.0.1:{http}/x?sslmode=disable")), "does not speak PostgreSQL's protocol");
    refused(view(&format!("postgres://postgres@127.0.0.1:{http}/x")), "does not speak PostgreSQL's protocol");
    // Somebody who answers the question for TLS and goes on at once, before the handshake.
    let hasty = parrot(b"SR\0\0\0\x08\0\0\0\0");
    refused(view(&format!("postgres://postgres@127.0.0.1:{hasty}/x")), "does not speak PostgreSQL's protocol");
}

/// What TLS has read ahead can't be seen by poll(2).
fn a_wake_is_heard(url: &str) {
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    let open = || Postgres::open(Address::parse(url, &Surroundings::default()).unwrap(), &terms);
    let (mut store, mut other, me, name, bell) = (open(), open(), ticket("me"), lock("woken"), Bell::new().unwrap());
    store.take(&name, &me).unwrap();
    let far = || Clock::Boottime.now() + Duration::from_secs(20);
    let started = Instant::now();
    store.wait(&name, &me.id, far(), bell.as_fd()).unwrap();
    for _ in 0..5 {
        let view = store.view(&name, Some(&me.id)).unwrap();
        let wake = vaultlock::ledger::Commit { wake: vec![me.id.clone()], ..nothing(&view) };
        other.commit(&name, &me.id, &wake).unwrap();
        store.wait(&name, &me.id, far(), bell.as_fd()).unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let started = Instant::now();
    store.wait(&name, &me.id, Clock::Boottime.now() + Duration::from_millis(80), bell.as_fd()).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(80), "nobody woke it");
}

#[test]
fn tls_is_verified_as_far_as_sslmode_says() {
    let server = Server::start();
    let files = server.path("tls");
    fs::create_dir(&files).unwrap();
    make_authority(&files);
    let owner = fs::metadata(server.path("data")).unwrap();
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()) {
        chown(&entry, Some(owner.uid()), Some(owner.gid())).unwrap();
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let file = |name: &str| files.join(name).display().to_string();
    let plain = |rest: &str| format!("{}?{rest}", server.url());
    refused(view(&plain("sslmode=require")), "the server has none");
    view(&plain("sslmode=prefer")).unwrap();
    server.tell(&format!("ALTER SYSTEM SET ssl_cert_file = '{}'", file("server.pem")));
    server.tell(&format!("ALTER SYSTEM SET ssl_key_file = '{}'", file("server.key")));
    server.tell(&format!("ALTER SYSTEM SET ssl_ca_file = '{}'", file("ca.pem")));
    server.tell("ALTER SYSTEM SET ssl = on");
    server.admit("hostssl all postgres 127.0.0.1/32 trust\nhostssl all client 127.0.0.1/32 cert\n");
    support::until("it speaks TLS", || view(&plain("sslmode=require")).is_ok());
    refused(view(&plain("sslmode=disable")), "check pg_hba.conf");
    let ca = |name: &str, mode: &str| plain(&format!("sslmode={mode}&sslrootcert={}", file(name)));
    view(&server.url()).unwrap();
    view(&ca("ca.pem", "verify-full")).unwrap();
    view(&ca("ca.pem", "verify-ca")).unwrap();
    a_wake_is_heard(&ca("ca.pem", "verify-full"));
    refused(view(&ca("other.pem", "verify-full")), "unknown authority");
    refused(view(&ca("other.pem", "verify-ca")), "unknown authority");
    refused(view(&ca("other.pem", "require")), "unknown authority");
    refused(view(&plain("sslmode=verify-full")), "authorit");
    refused(view(&ca("none.pem", "verify-full")), "none.pem");
    // Its certificate is for 127.0.0.1 alone.
    let named = |mode: &str| ca("ca.pem", mode).replace("127.0.0.1", "localhost") + "&hostaddr=127.0.0.1";
    refused(view(&named("verify-full")), "another host");
    view(&named("verify-ca")).unwrap();
    let client = ca("ca.pem", "verify-full").replace("postgres@", "client@");
    server.tell("CREATE ROLE client LOGIN; GRANT CREATE ON DATABASE postgres TO client");
    refused(view(&client), "pg_hba.conf");
    let mine = format!("{client}&prefix=other&sslcert={}&sslkey={}", file("client.pem"), file("client.key"));
    view(&mine).unwrap();
}
