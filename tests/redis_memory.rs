//! A Redis server that forgot, or may have: nobody is let in on its word alone.

pub mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::claims::{done, enter, hold, lock, mark, nothing, ticket};
use support::redis::Server;
use support::until;
use support::verdict::damaged;
use vaultlock::ledger::Memory;
use vaultlock::store::redis::{Address, Redis};
use vaultlock::store::{Beat, Outcome, Store, Terms};

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

fn open(url: &str) -> Redis {
    Redis::open(Address::parse(&url.parse().unwrap()).unwrap(), &TERMS)
}

fn conflicts(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Conflict(_))
}

#[test]
fn a_new_server_is_unsure_for_as_long_as_it_is_up() {
    let server = Server::start();
    let mut store = open(&server.url());
    until(
        "it is up for three seconds",
        || matches!(store.view(&lock("x"), None).unwrap().memory, Memory::Unsure { quiet, .. } if quiet.as_secs() >= 2),
    );
    let view = store.view(&lock("x"), None).unwrap();
    assert!(matches!(&view.memory, Memory::Unsure { quiet, .. } if quiet.as_secs() < 15));
    let again = open(&server.url()).view(&lock("y"), None).unwrap();
    assert_eq!(mark(&again), mark(&view), "all locks and callers share one mark");
    let fresh = open(&format!("{}?fresh=true", server.url())).view(&lock("x"), None).unwrap();
    assert!(matches!(fresh.memory, Memory::Unsure { quiet: Duration::MAX, .. }));
    hold(&mut store, "x", &ticket("me"));
    assert_eq!(store.view(&lock("y"), None).unwrap().memory, Memory::Intact);
}

#[test]
fn a_flush_is_found_out_each_time() {
    let server = Server::start();
    let url = format!("{}?fresh=true", server.url());
    let (mut store, me, name) = (open(&url), ticket("me"), lock("x"));
    hold(&mut store, "x", &me);
    let mut marks = BTreeSet::new();
    let mut last = None;
    for _ in 0..2 {
        server.tell(&["FLUSHALL"]);
        assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Gone);
        let view = store.view(&name, Some(&me.id)).unwrap();
        assert!(matches!(view.memory, Memory::Unsure { quiet: Duration::ZERO, .. }), "fresh excuses no flush");
        marks.insert(mark(&view).unwrap());
        last.get_or_insert(view);
    }
    assert_eq!(marks.len(), 2);
    let you = ticket("you");
    store.take(&name, &you).unwrap();
    let stale = enter(&last.unwrap(), &you);
    assert!(conflicts(&store.commit(&name, &you.id, &stale).unwrap()), "an old mark settles nothing");
    let view = store.view(&name, Some(&you.id)).unwrap();
    assert_eq!(done(store.commit(&name, &you.id, &enter(&view, &you)).unwrap()).memory, Memory::Intact);
}

#[test]
fn a_restart_begins_a_new_life_with_or_without_its_data() {
    for appendonly in ["no", "yes"] {
        let mut server = Server::with(&["--appendonly", appendonly, "--appendfsync", "always"]);
        let (mut store, me, name) = (open(&server.url()), ticket("me"), lock("x"));
        let before = hold(&mut store, "x", &me);
        server.restart();
        let after = store.view(&name, Some(&me.id)).unwrap();
        assert_ne!(before.epoch, after.epoch);
        assert!(matches!(&after.memory, Memory::Unsure { quiet, .. } if quiet.as_secs() < 5));
        assert_eq!(after.ticket(&me.id).is_some(), appendonly == "yes");
        assert_eq!(after.ledger.holder(&me.id).is_some(), appendonly == "yes");
        assert!(conflicts(&store.commit(&name, &me.id, &nothing(&before)).unwrap()));
        let fresh = open(&format!("{}?fresh=true", server.url())).view(&name, None).unwrap();
        let excused = matches!(fresh.memory, Memory::Unsure { quiet: Duration::MAX, .. });
        assert_eq!(excused, appendonly == "no", "a server with an old record is not a new one");
    }
}

#[test]
fn another_max_ttl_is_refused() {
    let server = Server::start();
    open(&server.url()).view(&lock("x"), None).unwrap();
    let terms = Terms { max_ttl: Duration::from_secs(10), ..TERMS };
    let mut other = Redis::open(Address::parse(&server.url().parse().unwrap()).unwrap(), &terms);
    let refused = other.take(&lock("x"), &ticket("me")).unwrap_err().to_string();
    assert!(refused.contains("max_ttl of 30s") && refused.contains("every store URL"), "{refused}");
}

/// `settled` says which mark was waited out: no flipped digit makes a memory sure.
#[test]
fn an_unsure_memory_is_not_made_sure_by_a_flipped_digit() {
    let server = Server::start();
    let mut store = open(&server.url());
    store.view(&lock("x"), None).unwrap();
    for settled in ["1", "0", "true"] {
        server.tell(&["HSET", "vaultlock:store", "settled", settled]);
        damaged(store.view(&lock("x"), None), "vaultlock:store");
    }
    server.tell(&["HSET", "vaultlock:store", "settled", ""]);
    assert!(mark(&store.view(&lock("x"), None).unwrap()).is_some());
}

#[test]
fn an_eviction_and_a_reset_of_the_counts_leave_the_memory_unsure() {
    let server = Server::start();
    server.tell(&["CONFIG", "RESETSTAT"]);
    let memory = |server: &Server| open(&format!("{}?fresh=true", server.url())).view(&lock("x"), None).unwrap().memory;
    assert!(matches!(memory(&server), Memory::Unsure { quiet: Duration::ZERO, .. }));
    let server = Server::with(&["--maxmemory-policy", "allkeys-random"]);
    server.tell(&["SET", "a", &"x".repeat(100_000)]);
    server.tell(&["CONFIG", "SET", "maxmemory", "1mb"]);
    server.ask(&["SET", "b", "x"]);
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert!(!server.ask(&["INFO", "stats"]).contains("evicted_keys:0\r"));
    assert!(matches!(memory(&server), Memory::Unsure { quiet: Duration::ZERO, .. }));
}
