//! The PostgreSQL engine against real servers: what hangs on its transactions, its life and its tables.

pub mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::claims::{done, enter, hold, lock, mark, nothing, ticket};
use support::postgres::Postgres as Server;
use support::proxy::Proxy;
use support::until;
use support::verdict::{damaged, refused, unreachable};
use vaultlock::ledger::{Commit, Guard, Life, Memory, commit};
use vaultlock::store::postgres::{Address, Postgres, Surroundings};
use vaultlock::store::{Beat, Outcome, Store, Terms};

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

fn open(url: &str) -> Postgres {
    Postgres::open(Address::parse(url, &Surroundings::default()).unwrap(), &TERMS)
}

fn conflicts(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Conflict(_))
}

/// The rule that READ COMMITTED alone does not give: a claim that was swept had not beaten since it was judged.
#[test]
fn no_beat_is_acknowledged_that_a_sweep_overlooked() {
    let server = Server::start();
    let url = server.url();
    // Whoever set a stricter level for everybody must not make it wrong or fail.
    server.tell("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'");
    let (mut sweeper, name) = (open(&url), lock("x"));
    let mut swept = 0;
    let end = Instant::now() + Duration::from_secs(30);
    while swept < 25 {
        assert!(Instant::now() < end, "only {swept} sweeps fell between two beats");
        let (victim, beats, over) = (ticket("victim"), AtomicU64::new(0), AtomicBool::new(false));
        open(&url).take(&name, &victim).unwrap();
        let count = thread::scope(|scope| {
            scope.spawn(|| {
                let mut store = open(&url);
                while !over.load(Ordering::Relaxed) {
                    match store.beat(&name, &victim.id, &[]).unwrap() {
                        Beat::Alive { .. } => beats.fetch_add(1, Ordering::Relaxed),
                        Beat::Gone => break,
                    };
                }
            });
            let mut count = None;
            for _ in 0..40 {
                let view = sweeper.view(&name, Some(&victim.id)).unwrap();
                let Some(Life::Beat { count: judged, .. }) = view.ticket(&victim.id).map(|listed| listed.life) else { break };
                let guards = vec![Guard::Still(victim.id.clone(), Some(judged))];
                let sweep = Commit { drop: vec![victim.id.clone()], guards, ..nothing(&view) };
                if let Outcome::Done(_) = sweeper.commit(&name, &victim.id, &sweep).unwrap() {
                    count = Some(judged);
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
            count
        });
        if let Some(judged) = count {
            assert_eq!(beats.load(Ordering::Relaxed), judged, "a beat was acknowledged after the sweep's proof");
            swept += 1;
        }
    }
}

#[test]
fn a_lock_is_taken_and_given_back_in_two_round_trips_on_one_line() {
    let server = Server::start();
    hold(&mut open(&format!("{}?fresh=true", server.url())), "warm", &ticket("warm"));
    let proxy = Proxy::before(server.port);
    let mut store = open(&server.url().replace(&server.port.to_string(), &proxy.port.to_string()));
    let (me, name) = (ticket("me"), lock("x"));
    let straight = vaultlock::ledger::Straight { remembered: 0, wall: vaultlock::time::Wall(0) };
    let view = store.enter(&name, &me, &straight).unwrap();
    assert!(view.ledger.holder(&me.id).is_some());
    done(store.commit(&name, &me.id, &commit::release(&view, &me.id).unwrap()).unwrap());
    // The server asks whether TLS is wanted, and who comes in: one each, before the two.
    assert_eq!((proxy.opened(), proxy.requests()), (1, 2 + 2));
    assert_eq!(server.tell("SELECT count(*) FROM vaultlock.tickets WHERE lock = 'x'"), "0");
}

#[test]
fn many_make_the_tables_at_once_and_none_fails() {
    let server = Server::start();
    thread::scope(|scope| {
        for n in 0..8 {
            let url = format!("{}?fresh=true", server.url());
            scope.spawn(move || open(&url).take(&lock("x"), &ticket(&n.to_string())).unwrap());
        }
    });
    assert_eq!(open(&server.url()).view(&lock("x"), None).unwrap().waiting, 8);
}

#[test]
fn a_restart_is_the_same_life_unless_the_disk_is_not_cared_for_and_a_failover_is_another() {
    for (fsync, same) in [("fsync=on", true), ("fsync=off", false)] {
        let mut server = Server::with(&[fsync]);
        let (mut store, me, name) = (open(&format!("{}?fresh=true", server.url())), ticket("me"), lock("x"));
        let before = hold(&mut store, "x", &me);
        server.restart();
        let after = store.view(&name, Some(&me.id)).unwrap();
        assert!(after.ledger.holder(&me.id).is_some() && after.ticket(&me.id).is_some());
        assert_eq!((before.epoch == after.epoch, after.memory == Memory::Intact), (same, same), "{fsync}");
    }
    let primary = Server::with(&["wal_level=replica"]);
    let standby = Server::following(&primary, &[]);
    let url = format!("{}?fresh=true", primary.url());
    let before = hold(&mut open(&url), "x", &ticket("me"));
    let both = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", standby.port, primary.port);
    assert_eq!(open(&both).view(&lock("x"), None).unwrap().ledger.version, 1, "the standby is passed");
    until("the standby has it", || standby.tell("SELECT count(*) FROM vaultlock.tickets") == "1");
    refused(open(&standby.url()).view(&lock("x"), None), "is read-only");
    refused(open(&standby.url()).take(&lock("x"), &ticket("you")), "is read-only");
    refused(open(&standby.url()).beat(&lock("x"), &ticket("you").id, &[]), "is read-only");
    refused(open(&standby.url()).locks(), "is read-only");
    drop(primary);
    standby.promote();
    let after = open(&both).view(&lock("x"), None).unwrap();
    assert!(before.epoch != after.epoch && after.ledger == before.ledger);
    assert!(matches!(after.memory, Memory::Unsure { quiet: Duration::ZERO, .. }));
    let fresh = open(&format!("{}?fresh=true", standby.url())).view(&lock("x"), None).unwrap();
    assert!(matches!(fresh.memory, Memory::Unsure { quiet: Duration::ZERO, .. }), "it is no new store");
}

#[test]
fn what_was_forgotten_is_found_out_each_time() {
    let server = Server::start();
    let url = server.url();
    let view = open(&url).view(&lock("x"), None).unwrap();
    assert!(matches!(view.memory, Memory::Unsure { quiet: Duration::ZERO, .. }), "a first use, for all it knows");
    assert_eq!(mark(&open(&url).view(&lock("y"), None).unwrap()), mark(&view), "all share one mark");
    let excused = open(&format!("{url}?fresh=true")).view(&lock("x"), None).unwrap();
    assert!(matches!(excused.memory, Memory::Unsure { quiet: Duration::MAX, .. }));
    let (mut store, me, name) = (open(&url), ticket("me"), lock("x"));
    let held = hold(&mut store, "x", &me);
    assert_eq!(held.memory, Memory::Intact);
    for forget in ["TRUNCATE vaultlock.store, vaultlock.locks, vaultlock.tickets, vaultlock.gone", "DELETE FROM vaultlock.store"]
    {
        server.tell(forget);
        let view = open(&format!("{url}?fresh=true")).view(&name, None).unwrap();
        assert!(matches!(view.memory, Memory::Unsure { quiet: Duration::ZERO, .. }), "fresh does not excuse {forget}");
        assert!(conflicts(&store.commit(&name, &me.id, &enter(&held, &me)).unwrap()));
    }
    server.forget();
    assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Gone);
    assert!(mark(&store.view(&name, Some(&me.id)).unwrap()).is_some());
}

#[test]
fn another_max_ttl_is_refused() {
    let server = Server::start();
    open(&server.url()).view(&lock("x"), None).unwrap();
    let terms = Terms { max_ttl: Duration::from_secs(10), ..TERMS };
    let mut other = Postgres::open(Address::parse(&server.url(), &Surroundings::default()).unwrap(), &terms);
    refused(other.take(&lock("x"), &ticket("me")), "max_ttl of 30s");
    assert_eq!(open(&server.url()).view(&lock("x"), None).unwrap().waiting, 0);
}

#[test]
fn rows_that_nobody_of_ours_wrote_are_damage_and_change_nothing() {
    let server = Server::start();
    let (mut store, me, you, name) = (open(&server.url()), ticket("me"), ticket("you"), lock("x"));
    hold(&mut store, "x", &me);
    store.take(&name, &you).unwrap();
    let mine = format!("id = '{}'", me.id.as_str());
    for (table, set, which) in [
        ("locks", "version = 2", "true"),
        ("locks", "version = -1", "true"),
        ("locks", "ledger = NULL", "true"),
        ("locks", "seal = NULL", "true"),
        ("locks", "ledger = replace(ledger, '30000', '3000')", "true"),
        ("locks", "ledger = left(ledger, 40)", "true"),
        ("locks", "ledger = repeat('x', 200000)", "true"),
        ("tickets", "beats = beats + 1", mine.as_str()),
        ("tickets", "beaten = 0", mine.as_str()),
        ("tickets", "beats = -1", mine.as_str()),
        ("tickets", "ticket = '{}'", mine.as_str()),
        ("tickets", "holds = false", mine.as_str()),
        ("tickets", "seq = -1", mine.as_str()),
        ("store", "settled = 'true'", "true"),
        ("store", "mark = ''", "true"),
    ] {
        server.tell(&format!("CREATE TABLE vaultlock.kept AS TABLE vaultlock.{table}"));
        server.tell(&format!("UPDATE vaultlock.{table} SET {set} WHERE {which}"));
        damaged(store.view(&name, Some(&me.id)), "nothing is granted");
        server.tell(&format!(
            "TRUNCATE vaultlock.{table}; INSERT INTO vaultlock.{table} TABLE vaultlock.kept; DROP TABLE vaultlock.kept"
        ));
        store.view(&name, Some(&me.id)).unwrap();
    }
    server.tell(&format!("UPDATE vaultlock.tickets SET beaten = beaten - 1 WHERE {mine}"));
    damaged(store.beat(&name, &me.id, &[]), "digest");
    // A waiter's damaged ticket is its own trouble.
    server.tell(&format!("UPDATE vaultlock.tickets SET beaten = beaten + 1 WHERE {mine}"));
    server.tell(&format!("UPDATE vaultlock.tickets SET ticket = '{{' WHERE id = '{}'", you.id.as_str()));
    damaged(store.view(&name, Some(&you.id)), "a ticket");
    let third = ticket("third");
    let view = store.take(&name, &third).unwrap();
    assert_eq!((view.waiting, view.ahead, view.tickets.len()), (2, 1, 2));
}

#[test]
fn a_name_or_label_is_text_whatever_it_looks_like() {
    let server = Server::start();
    let mut store = open(&server.url());
    for name in ["'; DROP SCHEMA vaultlock CASCADE; --", "\\", "\\'", "$lock", "$$", "%s \" \\\\", "日本 ü", "E'x'"] {
        let me = ticket(name);
        let view = hold(&mut store, name, &me);
        assert_eq!((view.ledger.name.as_str(), view.ticket(&me.id).unwrap().ticket.who.label.as_str()), (name, name));
        done(store.commit(&lock(name), &me.id, &commit::release(&view, &me.id).unwrap()).unwrap());
    }
    assert_eq!(store.locks().unwrap().len(), 8);
    server.tell("ALTER DATABASE postgres SET standard_conforming_strings = off");
    assert!(open(&server.url()).view(&lock("\\'"), None).unwrap().ledger.fence > 0);
}

#[test]
fn schemas_are_stores_of_their_own() {
    let server = Server::start();
    let me = ticket("me");
    hold(&mut open(&server.url()), "x", &me);
    let other = open(&format!("{}?prefix=other-One.2", server.url())).view(&lock("x"), None).unwrap();
    assert_eq!(other.ledger.version, 0);
    assert_eq!(open(&server.socket_url()).view(&lock("x"), None).unwrap().ledger.version, 1);
}

#[test]
fn what_a_server_can_not_do_now_is_told_and_tried_again() {
    let server = Server::with(&["max_connections=6", "superuser_reserved_connections=3"]);
    server.tell("CREATE ROLE bob LOGIN; CREATE SCHEMA vaultlock AUTHORIZATION bob; GRANT CREATE ON DATABASE postgres TO bob");
    let url = server.url().replace("postgres@", "bob@");
    let mut open_ones: Vec<Postgres> = (0..3).map(|_| open(&url)).collect();
    open_ones.iter_mut().for_each(|store| drop(store.view(&lock("x"), None).unwrap()));
    unreachable(open(&url).view(&lock("x"), None), "raise its max_connections or use a pooler");
    drop(open_ones.pop());
    let address = Address::parse(&url, &Surroundings::default()).unwrap();
    let mut hasty = Postgres::open(address, &Terms { request: Duration::from_millis(700), ..TERMS });
    until("there is a connection again", || hasty.view(&lock("x"), None).is_ok());
    server.tell("ALTER ROLE bob SET statement_timeout = '10s'");
    let blocked = thread::scope(|scope| {
        scope.spawn(|| server.tell("BEGIN; LOCK TABLE vaultlock.locks; SELECT pg_sleep(3); COMMIT"));
        until("the table is locked", || server.tell("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'") != "0");
        let started = Instant::now();
        let blocked = hasty.take(&lock("x"), &ticket("me"));
        assert!(started.elapsed() < Duration::from_secs(2));
        blocked
    });
    unreachable(blocked, "look at");
    until("it is well again", || hasty.take(&lock("x"), &ticket("me")).is_ok());
    server.freeze();
    unreachable(hasty.view(&lock("x"), None), "no answer from postgres at");
    server.thaw();
    until("it is awake again", || hasty.view(&lock("x"), None).is_ok());
    // An idle session that its server ended is no trouble at all.
    server.tell("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bob'");
    until("bob's sessions are ended", || server.tell("SELECT count(*) FROM pg_stat_activity WHERE usename = 'bob'") == "0");
    hasty.view(&lock("x"), None).unwrap();
}
