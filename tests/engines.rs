//! One suite that every engine passes: the five verbs, as src/store/mod.rs promises them.

#[path = "engines/straight.rs"]
mod straight;
pub mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use straight::{a_plain_lock_is_entered_in_one_step, of_many_who_go_straight_in_one_is_in, what_is_not_plain_is_only_taken};
use support::claims::{done, enter, hold, lock, nothing, ticket};
use support::cluster::Quarter;
use support::etcd::Etcd;
use support::postgres::Postgres as Database;
use support::redis::Server;
use support::sentinel::Corner;
use support::until;
use support::zookeeper::{ZooKeeper, open_store};
use vaultlock::bell::Bell;
use vaultlock::ledger::{Commit, Guard, Id, Life, Stop, StopReason, commit, view::FIRST};
use vaultlock::store::file::FileStore;
use vaultlock::store::locate::Location;
use vaultlock::store::memory::MemoryServer;
use vaultlock::store::postgres::{Address as DatabaseAddress, Postgres, Surroundings};
use vaultlock::store::redis::{Address, Redis};
use vaultlock::store::{Beat, Outcome, Store, Terms};

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

/// A place that any number of clients can open.
trait Place: Sync {
    fn open(&self) -> Box<dyn Store>;
}

impl Place for tempfile::TempDir {
    fn open(&self) -> Box<dyn Store> {
        Box::new(FileStore::new(&self.path().join("store"), TERMS.max_ttl))
    }
}

impl Place for MemoryServer {
    fn open(&self) -> Box<dyn Store> {
        Box::new(self.connect())
    }
}

impl Place for Server {
    fn open(&self) -> Box<dyn Store> {
        let url = format!("{}?fresh=true", self.url());
        Box::new(Redis::open(Address::parse(&url.parse().unwrap()).unwrap(), &TERMS))
    }
}

impl Place for Corner {
    fn open(&self) -> Box<dyn Store> {
        let location = Location::parse(&self.url()).unwrap();
        location.open(TERMS.request)
    }
}

impl Place for Quarter {
    fn open(&self) -> Box<dyn Store> {
        let location = Location::parse(&self.url()).unwrap();
        location.open(TERMS.request)
    }
}

impl Place for Database {
    fn open(&self) -> Box<dyn Store> {
        let url = format!("{}?fresh=true", self.url());
        Box::new(Postgres::open(DatabaseAddress::parse(&url, &Surroundings::default()).unwrap(), &TERMS))
    }
}

impl Place for Etcd {
    fn open(&self) -> Box<dyn Store> {
        self.open_store(&TERMS)
    }
}

/// A node of its own on a server that tests share.
struct Chroot {
    url: String,
    _server: std::sync::Arc<ZooKeeper>,
}

impl Chroot {
    fn make() -> Chroot {
        let server = ZooKeeper::shared();
        Chroot { url: server.url(), _server: server }
    }
}

impl Place for Chroot {
    fn open(&self) -> Box<dyn Store> {
        open_store(&self.url, &TERMS)
    }
}

/// Every test below, once for each engine.
macro_rules! suite {
    ($($test:ident)*) => {
        mod file { $(#[test] fn $test() { super::$test(&tempfile::tempdir().unwrap()); })* }
        mod memory { $(#[test] fn $test() {
            super::$test(&super::MemoryServer::new(super::TERMS.max_ttl, std::time::Duration::from_secs(3600)));
        })* }
        mod postgres { $(#[test] fn $test() { super::$test(&super::Database::start()); })* }
        mod redis { $(#[test] fn $test() { super::$test(&super::Server::start()); })* }
        mod sentinel { $(#[test] fn $test() { super::$test(&super::Corner::take()); })* }
        mod cluster { $(#[test] fn $test() { super::$test(&super::Quarter::take()); })* }
        mod etcd { $(#[test] fn $test() { super::$test(&super::Etcd::start()); })* }
        mod zookeeper { $(#[test] fn $test() { super::$test(&super::Chroot::make()); })* }
    };
}

suite! {
    a_lock_nobody_used_is_blank
    of_many_who_commit_on_one_version_one_wins
    a_ticket_taken_twice_is_one_ticket
    a_plain_lock_is_entered_in_one_step
    what_is_not_plain_is_only_taken
    of_many_who_go_straight_in_one_is_in
    an_id_once_gone_never_returns
    a_beat_never_makes_a_ticket
    a_view_is_no_older_than_ones_own_write
    tickets_stand_in_the_order_they_were_taken
    a_lead_is_a_place_further_ahead
    only_the_first_waiters_are_listed_and_all_are_counted
    a_commit_is_carried_out_whole_or_not_at_all
    a_withdrawal_needs_no_version
    who_has_no_ticket_asks_another_to_end
    a_wait_ends_in_time_and_by_the_bell
    a_wake_reaches_the_one_it_names
    a_wake_between_view_and_wait_is_not_missed
    locks_are_listed_by_name
    locks_do_not_mix
}

fn a_lock_nobody_used_is_blank(place: &dyn Place) {
    let view = place.open().view(&lock("x"), None).unwrap();
    assert_eq!((view.ledger.version, view.ledger.fence, view.waiting, view.ledger.name.as_str()), (0, 0, 0, "x"));
    assert!(view.ledger.holders.is_empty() && view.tickets.is_empty() && !view.epoch.is_empty());
}

fn of_many_who_commit_on_one_version_one_wins(place: &dyn Place) {
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let (mut store, me, name) = (place.open(), ticket("racer"), lock("race"));
                let mut view = store.take(&name, &me).unwrap();
                let mut won = 0;
                while won < 20 {
                    let mut ledger = view.ledger.clone();
                    ledger.version += 1;
                    ledger.fence += 1;
                    let commit = vaultlock::ledger::Commit { ledger: Some(ledger), ..nothing(&view) };
                    match store.commit(&name, &me.id, &commit).unwrap() {
                        Outcome::Done(next) => (won, view) = (won + 1, next.unwrap()),
                        Outcome::Conflict(next) => view = next,
                    }
                }
            });
        }
    });
    // A file store may call its own success a conflict when it was overtaken at once; never the other way round.
    let fence = place.open().view(&lock("race"), None).unwrap().ledger.fence;
    assert!(fence >= 100, "{fence} increments are left of 100");
}

fn a_ticket_taken_twice_is_one_ticket(place: &dyn Place) {
    let (mut store, me, name) = (place.open(), ticket("a"), lock("x"));
    let first = store.take(&name, &me).unwrap();
    let again = store.take(&name, &me).unwrap();
    assert_eq!((first.waiting, again.waiting), (1, 1));
    assert_eq!(first.ticket(&me.id).unwrap().seq, again.ticket(&me.id).unwrap().seq);
    assert_eq!(first.ticket(&me.id).unwrap().life.without_age(), again.ticket(&me.id).unwrap().life.without_age());
}

fn an_id_once_gone_never_returns(place: &dyn Place) {
    let (mut store, me, name) = (place.open(), ticket("a"), lock("x"));
    let view = store.take(&name, &me).unwrap();
    let left = done(store.commit(&name, &me.id, &commit::withdraw(&view, &me.id)).unwrap());
    assert!(left.ticket(&me.id).is_none() && left.waiting == 0);
    assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Gone);
    if !store.kind().knows_the_dead() {
        // A request that was delayed on its way must not make a ghost.
        let late = store.take(&name, &me).unwrap();
        assert!(late.ticket(&me.id).is_none() && late.waiting == 0);
    }
}

fn a_beat_never_makes_a_ticket(place: &dyn Place) {
    let (mut store, me, name) = (place.open(), ticket("a"), lock("x"));
    assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Gone);
    assert_eq!(store.view(&name, None).unwrap().waiting, 0);
    store.take(&name, &me).unwrap();
    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { version: 0, .. }));
}

fn a_view_is_no_older_than_ones_own_write(place: &dyn Place) {
    let (mut store, me, name) = (place.open(), ticket("a"), lock("x"));
    for version in 1..30 {
        let view = store.take(&name, &me).unwrap();
        let mut ledger = view.ledger.clone();
        ledger.version += 1;
        let commit = vaultlock::ledger::Commit { ledger: Some(ledger), ..nothing(&view) };
        assert_eq!(done(store.commit(&name, &me.id, &commit).unwrap()).ledger.version, version);
        assert_eq!(store.view(&name, Some(&me.id)).unwrap().ledger.version, version);
        assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { version: now, .. } if now == version));
    }
}

fn tickets_stand_in_the_order_they_were_taken(place: &dyn Place) {
    let name = lock("x");
    let mut stores: Vec<_> = (0..8).map(|_| place.open()).collect();
    let tickets: Vec<_> = (0..8).map(|n| ticket(&format!("waiter {n}"))).collect();
    for (store, ticket) in stores.iter_mut().zip(&tickets) {
        store.take(&name, ticket).unwrap();
    }
    for (ahead, (store, ticket)) in stores.iter_mut().zip(&tickets).enumerate() {
        let view = store.view(&name, Some(&ticket.id)).unwrap();
        let order: Vec<&Id> = view.waiters().map(|listed| &listed.ticket.id).collect();
        // The first one's turn does not hang on those behind the next.
        let listed = if ahead == 0 { order.len().max(FIRST) } else { 8 };
        assert_eq!(order, tickets[..listed].iter().map(|ticket| &ticket.id).collect::<Vec<_>>());
        assert_eq!((view.ahead, view.waiting), (ahead, 8));
    }
}

fn a_lead_is_a_place_further_ahead(place: &dyn Place) {
    let name = lock("x");
    let (mut early, mut late) = (place.open(), place.open());
    let (first, mut urgent) = (ticket("first"), ticket("urgent"));
    urgent.lead_ms = 60_000;
    early.take(&name, &first).unwrap();
    let view = late.take(&name, &urgent).unwrap();
    let order: Vec<&Id> = view.waiters().map(|listed| &listed.ticket.id).collect();
    assert_eq!(order, [&urgent.id, &first.id]);
}

fn only_the_first_waiters_are_listed_and_all_are_counted(place: &dyn Place) {
    let name = lock("x");
    let mut stores: Vec<_> = (0..40).map(|_| place.open()).collect();
    let tickets: Vec<_> = (0..40).map(|n| ticket(&format!("{n}"))).collect();
    for (store, ticket) in stores.iter_mut().zip(&tickets) {
        store.take(&name, ticket).unwrap();
    }
    let last = stores[39].view(&name, Some(&tickets[39].id)).unwrap();
    assert_eq!((last.waiting, last.ahead, last.tickets.len()), (40, 39, 33), "32 and the asker's own");
    assert!(last.ticket(&tickets[39].id).is_some() && last.ticket(&tickets[38].id).is_none());
}

fn a_commit_is_carried_out_whole_or_not_at_all(place: &dyn Place) {
    let name = lock("x");
    let (mut store, mut other) = (place.open(), place.open());
    let (me, them) = (ticket("me"), ticket("them"));
    other.take(&name, &them).unwrap();
    let view = store.take(&name, &me).unwrap();
    let good = enter(&view, &me);
    let stale = vaultlock::ledger::Commit { version: 7, ..good.clone() };
    let elsewhere = vaultlock::ledger::Commit { epoch: "another life".into(), ..good.clone() };
    let unguarded =
        vaultlock::ledger::Commit { guards: vec![Guard::Absent(them.id.clone())], drop: vec![them.id.clone()], ..good.clone() };
    let beaten = vaultlock::ledger::Commit { guards: vec![Guard::Still(them.id.clone(), Some(99))], ..good.clone() };
    for refused in [stale, elsewhere, unguarded, beaten] {
        let Outcome::Conflict(now) = store.commit(&name, &me.id, &refused).unwrap() else { panic!("carried out: {refused:?}") };
        assert_eq!((now.ledger.version, now.waiting), (0, 2));
    }
    let entered = done(store.commit(&name, &me.id, &good).unwrap());
    assert_eq!((entered.ledger.version, entered.ledger.holders.len(), entered.waiting), (1, 1, 1));
    assert!(matches!(store.commit(&name, &me.id, &good).unwrap(), Outcome::Conflict(_)), "the same version twice");
}

fn a_withdrawal_needs_no_version(place: &dyn Place) {
    let name = lock("x");
    let (mut store, mut other) = (place.open(), place.open());
    let (me, them) = (ticket("me"), ticket("them"));
    let view = store.take(&name, &me).unwrap();
    hold(&mut *other, name.as_str(), &them);
    let left = done(store.commit(&name, &me.id, &commit::withdraw(&view, &me.id)).unwrap());
    assert_eq!((left.waiting, left.ledger.holders.len(), left.ledger.version), (0, 1, 1));
}

fn who_has_no_ticket_asks_another_to_end(place: &dyn Place) {
    let (name, operator) = (lock("broken"), ticket("operator").id);
    let (holder, waiters) = (ticket("holder"), ["b", "c", "d", "e"].map(ticket));
    hold(place.open().as_mut(), "broken", &holder);
    let mut store = place.open();
    waiters.iter().for_each(|waiter| drop(store.take(&name, waiter).unwrap()));
    let mut outside = place.open();
    for target in [&holder, &waiters[3]] {
        let view = outside.view(&name, None).unwrap();
        let mut ledger = view.ledger.clone();
        ledger.version += 1;
        ledger.stops.push(Stop { id: target.id.clone(), why: StopReason::Preempted });
        let ask = Commit { ledger: Some(ledger), guards: vec![Guard::Present(target.id.clone())], ..nothing(&view) };
        done(outside.commit(&name, &operator, &ask).unwrap());
        let stops = place.open().view(&name, None).unwrap().ledger.stops;
        assert!(stops.iter().any(|stop| stop.id == target.id), "{stops:?}");
        let stranger = Commit { guards: vec![Guard::Present(operator.clone())], ..ask };
        assert!(matches!(outside.commit(&name, &operator, &stranger).unwrap(), Outcome::Conflict(_)));
    }
}

fn a_wait_ends_in_time_and_by_the_bell(place: &dyn Place) {
    let name = lock("x");
    let (mut holder, mut store) = (place.open(), place.open());
    hold(&mut *holder, name.as_str(), &ticket("holder"));
    let (me, bell) = (ticket("me"), Bell::new().unwrap());
    let clock = store.kind().clock;
    store.take(&name, &me).unwrap();
    settle(&mut *store, &name, &me.id, &bell);
    let asked = Instant::now();
    store.wait(&name, &me.id, clock.now() + Duration::from_millis(80), bell.as_fd()).unwrap();
    assert!((80..2000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    let ringer = bell.clone();
    let ring = thread::spawn(move || ringer.ring());
    let asked = Instant::now();
    store.wait(&name, &me.id, clock.now() + Duration::from_secs(20), bell.as_fd()).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5));
    ring.join().unwrap();
}

fn a_wake_reaches_the_one_it_names(place: &dyn Place) {
    let name = lock("x");
    let (mut holder, mut first, mut second) = (place.open(), place.open(), place.open());
    let (mine, a, b) = (ticket("holder"), ticket("a"), ticket("b"));
    let view = hold(&mut *holder, name.as_str(), &mine);
    let (bell, quiet) = (Bell::new().unwrap(), Bell::new().unwrap());
    first.take(&name, &a).unwrap();
    second.take(&name, &b).unwrap();
    settle(&mut *first, &name, &a.id, &bell);
    settle(&mut *second, &name, &b.id, &quiet);
    let wake = vaultlock::ledger::Commit { wake: vec![a.id.clone()], ..nothing(&view) };
    done(holder.commit(&name, &mine.id, &wake).unwrap());
    let asked = Instant::now();
    let clock = first.kind().clock;
    first.wait(&name, &a.id, clock.now() + Duration::from_secs(20), bell.as_fd()).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "the wake did not arrive");
    let asked = Instant::now();
    second.wait(&name, &b.id, clock.now() + Duration::from_millis(150), quiet.as_fd()).unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(150), "a wake for another woke me");
}

fn a_wake_between_view_and_wait_is_not_missed(place: &dyn Place) {
    let name = lock("x");
    let (mut holder, mut store) = (place.open(), place.open());
    let (mine, me, bell) = (ticket("holder"), ticket("me"), Bell::new().unwrap());
    let view = hold(&mut *holder, name.as_str(), &mine);
    store.take(&name, &me).unwrap();
    settle(&mut *store, &name, &me.id, &bell);
    store.view(&name, Some(&me.id)).unwrap();
    done(holder.commit(&name, &mine.id, &commit::release(&view, &mine.id).unwrap()).unwrap());
    let wake = vaultlock::ledger::Commit { wake: vec![me.id.clone()], ..nothing(&view) };
    let version = store.view(&name, Some(&me.id)).unwrap().ledger.version;
    done(holder.commit(&name, &mine.id, &vaultlock::ledger::Commit { version, ..wake }).unwrap());
    let asked = Instant::now();
    let until = store.kind().clock.now() + Duration::from_secs(20);
    store.wait(&name, &me.id, until, bell.as_fd()).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "the wake was lost");
}

fn locks_are_listed_by_name(place: &dyn Place) {
    let mut store = place.open();
    assert_eq!(store.locks().unwrap(), []);
    for name in ["b", "a/b", "Ä", "a"] {
        hold(&mut *store, name, &ticket("t"));
    }
    assert_eq!(store.locks().unwrap(), ["a", "a/b", "b", "Ä"].map(lock));
}

fn locks_do_not_mix(place: &dyn Place) {
    let mut store = place.open();
    for name in ["a", "a/b", "A", "a.", ".a", "a%2fb", "..", "{a}"] {
        let entered = hold(&mut *store, name, &ticket("t"));
        assert_eq!((entered.ledger.name.as_str(), entered.ledger.version, entered.ledger.holders.len()), (name, 1, 1));
    }
}

/// Until a wait really waits: the first one may return at once.
fn settle(store: &mut dyn Store, name: &vaultlock::name::Name, id: &Id, bell: &Bell) {
    let clock = store.kind().clock;
    until("a wait waits", || {
        let asked = Instant::now();
        store.view(name, Some(id)).unwrap();
        store.wait(name, id, clock.now() + Duration::from_millis(30), bell.as_fd()).unwrap();
        asked.elapsed() >= Duration::from_millis(30)
    });
}

trait WithoutAge {
    fn without_age(self) -> Life;
}

impl WithoutAge for Life {
    /// The store's clock moved between two views; whether it was renewed does not hang on it.
    fn without_age(self) -> Life {
        match self {
            Life::Beat { count, .. } => Life::Beat { count, quiet: None },
            other => other,
        }
    }
}
