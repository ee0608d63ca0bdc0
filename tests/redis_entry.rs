//! Ways into a Redis server: addresses, passwords, users, databases, sockets, TLS.

pub mod support;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use redis::Value;
use support::claims::{enter, hold, lock, nothing, ticket};
use support::proxy::parrot;
use support::redis::{Server, free_port};
use support::verdict::{CANARY, refused, unreachable};
use vaultlock::bell::Bell;
use vaultlock::ledger::commit::release;
use vaultlock::store::Server as _;
use vaultlock::store::redis::{ACL, Address, Redis};
use vaultlock::store::{Error, Outcome, Store, Terms};
use vaultlock::time::Clock;

fn open(url: &str) -> Redis {
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    Redis::open(Address::parse(&url.parse().unwrap()).unwrap(), &terms)
}

#[test]
fn the_address_of_a_store_shows_no_secret() {
    let address = Address::parse(&"redis://me:can%61ry@[::1]:7000/3?prefix=a.b".parse().unwrap()).unwrap();
    assert_eq!(address.display(), "redis at [::1]:7000");
    assert_eq!(address.identity(), "redis-::1-7000-3-a.b");
    assert_eq!(address.without_secrets(), "redis://[::1]:7000/3?prefix=a.b");
    assert!(address.has_secret() && !format!("{address:?}").contains("canary"));
    let address = Address::parse(&"redis+unix:///run/a%20b.sock?db=2&user=u&pass=canary".parse().unwrap()).unwrap();
    assert_eq!(address.display(), "redis at /run/a b.sock");
    assert_eq!(address.without_secrets(), "redis+unix:///run/a%20b.sock?db=2");
    let address = Address::parse(&"redis://h".parse().unwrap()).unwrap().or_password(Some("canary".to_owned()));
    assert!(!address.has_secret());
    assert_eq!(address.display(), "redis at h:6379");
}

#[test]
fn a_wrong_address_is_refused_by_its_wrong_part() {
    for (url, part) in [
        ("redis://:canary@h/x", "\"x\" is not a redis database"),
        ("redis://:canary@h/-1", "\"-1\" is not"),
        ("redis://:canary@h/1/2", "\"1/2\" is not"),
        ("redis://:canary@h/?colour=red", "\"colour\""),
        ("redis://:canary@h/?cacert=/x", "rediss://"),
        ("redis://:canary@h/?db=3", "redis+unix"),
        ("rediss://:canary@h/?cert=/x", "key="),
        ("redis://:canary@h/?fresh=perhaps", "perhaps"),
        ("redis://:canary@h/?prefix=a%20b", "prefix="),
        ("redis://:canary@h/?prefix=", "prefix="),
        ("redis://:canary%zz@h/", "%25"),
        ("redis://:canary@h:0/", "port"),
        ("redis://me:12/canary@h/0", "%2F"),
        ("redis://me:12?canary@h/0", "%3F"),
        ("redis:///0", "host"),
        ("redis+unix://", "path"),
        ("redis+unix://run/x.sock", "three slashes"),
        ("http://h/", "redis://"),
        ("redis://:canary@h/#x", "%23"),
    ] {
        let complaint = Address::parse(&url.parse().unwrap()).unwrap_err();
        assert!(complaint.contains(part), "{url}: {complaint}");
        assert!(!complaint.contains("canary"), "{complaint}");
    }
}

#[test]
fn a_password_is_needed_and_checked_and_never_shown() {
    let server = Server::with(&["--requirepass", CANARY]);
    let at = |user: &str| format!("redis://{user}127.0.0.1:{}/", server.port);
    refused(open(&at("")).view(&lock("x"), None), "wants a password");
    refused(open(&at(":wrong-c4n4ry@")).view(&lock("x"), None), "does not accept");
    refused(open(&at("nobody@")).view(&lock("x"), None), "no password for the user");
    refused(open(&at(&format!("nobody:{CANARY}@"))).view(&lock("x"), None), "does not accept");
    open(&at(&format!(":{CANARY}@"))).view(&lock("x"), None).unwrap();
    let address = Address::parse(&at("").parse().unwrap()).unwrap().or_password(Some(CANARY.to_owned()));
    let terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };
    Redis::open(address, &terms).view(&lock("x"), None).unwrap();
    let open_to_all = Server::start();
    let url = format!("redis://:{CANARY}@127.0.0.1:{}/", open_to_all.port);
    refused(open(&url).view(&lock("x"), None), "has no password");
    // A server that quotes what it was told.
    let port = parrot(b"-ERR wrong number of arguments for 'auth' 'c4n4ry-s3cret'\r\n");
    refused(open(&format!("redis://:{CANARY}@127.0.0.1:{port}/")).view(&lock("x"), None), "***");
}

#[test]
fn a_user_that_may_do_no_more_than_we_say_can_do_everything() {
    let server = Server::start();
    let mut rule = vec!["ACL", "SETUSER", "locks", "on", ">pw", "resetkeys", "resetchannels", "-@all"];
    rule.extend(ACL.split_whitespace());
    assert_eq!(server.tell(&rule), Value::Okay);
    let url = format!("redis://locks:pw@127.0.0.1:{}/2", server.port);
    let (mut store, mut other, me, you, name) = (open(&url), open(&url), ticket("me"), ticket("you"), lock("x"));
    let view = hold(&mut store, "x", &me);
    other.take(&name, &you).unwrap();
    let bell = Bell::new().unwrap();
    for _ in 0..2 {
        other.wait(&name, &you.id, Clock::Boottime.now() + Duration::from_millis(50), bell.as_fd()).unwrap();
    }
    assert_eq!(server.ask(&["PUBSUB", "CHANNELS"]), format!("vaultlock:wake:{}", you.id.as_str()));
    store.beat(&name, &me.id, std::slice::from_ref(&you.id)).unwrap();
    let now = store.view(&name, Some(&me.id)).unwrap();
    let gone = release(&now, &me.id).unwrap();
    assert_eq!(gone.wake, std::slice::from_ref(&you.id));
    assert!(matches!(store.commit(&name, &me.id, &gone).unwrap(), Outcome::Done(_)));
    assert_eq!(store.locks().unwrap(), [name]);
    assert_eq!(view.ledger.version, 1);
    assert_eq!(server.ask(&["ACL", "LOG"]), "");
    refused(open(&url.replace("/2", "/?prefix=elsewhere")).view(&lock("x"), None), "ACL SETUSER");
}

#[test]
fn a_user_that_lacks_anything_of_it_is_told_what_it_needs() {
    let server = Server::start();
    let url = format!("redis://locks:pw@127.0.0.1:{}/2", server.port);
    for lacking in ACL.split_whitespace().filter(|word| !word.ends_with("subscribe")) {
        server.tell(&["SCRIPT", "FLUSH"]);
        server.tell(&["FLUSHALL"]);
        let mut rule = vec!["ACL", "SETUSER", "locks", "reset", "on", ">pw", "resetchannels"];
        rule.extend(ACL.split_whitespace().filter(|word| *word != lacking));
        assert_eq!(server.tell(&rule), Value::Okay);
        let all = || {
            let (mut store, me, you, name) = (open(&url), ticket("me"), ticket("you"), lock("x"));
            let view = store.take(&name, &me)?;
            store.commit(&name, &me.id, &enter(&view, &me))?;
            store.take(&name, &you)?;
            store.beat(&name, &me.id, std::slice::from_ref(&you.id))?;
            let view = store.view(&name, Some(&me.id))?;
            store.commit(&name, &me.id, &release(&view, &me.id).unwrap())?;
            store.locks().map(drop)
        };
        match all() {
            Err(Error::Refused(text)) => assert!(text.contains("ACL SETUSER"), "{lacking}: {text}"),
            other => panic!("{lacking}: {other:?}"),
        }
    }
}

#[test]
fn databases_sockets_and_prefixes_are_apart() {
    let server = Server::start();
    let me = ticket("me");
    hold(&mut open(&server.url()), "x", &me);
    for url in [format!("{}1", server.url()), format!("{}?prefix=p", server.url())] {
        assert_eq!(open(&url).view(&lock("x"), Some(&me.id)).unwrap().ledger.version, 0);
    }
    assert_eq!(open(&server.socket_url()).view(&lock("x"), Some(&me.id)).unwrap().ledger.version, 1);
    assert_eq!(open(&format!("{}?db=1", server.socket_url())).view(&lock("x"), None).unwrap().ledger.version, 0);
    refused(open(&format!("{}99", server.url())).take(&lock("x"), &ticket("you")), "no database 99");
    assert_eq!(open(&server.url()).view(&lock("x"), None).unwrap().waiting, 0, "not done elsewhere");
    unreachable(open("redis+unix:///nowhere/redis.sock").view(&lock("x"), None), "no socket");
    unreachable(open(&format!("redis://127.0.0.1:{}/", free_port())).view(&lock("x"), None), "refuses connections");
    unreachable(open("redis://no-such-host.invalid/").view(&lock("x"), None), "");
}

#[test]
fn tls_is_verified_in_full() {
    let (server, port) = Server::with_tls(&[]);
    let file = |name: &str| server.path("tls").join(name).display().to_string();
    let url = format!("rediss://127.0.0.1:{port}/?cacert={}", file("ca.pem"));
    let (mut store, me, name) = (open(&url), ticket("me"), lock("x"));
    hold(&mut store, "x", &me);
    let you = ticket("you");
    store.take(&name, &you).unwrap();
    let bell = Bell::new().unwrap();
    let start = Instant::now();
    for wait in [5000, 50] {
        store.wait(&name, &you.id, Clock::Boottime.now() + Duration::from_millis(wait), bell.as_fd()).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(4), "the subscription is heard through TLS");
    let mut wake = nothing(&store.view(&name, Some(&you.id)).unwrap());
    wake.wake = vec![you.id.clone()];
    store.commit(&name, &me.id, &wake).unwrap();
    store.view(&name, Some(&you.id)).unwrap();
    store.wait(&name, &you.id, Clock::Boottime.now() + Duration::from_secs(5), bell.as_fd()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(4));

    let other = format!("rediss://127.0.0.1:{port}/?cacert={}", file("other.pem"));
    refused(open(&other).view(&name, None), "unknown authority");
    refused(open(&format!("rediss://127.0.0.1:{port}/")).view(&name, None), "TLS");
    refused(open(&url.replace("127.0.0.1", "localhost")).view(&name, None), "another host");
    refused(open(&url.replace("ca.pem", "none.pem")).view(&name, None), "none.pem");
    let plain = format!("rediss://127.0.0.1:{}/?cacert={}", server.port, file("ca.pem"));
    unreachable(open(&plain).view(&name, None), "TLS port");
    unreachable(open(&format!("redis://127.0.0.1:{port}/")).view(&name, None), "rediss://");
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (server, port) = Server::with_tls(&["--tls-auth-clients", "yes"]);
    let file = |name: &str| server.path("tls").join(name).display().to_string();
    let url = format!("rediss://127.0.0.1:{port}/?cacert={}", file("ca.pem"));
    let mine = format!("{url}&cert={}&key={}", file("client.pem"), file("client.key"));
    open(&mine).view(&lock("x"), None).unwrap();
    assert!(open(&url).view(&lock("x"), None).is_err());
}
