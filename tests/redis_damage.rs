//! The Redis engine when the keys hold what it did not write: nothing is granted, nothing panics.

pub mod support;

use std::time::Duration;

use support::claims::{hold, lock, ticket};
use support::redis::Server;
use support::verdict::{damaged, refused};
use vaultlock::ledger::codec::{sealed, unsealed};
use vaultlock::ledger::commit::withdraw;
use vaultlock::store::redis::{Address, Redis};
use vaultlock::store::{Store, Terms};

fn open(url: &str) -> Redis {
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    Redis::open(Address::parse(&url.parse().unwrap()).unwrap(), &terms)
}

#[test]
fn every_truncation_of_a_ledger_is_damage() {
    let server = Server::start();
    let (mut store, me) = (open(&server.url()), ticket("me"));
    hold(&mut store, "x", &me);
    let whole = server.ask(&["HGET", "vaultlock:{x}", "ledger"]);
    for end in 0..whole.len() {
        server.tell(&["HSET", "vaultlock:{x}", "ledger", &whole[..end]]);
        damaged(store.view(&lock("x"), Some(&me.id)), "vaultlock:{x}");
    }
    server.tell(&["HSET", "vaultlock:{x}", "ledger", &whole]);
    store.view(&lock("x"), Some(&me.id)).unwrap();
}

#[test]
fn odd_fields_are_damage_and_change_nothing() {
    let server = Server::start();
    let (mut store, me, you, name) = (open(&server.url()), ticket("me"), ticket("you"), lock("x"));
    hold(&mut store, "x", &me);
    store.take(&name, &you).unwrap();
    let (key, mine) = ("vaultlock:{x}", me.id.as_str());
    let huge = "x".repeat(200_000);
    for (field, value) in [
        ("v", "-1"),
        ("v", "2"),
        ("v", "1e3"),
        ("v", "99999999999999999999"),
        ("h", ""),
        ("h", you.id.as_str()),
        ("ledger", huge.as_str()),
        (&format!("t:{mine}"), "{}"),
        (&format!("t:{mine}"), huge.as_str()),
        (&format!("s:{mine}"), "1 2"),
        (&format!("b:{mine}"), "-1 0"),
        (&format!("b:{mine}"), "x"),
        (&format!("b:{mine}"), "0 1"),
        (&format!("b:{mine}"), "0 1700000000000 0123456789abcdef"),
    ] {
        let before = server.ask(&["HGET", key, field]);
        server.tell(&["HSET", key, field, value]);
        damaged(store.view(&name, Some(&me.id)), "nothing is granted");
        server.tell(&["HSET", key, field, &before]);
    }
    for field in ["seq", "last"] {
        let before = server.ask(&["HGET", key, field]);
        server.tell(&["HSET", key, field, "soon"]);
        damaged(store.take(&name, &ticket("third")), key);
        server.tell(&["HSET", key, field, &before]);
    }
    for field in ["v", "ledger", "h"] {
        let before = server.ask(&["HGET", key, field]);
        server.tell(&["HDEL", key, field]);
        damaged(store.view(&name, Some(&me.id)), key);
        server.tell(&["HSET", key, field, &before]);
    }
    // A ledger of another name: two locks in one key.
    let ledger = server.ask(&["HGET", key, "ledger"]);
    let text = std::str::from_utf8(unsealed(ledger.as_bytes()).unwrap()).unwrap();
    server.tell(&["HSET", key, "ledger", &sealed(&text.replace("\"name\":\"x\"", "\"name\":\"y\""))]);
    damaged(store.view(&name, None), "two names");
    // A holder that would be judged by a shorter ttl than it lives by.
    server.tell(&["HSET", key, "ledger", &ledger.replace("\"ttl_ms\":30000", "\"ttl_ms\":3000")]);
    damaged(store.view(&name, None), "digest");
    server.tell(&["HSET", key, "ledger", &ledger]);
    // A waiter's damaged ticket: its own trouble, and counted before those behind it.
    server.tell(&["HSET", key, &format!("t:{}", you.id.as_str()), "{"]);
    damaged(store.view(&name, Some(&you.id)), "a ticket");
    let third = ticket("third");
    let view = store.take(&name, &third).unwrap();
    assert!(view.ticket(&you.id).is_none() && view.ahead == 1 && view.waiting == 2);
    store.commit(&name, &third.id, &withdraw(&view, &third.id)).unwrap();
}

#[test]
fn keys_of_another_type_are_damage() {
    let server = Server::start();
    let (mut store, me, name) = (open(&server.url()), ticket("me"), lock("x"));
    hold(&mut store, "x", &me);
    for key in ["vaultlock:{x}", "vaultlock:{x}:queue", "vaultlock:{x}:gone", "vaultlock:store", "vaultlock:names"] {
        let (spare, there) = (format!("{key}-spare"), server.ask(&["EXISTS", key]) == "1");
        if there {
            server.tell(&["RENAME", key, &spare]);
        }
        server.tell(&["RPUSH", key, "x"]);
        for result in [
            store.view(&name, Some(&me.id)).map(drop),
            store.take(&name, &ticket("you")).map(drop),
            store.beat(&name, &me.id, &[]).map(drop),
        ] {
            damaged(result, &format!("{key} in redis at"));
        }
        server.tell(&["DEL", key]);
        if there {
            server.tell(&["RENAME", &spare, key]);
        }
    }
    server.tell(&["RENAME", "vaultlock:names", "spare"]);
    server.tell(&["SET", "vaultlock:names", "x"]);
    damaged(store.locks(), "vaultlock:names");
    server.tell(&["HDEL", "vaultlock:store", "mark"]);
    server.tell(&["DEL", "vaultlock:names"]);
    damaged(store.view(&name, None), "vaultlock:store");
}

#[test]
fn a_queue_gone_wild_is_closed_and_what_is_gone_is_forgotten_in_time() {
    let server = Server::start();
    let (mut store, me, name) = (open(&server.url()), ticket("me"), lock("x"));
    let view = store.take(&name, &me).unwrap();
    let many = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], ARGV[2], 'junk' .. i) end";
    server.tell(&["EVAL", many, "1", "vaultlock:{x}:queue", "10000", "9e15"]);
    refused(store.take(&name, &ticket("you")), "already wait");
    let crowded = store.view(&name, Some(&me.id)).unwrap();
    assert_eq!((crowded.waiting, crowded.ahead, crowded.tickets.len()), (10_001, 0, 1), "junk is no ticket");
    server.tell(&["EVAL", many, "1", "vaultlock:{x}:gone", "500", "1000"]);
    let now = view.now.0.to_string();
    server.tell(&["EVAL", &many.replace("junk", "late"), "1", "vaultlock:{x}:gone", "10500", &now]);
    store.commit(&name, &me.id, &withdraw(&view, &me.id)).unwrap();
    assert_eq!(server.ask(&["ZCARD", "vaultlock:{x}:gone"]), "10000");
    assert_eq!(server.ask(&["ZCOUNT", "vaultlock:{x}:gone", "0", "2000"]), "0");
    assert!(store.take(&name, &me).unwrap().ticket(&me.id).is_none());
}

#[test]
fn a_clock_set_back_takes_nobody_before_those_who_were_there() {
    let server = Server::start();
    let (mut store, first, second, name) = (open(&server.url()), ticket("first"), ticket("second"), lock("x"));
    store.take(&name, &first).unwrap();
    server.tell(&["HSET", "vaultlock:{x}", "last", "9000000000000"]);
    let view = store.take(&name, &second).unwrap();
    assert_eq!(view.ticket(&second.id).unwrap().at.0, 9_000_000_000_000);
    assert_eq!(view.ahead, 1);
}
