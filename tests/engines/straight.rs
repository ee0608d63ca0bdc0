//! Going straight in: what a plain lock is, on every engine, and that it takes one step.

use std::thread;

use vaultlock::ledger::{Commit, Ledger, Memory, Stop, StopReason, Straight, Ticket, View, commit};
use vaultlock::name::Name;
use vaultlock::store::{Beat, Liveness, Store};
use vaultlock::time::Wall;

use crate::Place;
use crate::support::claims::{done, hold, lock, nothing, ticket};

/// Nothing remembered, and a clock that stands far behind every store's.
const STRAIGHT: Straight = Straight { remembered: 0, wall: Wall(0) };
const DAY_MS: u64 = 24 * 3600 * 1000;

/// The lock of this name, used and given back on a store that is sure of its memory.
fn given_back(store: &mut dyn Store, name: &Name) -> View {
    let me = ticket("first");
    let view = hold(store, name.as_str(), &me);
    done(store.commit(name, &me.id, &commit::release(&view, &me.id).unwrap()).unwrap())
}

/// Asserts that the ticket is the holder, with this ledger but for what the store's clock says.
fn is_in(view: &View, me: &Ticket, before: &Ledger, least: u64) {
    let (ledger, holder) = (&view.ledger, view.ledger.holder(&me.id).unwrap());
    assert_eq!((ledger.version, ledger.holders.len(), view.waiting), (before.version + 1, 1, 0));
    assert_eq!(ledger.fence, least.max(view.now.0));
    assert_eq!((holder.fence, holder.since, holder.ttl_ms, &holder.who), (ledger.fence, view.now, me.ttl_ms, &me.who));
    assert!(ledger.name == before.name && ledger.epoch == view.epoch && ledger.stops.is_empty());
    assert!(view.ticket(&me.id).is_some());
}

pub fn a_plain_lock_is_entered_in_one_step(place: &dyn Place) {
    let (mut store, me, name) = (place.open(), ticket("say \"fence\":7 and %1 %0"), lock("pl\"ain"));
    if store.kind().liveness == Liveness::Kernel {
        // A rename and a link are two steps whatever is done.
        assert!(store.enter(&name, &me, &STRAIGHT).unwrap().ledger.holders.is_empty());
        return;
    }
    let before = given_back(store.as_mut(), &name).ledger;
    let view = store.enter(&name, &me, &STRAIGHT).unwrap();
    is_in(&view, &me, &before, before.fence + 1);
    // Asked again, because no answer came: nothing more happens.
    let again = store.enter(&name, &me, &STRAIGHT).unwrap();
    assert_eq!((again.ledger, again.waiting), (view.ledger.clone(), 0));
    // It is a holding like any other.
    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { version, .. } if version == view.ledger.version));
    let after = done(store.commit(&name, &me.id, &commit::release(&view, &me.id).unwrap()).unwrap()).ledger;
    // What the host remembers lifts the fence, and so does a clock of its own that is far ahead of the store's.
    let far = view.now.0 + 10 * DAY_MS;
    let (you, they) = (ticket("you"), ticket("they"));
    let view = store.enter(&name, &you, &Straight { remembered: far, wall: view.now }).unwrap();
    is_in(&view, &you, &after, far + 1);
    let after = done(store.commit(&name, &you.id, &commit::release(&view, &you.id).unwrap()).unwrap()).ledger;
    let view = store.enter(&name, &they, &Straight { remembered: 0, wall: Wall(far + DAY_MS) }).unwrap();
    is_in(&view, &they, &after, far + DAY_MS);
    // One that nobody has used may have a past that was lost.
    let view = store.enter(&lock("new"), &ticket("new"), &STRAIGHT).unwrap();
    assert_eq!((view.ledger.version, view.ledger.fence), (1, view.now.0 + DAY_MS));
}

pub fn what_is_not_plain_is_only_taken(place: &dyn Place) {
    let mut store = place.open();
    let waits = |name: &Name, why: &str| {
        let (mut other, me) = (place.open(), ticket("me"));
        let before = other.view(name, None).unwrap();
        let view = other.enter(name, &me, &STRAIGHT).unwrap();
        assert!(view.ticket(&me.id).is_some(), "{why}");
        assert_eq!((view.ledger, view.waiting), (before.ledger, before.waiting + 1), "{why}");
    };
    if !matches!(store.view(&lock("x"), None).unwrap().memory, Memory::Intact) {
        waits(&lock("unsure"), "a memory that nobody has waited out");
    }
    hold(store.as_mut(), "held", &ticket("holder"));
    waits(&lock("held"), "a holder");
    given_back(store.as_mut(), &lock("queued"));
    store.take(&lock("queued"), &ticket("waiter")).unwrap();
    waits(&lock("queued"), "a waiter");
    let (name, other) = (lock("ruled"), ticket("other"));
    let view = store.take(&name, &other).unwrap();
    let mut ledger = Ledger { version: view.ledger.version + 1, ..view.ledger.clone() };
    ledger.stops.push(Stop { id: other.id.clone(), why: StopReason::Superseded });
    let stopped = Commit { ledger: Some(ledger), drop: vec![other.id.clone()], ..nothing(&view) };
    done(store.commit(&name, &other.id, &stopped).unwrap());
    waits(&name, "more than a ledger at rest says");
    let (name, other) = (lock("adopted"), ticket("other"));
    let view = store.take(&name, &other).unwrap();
    let ledger = Ledger { version: view.ledger.version + 1, epoch: "another life".to_owned(), ..view.ledger.clone() };
    let elsewhere = Commit { ledger: Some(ledger), drop: vec![other.id.clone()], ..nothing(&view) };
    done(store.commit(&name, &other.id, &elsewhere).unwrap());
    waits(&name, "a ledger of another life");
}

pub fn of_many_who_go_straight_in_one_is_in(place: &dyn Place) {
    let name = lock("rush");
    given_back(place.open().as_mut(), &name);
    let entered: Vec<usize> = thread::scope(|scope| {
        let racers: Vec<_> = (0..5).map(|_| scope.spawn(|| rush(place.open().as_mut(), &name))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let store = place.open();
    assert!(store.kind().liveness == Liveness::Kernel || entered.iter().sum::<usize>() >= 1, "{entered:?}");
}

/// Goes straight in again and again, and out; how often it was let in.
fn rush(store: &mut dyn Store, name: &Name) -> usize {
    let mut entered = 0;
    for _ in 0..20 {
        let me = ticket("racer");
        let view = store.enter(name, &me, &STRAIGHT).unwrap();
        let leave = match view.ledger.holder(&me.id) {
            Some(holder) => {
                assert_eq!((view.ledger.holders.len(), holder.fence), (1, view.ledger.fence));
                entered += 1;
                commit::release(&view, &me.id).unwrap()
            }
            None => commit::withdraw(&view, &me.id),
        };
        done(store.commit(name, &me.id, &leave).unwrap());
    }
    entered
}
