//! The Redis engine against real servers.

pub mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use support::claims::{done, enter, hold, lock, nothing, ticket};
use support::proxy::Proxy;
use support::redis::Server;
use support::until;
use vaultlock::bell::Bell;
use vaultlock::ledger::{Guard, Id, Life, Ticket, View};
use vaultlock::store::redis::{Address, Redis};
use vaultlock::store::{Beat, Outcome, Store, Terms};
use vaultlock::time::Clock;

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

fn open(url: &str) -> Redis {
    Redis::open(Address::parse(&url.parse().unwrap()).unwrap(), &TERMS)
}

fn conflicts(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Conflict(_))
}

fn count(view: &View, id: &Id) -> u64 {
    match view.ticket(id).unwrap().life {
        Life::Beat { count, .. } => count,
        life => panic!("{life:?}"),
    }
}

#[test]
fn commits_under_a_race_lose_nothing() {
    let server = Server::start();
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let url = server.url();
            thread::spawn(move || {
                let (mut store, me, name) = (open(&url), ticket("racer"), lock("race"));
                let mut view = store.take(&name, &me).unwrap();
                let mut won = 0;
                while won < 20 {
                    let mut commit = nothing(&view);
                    let mut ledger = view.ledger.clone();
                    ledger.version += 1;
                    ledger.fence += 1;
                    commit.ledger = Some(ledger);
                    view = match store.commit(&name, &me.id, &commit).unwrap() {
                        Outcome::Done(view) => {
                            won += 1;
                            view.unwrap()
                        }
                        Outcome::Conflict(view) => view,
                    };
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let view = open(&server.url()).view(&lock("race"), None).unwrap();
    assert_eq!((view.ledger.fence, view.ledger.version, view.waiting), (100, 100, 5));
}

#[test]
fn a_lock_is_taken_and_given_back_in_three_round_trips() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    // The scripts are known to the server from here on.
    hold(&mut open(&server.url()), "warm", &ticket("warm"));
    let (mut store, me, name) = (open(&proxy.url()), ticket("me"), lock("x"));
    assert_eq!(proxy.opened(), 0);
    let view = hold(&mut store, "x", &me);
    assert_eq!((view.ledger.version, view.ledger.holders.len(), view.waiting), (1, 1, 0));
    assert_eq!(view.ticket(&me.id).unwrap().ticket, me);
    let bell = Bell::new().unwrap();
    store.wait(&name, &me.id, Clock::Boottime.now() + Duration::from_millis(20), bell.as_fd()).unwrap();
    let release = vaultlock::ledger::commit::release(&view, &me.id).unwrap();
    let view = done(store.commit(&name, &me.id, &release).unwrap());
    assert!(view.ledger.holders.is_empty() && view.tickets.is_empty());
    assert_eq!((proxy.opened(), proxy.requests()), (1, 3));
    assert_eq!(server.ask(&["TTL", "vaultlock:{x}"]), "-1");
}

#[test]
fn a_script_unknown_to_the_server_and_a_password_cost_one_round_trip_each() {
    let server = Server::with(&["--requirepass", "pw"]);
    let proxy = Proxy::before(server.port);
    let url = proxy.url().replace("127", ":pw@127") + "1";
    let (mut store, name) = (open(&url), lock("x"));
    store.view(&name, None).unwrap();
    assert_eq!(proxy.requests(), 1 + 2, "password and database together, then EVALSHA and EVAL");
    store.view(&name, None).unwrap();
    assert_eq!((proxy.opened(), proxy.requests()), (1, 4));
    server.tell(&["SCRIPT", "FLUSH"]);
    store.view(&name, None).unwrap();
    assert_eq!(proxy.requests(), 6);
}

#[test]
fn a_ticket_is_taken_once_and_never_again() {
    let server = Server::start();
    let (mut store, me, name) = (open(&server.url()), ticket("me"), lock("x"));
    let first = store.take(&name, &me).unwrap();
    assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), alive(0, &first, &[]));
    let again = store.take(&name, &me).unwrap();
    assert_eq!((again.waiting, count(&again, &me.id)), (1, 1), "it renews nothing");
    assert_eq!(again.ticket(&me.id).unwrap().seq, first.ticket(&me.id).unwrap().seq);
    done(store.commit(&name, &me.id, &vaultlock::ledger::commit::withdraw(&again, &me.id)).unwrap());
    let late = store.take(&name, &me).unwrap();
    assert!(late.ticket(&me.id).is_none() && late.waiting == 0);
    // Withdrawn before it came at all.
    let ghost = ticket("ghost");
    done(store.commit(&name, &ghost.id, &vaultlock::ledger::commit::withdraw(&late, &ghost.id)).unwrap());
    assert!(store.take(&name, &ghost).unwrap().tickets.is_empty());
}

fn alive(version: u64, view: &View, others: &[(Id, u64)]) -> Beat {
    Beat::Alive { version, epoch: view.epoch.clone(), others: others.to_vec(), quiet: None }
}

#[test]
fn a_beat_counts_and_never_makes_a_ticket() {
    let server = Server::start();
    let (mut store, me, other, name) = (open(&server.url()), ticket("me"), ticket("other"), lock("x"));
    assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Gone);
    assert!(store.view(&name, Some(&me.id)).unwrap().tickets.is_empty());
    let view = hold(&mut store, "x", &other);
    assert_eq!(count(&view, &other.id), 0);
    store.take(&name, &me).unwrap();
    for _ in 0..3 {
        store.beat(&name, &other.id, &[]).unwrap();
    }
    let Beat::Alive { version, others, quiet, epoch } =
        store.beat(&name, &me.id, &[other.id.clone(), ticket("nobody").id]).unwrap()
    else {
        panic!("gone")
    };
    assert_eq!((version, others, epoch), (1, vec![(other.id.clone(), 3)], view.epoch));
    assert!(quiet.unwrap() < Duration::from_secs(2));
    assert_eq!(count(&store.view(&name, Some(&me.id)).unwrap(), &me.id), 1);
}

#[test]
fn guards_keep_a_commit_from_what_has_changed() {
    let server = Server::start();
    let (mut store, me, other, name) = (open(&server.url()), ticket("me"), ticket("other"), lock("x"));
    store.take(&name, &me).unwrap();
    let view = store.take(&name, &other).unwrap();
    store.beat(&name, &other.id, &[]).unwrap();
    let absent = ticket("absent").id;
    let mut commit = |guard: Guard| {
        let commit = vaultlock::ledger::Commit { guards: vec![guard], ..nothing(&view) };
        !conflicts(&store.commit(&name, &me.id, &commit).unwrap())
    };
    assert!(commit(Guard::Absent(absent.clone())) && !commit(Guard::Present(absent.clone())));
    assert!(!commit(Guard::Still(absent, None)) && !commit(Guard::Absent(other.id.clone())));
    assert!(commit(Guard::Present(other.id.clone())) && commit(Guard::Still(other.id.clone(), None)));
    assert!(commit(Guard::Still(other.id.clone(), Some(1))) && !commit(Guard::Still(other.id.clone(), Some(0))));
    let mut stale = nothing(&view);
    stale.epoch.push('x');
    assert!(conflicts(&store.commit(&name, &me.id, &stale).unwrap()));
    let mut dead = enter(&view, &me);
    dead.drop = vec![other.id.clone()];
    dead.guards.push(Guard::Still(other.id.clone(), Some(0)));
    let Outcome::Conflict(after) = store.commit(&name, &me.id, &dead).unwrap() else { panic!("no conflict") };
    assert_eq!((after.waiting, after.ledger.version), (2, 0), "nothing of it was done");
    dead.guards.pop();
    let after = done(store.commit(&name, &me.id, &dead).unwrap());
    assert_eq!((after.waiting, after.ledger.version), (0, 1));
}

#[test]
fn the_queue_is_in_order_and_counted_beyond_what_is_listed() {
    let server = Server::start();
    let (mut store, name) = (open(&server.url()), lock("x"));
    let holder = ticket("holder");
    hold(&mut store, "x", &holder);
    let mut waiters: Vec<Ticket> = (0..40).map(|n| ticket(&n.to_string())).collect();
    waiters[39].lead_ms = 60_000;
    for waiter in &waiters {
        store.take(&name, waiter).unwrap();
    }
    let last = &waiters[38];
    let view = store.view(&name, Some(&last.id)).unwrap();
    assert_eq!((view.waiting, view.ahead, view.tickets.len()), (40, 39, 1 + 32 + 1));
    let labels: Vec<&str> = view.waiters().map(|listed| listed.ticket.who.label.as_str()).collect();
    assert_eq!((labels[0], labels[1], labels[31], labels[32]), ("39", "0", "30", "38"));
    assert_eq!(view.tickets[0].ticket.id, holder.id);
    let places: Vec<(i64, u64)> = view.waiters().map(|listed| (listed.order, listed.seq)).collect();
    assert!(places.is_sorted());
    assert_eq!(store.view(&name, Some(&waiters[39].id)).unwrap().ahead, 0);
    assert_eq!(store.view(&name, None).unwrap().tickets.len(), 33);
}

#[test]
fn locks_are_listed_in_name_order() {
    let server = Server::start();
    let mut store = open(&server.url());
    assert_eq!(store.locks().unwrap(), []);
    for name in ["b", "Ä/ö {x}", "a"] {
        store.take(&lock(name), &ticket("x")).unwrap();
    }
    assert_eq!(store.locks().unwrap(), [lock("a"), lock("b"), lock("Ä/ö {x}")]);
    assert_eq!(open(&format!("{}?prefix=other", server.url())).locks().unwrap(), []);
}

#[test]
fn a_wait_ends_by_wake_by_bell_and_in_time() {
    let server = Server::start();
    let (mut mine, mut theirs) = (open(&server.url()), open(&server.url()));
    let (name, me, bystander) = (lock("x"), ticket("me"), ticket("bystander"));
    mine.take(&name, &me).unwrap();
    let view = theirs.take(&name, &bystander).unwrap();
    let bell = Bell::new().unwrap();
    let far = || Clock::Boottime.now() + Duration::from_secs(20);
    let soon = || Clock::Boottime.now() + Duration::from_millis(50);
    let start = Instant::now();
    mine.wait(&name, &me.id, far(), bell.as_fd()).unwrap();
    assert_eq!(server.ask(&["PUBSUB", "CHANNELS"]), format!("vaultlock:wake:{}", me.id.as_str()));
    mine.wait(&name, &me.id, soon(), bell.as_fd()).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50), "nobody woke it");

    let mut wake = nothing(&view);
    wake.wake = vec![bystander.id.clone()];
    done(theirs.commit(&name, &bystander.id, &wake).unwrap());
    let start = Instant::now();
    mine.wait(&name, &me.id, soon(), bell.as_fd()).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50), "somebody else was woken");

    wake.wake = vec![me.id.clone()];
    done(theirs.commit(&name, &bystander.id, &wake).unwrap());
    mine.wait(&name, &me.id, far(), bell.as_fd()).unwrap();
    let waker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        done(theirs.commit(&lock("x"), &bystander.id, &wake).unwrap());
    });
    mine.wait(&name, &me.id, far(), bell.as_fd()).unwrap();
    waker.join().unwrap();
    let ringer = bell.clone();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        ringer.ring();
    });
    mine.wait(&name, &me.id, far(), bell.as_fd()).unwrap();
    thread.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));

    let view = mine.view(&name, Some(&me.id)).unwrap();
    done(mine.commit(&name, &me.id, &enter(&view, &me)).unwrap());
    // Not before it has nothing else to do.
    mine.wait(&name, &me.id, soon(), bell.as_fd()).unwrap();
    until("a holder listens no more", || server.ask(&["PUBSUB", "CHANNELS"]).is_empty());
}
