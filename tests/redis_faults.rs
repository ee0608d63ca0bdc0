//! The Redis engine when the server, the line or the keys are not well.

pub mod support;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use support::claims::{hold, lock, nothing, ticket};
use support::proxy::{Proxy, Way, parrot};
use support::redis::Server;
use support::until;
use support::verdict::{refused, unreachable};
use vaultlock::bell::Bell;
use vaultlock::ledger::commit::release;
use vaultlock::ledger::{Id, Memory, View};
use vaultlock::store::redis::{Address, Redis};
use vaultlock::store::{Beat, Error, Outcome, Store, Terms};
use vaultlock::time::Clock;

/// Each verb's budget here: what hangs must not hang the tests.
const REQUEST: Duration = Duration::from_millis(600);

fn open(url: &str) -> Redis {
    let terms = Terms { request: REQUEST, max_ttl: Duration::from_secs(30) };
    Redis::open(Address::parse(&url.parse().unwrap()).unwrap(), &terms)
}

type Verb<'a> = &'a dyn Fn(&mut Redis) -> Result<(), Error>;

/// Each verb once, with how long it took.
fn each_verb(store: &mut Redis, id: &Id, view: &View) -> Vec<(Result<(), Error>, Duration)> {
    let name = lock("x");
    let verbs: [Verb<'_>; 5] = [
        &|store| store.view(&name, Some(id)).map(drop),
        &|store| store.take(&name, &ticket("late")).map(drop),
        &|store| store.beat(&name, id, &[]).map(drop),
        &|store| store.commit(&name, id, &nothing(view)).map(drop),
        &|store| store.locks().map(drop),
    ];
    let timed = |verb: &Verb<'_>| {
        let start = Instant::now();
        (verb(store), start.elapsed())
    };
    verbs.iter().map(timed).collect()
}

#[test]
fn a_frozen_server_costs_each_verb_its_request_time_and_no_more() {
    let server = Server::start();
    let (mut store, me) = (open(&server.url()), ticket("me"));
    let view = hold(&mut store, "x", &me);
    server.freeze();
    for (result, took) in each_verb(&mut store, &me.id, &view) {
        unreachable(result, "no answer from redis at 127.0.0.1:");
        assert!(took <= REQUEST + Duration::from_millis(100), "{took:?}");
    }
    let mut unix = open(&server.socket_url());
    unreachable(unix.view(&lock("x"), None), "within 600ms");
    server.thaw();
    until("it answers again", || store.beat(&lock("x"), &me.id, &[]).is_ok());
}

#[test]
fn a_server_that_drips_is_no_faster_than_a_silent_one() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let (mut store, me) = (open(&proxy.url()), ticket("me"));
    let view = hold(&mut store, "x", &me);
    for way in [Way::Swallow, Way::Hold, Way::Drip(Duration::from_millis(150)), Way::Delay(Duration::from_secs(2))] {
        proxy.to_client(way);
        for (result, took) in each_verb(&mut store, &me.id, &view) {
            unreachable(result, "no answer");
            assert!(took <= REQUEST + Duration::from_millis(100), "{took:?}");
        }
    }
    proxy.to_client(Way::Pass);
    proxy.cut();
    // What was held back and what was carried out unheard must not be taken for new answers.
    let now = store.view(&lock("x"), Some(&me.id)).unwrap();
    assert!(now.ledger.version == 1 && now.ledger.holder(&me.id).is_some());
    assert!(store.locks().unwrap() == [lock("x")]);
}

#[test]
fn a_late_answer_is_never_taken_for_the_next_one() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let (mut store, me) = (open(&proxy.url()), ticket("me"));
    hold(&mut store, "x", &me);
    for round in 0..5 {
        proxy.to_client(Way::Hold);
        unreachable(store.beat(&lock("x"), &me.id, &[]), "no answer");
        proxy.to_client(Way::Pass);
        assert_eq!(store.locks().unwrap(), [lock("x")], "round {round}");
        assert_eq!(store.view(&lock("y"), None).unwrap().ledger.name, "y");
    }
}

#[test]
fn a_line_cut_in_an_answer_breaks_that_verb_and_no_other() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let (mut store, me) = (open(&proxy.url()), ticket("me"));
    hold(&mut store, "x", &me);
    for left in (0..400).step_by(23) {
        proxy.to_client(Way::CutAfter(left));
        unreachable(store.view(&lock("x"), Some(&me.id)), "closed the connection");
        proxy.to_client(Way::Pass);
        assert_eq!(store.view(&lock("x"), Some(&me.id)).unwrap().ledger.version, 1);
    }
    proxy.half_close();
    until("a closed idle line is replaced", || store.view(&lock("x"), Some(&me.id)).is_ok());
    proxy.cut();
    until("a cut idle line is replaced", || store.beat(&lock("x"), &me.id, &[]).is_ok());
}

#[test]
fn what_is_no_redis_server_is_refused() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
        b"+OK\r\n",
        b":7\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*1\r\n$4\r\nview\r\n",
        b"*8\r\n$4\r\nview\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n",
    ] {
        let port = parrot(answer);
        refused(open(&format!("redis://127.0.0.1:{port}/")).view(&lock("x"), None), "does not speak redis");
    }
    let endless = parrot(b"$99999999999\r\nx");
    assert!(open(&format!("redis://127.0.0.1:{endless}/")).view(&lock("x"), None).is_err());
}

#[test]
fn a_server_that_will_not_says_why() {
    for (answer, part) in [
        (&b"-READONLY You can't write against a read only replica.\r\n"[..], "replica"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "disk"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "maxmemory"),
        (b"-ERR unknown command 'EVALSHA', with args beginning with: \r\n", "EVALSHA"),
        (b"-DENIED Redis is running in protected mode\r\n", "protected mode"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "cluster"),
        (b"-STRANGE things\r\n", "STRANGE things"),
    ] {
        refused(open(&format!("redis://127.0.0.1:{}/", parrot(answer))).view(&lock("x"), None), part);
    }
    for (answer, part) in [
        (&b"-LOADING Redis is loading the dataset in memory\r\n"[..], "loading"),
        (b"-BUSY Redis is busy running a script.\r\n", "busy"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "CLUSTERDOWN"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", "slot away"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "min-replicas-to-write"),
        (b"-ERR max number of clients reached\r\n", "maxclients"),
    ] {
        unreachable(open(&format!("redis://127.0.0.1:{}/", parrot(answer))).view(&lock("x"), None), part);
    }
}

#[test]
fn a_replica_grants_and_shows_nothing() {
    let (primary, replica) = (Server::start(), Server::start());
    hold(&mut open(&primary.url()), "x", &ticket("me"));
    let mut store = open(&replica.url());
    store.view(&lock("x"), None).unwrap();
    replica.tell(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    until("it follows", || replica.ask(&["EXISTS", "vaultlock:{x}"]) == "1");
    refused(store.view(&lock("x"), None), "replica");
    refused(store.take(&lock("x"), &ticket("you")), "replica");
    replica.tell(&["REPLICAOF", "NO", "ONE"]);
    let view = store.view(&lock("x"), None).unwrap();
    assert!(matches!(view.memory, Memory::Unsure { quiet: Duration::ZERO, .. }), "a promoted replica proves nothing");
}

#[test]
fn a_full_server_takes_nobody_in_but_keeps_and_lets_go_who_is_there() {
    let server = Server::start();
    let (mut store, me, name) = (open(&server.url()), ticket("me"), lock("x"));
    hold(&mut store, "x", &me);
    server.tell(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let before = server.ask(&["HGETALL", "vaultlock:{x}"]);
    refused(store.take(&name, &ticket("you")), "is full");
    assert_eq!(server.ask(&["HGETALL", "vaultlock:{x}"]), before, "nothing has changed");
    assert_eq!(server.ask(&["EXISTS", "vaultlock:{x}:queue"]), "0");
    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { .. }));
    let view = store.view(&name, Some(&me.id)).unwrap();
    let Outcome::Done(Some(view)) = store.commit(&name, &me.id, &release(&view, &me.id).unwrap()).unwrap() else {
        panic!("conflict")
    };
    assert!(view.ledger.holders.is_empty());
}

#[test]
fn a_server_that_evicts_is_refused_before_anything_is_written() {
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru"]);
    refused(open(&server.url()).take(&lock("x"), &ticket("me")), "noeviction");
    assert_eq!(server.ask(&["DBSIZE"]), "0");
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let mut store = open(&server.url());
    store.take(&lock("x"), &ticket("me")).unwrap();
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
}

#[test]
fn a_waiter_that_lost_its_line_looks_and_listens_again() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let (mut store, me, name) = (open(&proxy.url()), ticket("me"), lock("x"));
    store.take(&name, &me).unwrap();
    let bell = Bell::new().unwrap();
    let mut wait = |ms| {
        let start = Instant::now();
        store.wait(&name, &me.id, Clock::Boottime.now() + Duration::from_millis(ms), bell.as_fd()).unwrap();
        start.elapsed()
    };
    wait(5000);
    wait(50);
    proxy.cut();
    assert!(wait(5000) < Duration::from_secs(4), "a lost line rings");
    assert!(wait(5000) < Duration::from_secs(4), "and so does the next one's confirmation");
    assert_eq!(server.ask(&["PUBSUB", "CHANNELS"]), format!("vaultlock:wake:{}", me.id.as_str()));
    server.freeze();
    proxy.cut();
    wait(300);
    let took = wait(300);
    assert!(took >= Duration::from_millis(250) && took < Duration::from_millis(500), "{took:?}");
    server.thaw();
}
