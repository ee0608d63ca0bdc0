//! PgBouncer in transaction mode, where nothing of a session lasts: two messages may go to two servers' processes.

pub mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use support::claims::{done, hold, lock, nothing, ticket};
use support::postgres::{Bouncer, Postgres as Server};
use support::verdict::{refused, unreachable};
use vaultlock::bell::Bell;
use vaultlock::ledger::{Commit, commit};
use vaultlock::store::postgres::{Address, Postgres, Surroundings};
use vaultlock::store::{Beat, Outcome, Store, Terms};
use vaultlock::time::Clock;

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

fn open(url: &str) -> Postgres {
    Postgres::open(Address::parse(url, &Surroundings::default()).unwrap(), &TERMS)
}

#[test]
fn a_crowd_shares_a_few_connections_and_loses_nothing() {
    let server = Server::start();
    let bouncer = Bouncer::before(&server, "default_pool_size = 3");
    let url = format!("{}?fresh=true", bouncer.url());
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let (mut store, me, name) = (open(&url), ticket("racer"), lock("race"));
                let mut view = store.take(&name, &me).unwrap();
                let mut won = 0;
                while won < 5 {
                    let mut ledger = view.ledger.clone();
                    ledger.version += 1;
                    ledger.fence += 1;
                    let commit = Commit { ledger: Some(ledger), ..nothing(&view) };
                    match store.commit(&name, &me.id, &commit).unwrap() {
                        Outcome::Done(next) => (won, view) = (won + 1, next.unwrap()),
                        Outcome::Conflict(next) => view = next,
                    }
                    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { .. }));
                }
                done(store.commit(&name, &me.id, &commit::withdraw(&view, &me.id)).unwrap());
            });
        }
    });
    let view = open(&url).view(&lock("race"), None).unwrap();
    assert_eq!((view.ledger.fence, view.ledger.version, view.waiting), (100, 100, 0));
    let sessions: u32 =
        server.tell("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").parse().unwrap();
    assert!(sessions <= 4, "{sessions} sessions on the server");
    assert_eq!(server.tell("SELECT count(*) FROM pg_prepared_statements"), "0");
}

#[test]
fn a_waiter_looks_again_by_itself_for_nobody_can_wake_it() {
    let server = Server::start();
    let bouncer = Bouncer::before(&server, "");
    let (mut holder, mut waiter) = (open(&bouncer.url()), open(&bouncer.url()));
    let (mine, me, name, bell) = (ticket("holder"), ticket("me"), lock("x"), Bell::new().unwrap());
    hold(&mut holder, "x", &mine);
    waiter.take(&name, &me).unwrap();
    for _ in 0..5 {
        let asked = Instant::now();
        waiter.wait(&name, &me.id, Clock::Boottime.now() + Duration::from_secs(20), bell.as_fd()).unwrap();
        let waited = asked.elapsed();
        assert!((Duration::from_millis(90)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
        waiter.view(&name, Some(&me.id)).unwrap();
    }
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' AND query NOT LIKE '%pg_stat%'";
    assert_eq!(server.tell(listening), "0", "it would be another's session that listens");
    bell.ring();
    let asked = Instant::now();
    waiter.wait(&name, &me.id, Clock::Boottime.now() + Duration::from_secs(20), bell.as_fd()).unwrap();
    // By now it looks again by itself after one and a half seconds at the earliest.
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_a_pooler_says_is_told_as_what_it_means() {
    let server = Server::start();
    let bouncer = Bouncer::before(&server, "max_client_conn = 2");
    let mut two: Vec<Postgres> = (0..2).map(|_| open(&bouncer.url())).collect();
    two.iter_mut().for_each(|store| drop(store.view(&lock("x"), None).unwrap()));
    unreachable(open(&bouncer.url()).view(&lock("x"), None), "postgres at");
    drop(two);
    let options = format!("{}?options=-c%20geqo%3Doff", bouncer.url());
    refused(open(&options).view(&lock("x"), None), "leave options= out");
    refused(open(&bouncer.url().replace("/postgres", "/nowhere")).view(&lock("x"), None), "postgres at");
    refused(open(&bouncer.url().replace("postgres@", "stranger@")).view(&lock("x"), None), "postgres at");
}
