//! An etcd store beside the suite of all engines: its addresses, its memory, ids that must not come again, damage, and what
//! it answers where it will not.

pub mod support;

use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::claims::{done, enter, hold, lock, nothing, ticket};
use support::etcd::Etcd as Server;
use support::proxy::{Proxy, Way, parrot};
use support::redis::{free_port, make_authority};
use support::until;
use support::verdict::{CANARY, damaged, refused, unreachable};
use vaultlock::bell::Bell;
use vaultlock::ledger::{Guard, Life, Memory, commit};
use vaultlock::store::Server as _;
use vaultlock::store::etcd::{Address, Etcd};
use vaultlock::store::locate::Location;
use vaultlock::store::{Beat, Error, Store, Terms};
use vaultlock::time::Clock;

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

fn address(url: &str) -> Address {
    let (head, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap());
    Address::parse(head, &pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()).unwrap()
}

fn open(url: &str) -> Etcd {
    Etcd::open(address(url), &TERMS)
}

#[test]
fn every_form_of_a_url_is_read_as_it_is_meant() {
    for (url, shown, bare) in [
        ("etcd://h", "etcd at h:2379", "etcd://h:2379"),
        ("ETCD://H1:7,h2/", "etcd at h1:7,h2:2379", "etcd://h1:7,h2:2379"),
        ("etcd://[::1]:1,[fe80::2],10.0.0.1:65535", "etcd at [::1]:1,[fe80::2]:2379,10.0.0.1:65535", ""),
        ("etcd://a-b_c.example:2379?prefix=ci.7", "etcd at a-b_c.example:2379", "etcd://a-b_c.example:2379?prefix=ci.7"),
        ("etcd://me:c4n4ry-s3cret@h", "etcd at h:2379", "etcd://h:2379"),
        ("etcd://me:c4n4ry-s3cret%40%2F%3A%25@h1,h2", "etcd at h1:2379,h2:2379", "etcd://h1:2379,h2:2379"),
        ("etcd://me:c4n4ry-s3cret@home@h", "etcd at h:2379", "etcd://h:2379"),
        ("etcd://me:12/c4n4ry-s3cret@h", "etcd at h:2379", "etcd://h:2379"),
        ("etcd://me@h", "etcd at h:2379", "etcd://h:2379"),
        (
            "etcds://me:c4n4ry-s3cret@h?cacert=/a b&cert=/c&key=/k&max_ttl=7s",
            "etcd at h:2379",
            "etcds://h:2379?cacert=%2Fa+b&cert=%2Fc&key=%2Fk&max_ttl=7000ms",
        ),
    ] {
        let location = Location::parse(url).unwrap();
        assert_eq!(location.display(), shown, "{url}");
        assert_eq!(location.has_secret(), url.contains('@'), "{url}");
        assert_eq!(location.password_in_url(), url.contains("s3cret"), "{url}");
        assert!(bare.is_empty() || location.for_job() == bare, "{}", location.for_job());
        let again = Location::parse(&location.for_job()).unwrap();
        assert_eq!((again.fingerprint(), again.for_job()), (location.fingerprint(), location.for_job()), "{url}");
        assert!(!format!("{location:?}").contains("s3cret"));
    }
    let print = |url: &str| Location::parse(url).unwrap().fingerprint();
    assert_eq!(print("etcd://a,b"), print("etcd://me:x@B:2379,A"), "whoever asks, in whichever order");
    assert_ne!(print("etcd://a,b"), print("etcd://a,b?prefix=other"));
    let login = |url: &str, user: &str, password: &str| {
        let address = address(url).or_login(Some(user.to_owned()), Some(password.to_owned()));
        assert!(!format!("{address:?}").contains("s3cret"));
        address.has_secret()
    };
    assert!(!login("etcd://h", "me:s3cret", "") && login("etcd://me@h", "me", "s3cret"));
}

#[test]
fn a_wrong_url_is_refused_by_its_wrong_part_and_without_its_password() {
    for (url, part) in [
        ("etcd://", "needs hosts"),
        ("etcd://me:c4n4ry-s3cret@", "needs hosts"),
        ("etcd://a,,b", "empty"),
        ("etcd://a,b,", "empty"),
        ("etcd://a:0", "port"),
        ("etcd://a:65536", "port"),
        ("etcd://a:", "port"),
        ("etcd://a:1:2", "port"),
        ("etcd://a,a:2379", "twice"),
        ("etcd://[::1", "closing ]"),
        ("etcd://[nonsense]", "no IPv6"),
        ("etcd://a b", "what no host has"),
        ("etcd://h/path", "prefix="),
        ("etcd://me:12?c4n4ry-s3cret@h", "%3F"),
        ("etcd://me:c4n4ry-s3cret%zz@h", "%25"),
        ("etcd://:c4n4ry-s3cret@h", "needs its user"),
        ("etcd://h#c4n4ry-s3cret", "%23"),
        ("etcd://h?prefix=a/b", "prefix="),
        ("etcd://h?colour=red", "\"colour\""),
        ("etcd://h?fresh=true", "no fresh="),
        ("etcd://h?cacert=/x", "etcds://"),
        ("etcd://h?user=me", "before the hosts"),
        ("etcd://h?max_ttl=0", "max_ttl"),
        ("etcds://h?cert=/x", "key="),
        ("etcds://h?key=", "needs a file"),
        ("etcds://h?colour=red", "cacert"),
    ] {
        let complaint = Location::parse(url).unwrap_err().to_string();
        assert!(complaint.contains(part) && !complaint.contains("s3cret"), "{url}: {complaint}");
    }
    let many = (0..17).map(|n| format!("h{n}")).collect::<Vec<_>>().join(",");
    assert!(Location::parse(&format!("etcd://{many}")).unwrap_err().to_string().contains("more than 16"));
}

#[test]
fn a_member_that_is_down_or_frozen_is_passed_within_one_request() {
    let server = Server::start();
    let silent = Proxy::before(server.port);
    silent.to_client(Way::Swallow);
    let (down, frozen, up) = (free_port(), silent.port, server.port);
    let (name, me) = (lock("x"), ticket("me"));
    let mut store = open(&format!("etcd://127.0.0.1:{down},127.0.0.1:{frozen},127.0.0.1:{up}"));
    let asked = Instant::now();
    let view = store.take(&name, &me).unwrap();
    println!("    down, frozen, up: {:?}", asked.elapsed());
    assert!(view.ticket(&me.id).is_some() && asked.elapsed() < TERMS.request);
    // It stays with the one that answers.
    let asked = Instant::now();
    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { .. }));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    unreachable(open(&format!("etcd://127.0.0.1:{down},127.0.0.1:{}", free_port())).view(&name, None), "refuses connections");
    let mut hasty =
        Etcd::open(address(&format!("etcd://127.0.0.1:{frozen}")), &Terms { request: Duration::from_millis(200), ..TERMS });
    unreachable(hasty.view(&name, None), "within 200ms");
}

#[test]
fn three_members_are_one_store_whoever_of_them_dies_or_freezes() {
    let mut server = Server::three();
    let (name, me, you) = (lock("x"), ticket("me"), ticket("you"));
    let (mut mine, mut yours) = (server.open_store(&TERMS), server.open_store(&TERMS));
    hold(&mut *mine, "x", &me);
    yours.take(&name, &you).unwrap();
    for freeze in [true, false] {
        let leader = server.leader();
        if freeze {
            server.freeze_member(leader)
        } else {
            server.kill_member(leader)
        }
        until("both are answered again", || {
            let beats = [mine.beat(&name, &me.id, &[]), yours.beat(&name, &you.id, &[])];
            let gone = beats.iter().any(|beat| matches!(beat, Ok(Beat::Gone)));
            assert!(!gone, "an election ended a ticket");
            beats.iter().all(|beat| matches!(beat, Ok(Beat::Alive { version: 1, .. })))
        });
        if freeze { server.thaw() } else { server.start_again() }
    }
    let view = yours.view(&name, Some(&you.id)).unwrap();
    assert_eq!((view.ahead, view.waiting, view.ledger.holders.len()), (0, 1, 1));
}

/// etcd before 3.4.31 and 3.5.13 revokes leases that are renewed, when a leader that was frozen thaws. A holder has none.
#[test]
fn a_holder_outlives_a_leader_that_was_frozen_for_longer_than_its_ttl() {
    let server = Server::three();
    let name = lock("x");
    let mut me = ticket("me");
    me.ttl_ms = 2000;
    let mut store = server.open_store(&TERMS);
    hold(&mut *store, "x", &me);
    let leader = server.leader();
    server.freeze_member(leader);
    let beats_for = |store: &mut dyn Store, span: u64| {
        let end = Instant::now() + Duration::from_secs(span);
        while Instant::now() < end {
            assert!(!matches!(store.beat(&name, &me.id, &[]), Ok(Beat::Gone)), "its ticket is gone");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    beats_for(&mut *store, 5);
    server.thaw();
    beats_for(&mut *store, 3);
    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { version: 1, .. }));
}

#[test]
fn a_holder_is_watched_and_a_waiter_lives_on_a_lease() {
    let server = Server::start();
    let name = lock("x");
    let (me, mut you) = (ticket("me"), ticket("you"));
    you.ttl_ms = 1000;
    let (mut mine, mut yours) = (server.open_store(&TERMS), server.open_store(&TERMS));
    hold(&mut *mine, "x", &me);
    let view = yours.take(&name, &you).unwrap();
    let count = |view: &vaultlock::ledger::View| match view.ticket(&me.id).unwrap().life {
        Life::Beat { count, quiet } => (count, quiet),
        other => panic!("{other:?}"),
    };
    let (before, quiet) = count(&view);
    assert!(quiet.is_some_and(|quiet| quiet < Duration::from_secs(2)), "its clock and ours agree: {quiet:?}");
    assert_eq!(view.ticket(&you.id).unwrap().life, Life::Alive);
    mine.beat(&name, &me.id, &[]).unwrap();
    let Beat::Alive { others, .. } = yours.beat(&name, &you.id, std::slice::from_ref(&me.id)).unwrap() else { panic!() };
    assert_eq!(others, [(me.id.clone(), before + 1)]);
    // Swept only in the state in which it was judged.
    let view = yours.view(&name, Some(&you.id)).unwrap();
    let still = |count| vaultlock::ledger::Commit {
        guards: vec![Guard::Still(me.id.clone(), Some(count))],
        drop: vec![me.id.clone()],
        ..enter(&view, &you)
    };
    assert!(matches!(yours.commit(&name, &you.id, &still(before)).unwrap(), vaultlock::store::Outcome::Conflict(_)));
    done(yours.commit(&name, &you.id, &still(before + 1)).unwrap());
    assert_eq!(mine.beat(&name, &me.id, &[]).unwrap(), Beat::Gone, "it was swept");
    let mut dies = ticket("dies");
    dies.ttl_ms = 1000;
    server.open_store(&TERMS).take(&name, &dies).unwrap();
    assert_eq!(yours.view(&name, None).unwrap().waiting, 1);
    until("a dead waiter's lease runs out", || yours.view(&name, None).unwrap().waiting == 0);
    assert!(matches!(yours.beat(&name, &you.id, &[]).unwrap(), Beat::Alive { .. }), "a holder is on no lease");
}

#[test]
fn a_take_that_comes_after_its_withdrawal_makes_no_ghost() {
    let server = Server::start();
    let proxy = Proxy::before(server.port);
    let through = || Etcd::open(address(&format!("etcd://127.0.0.1:{}", proxy.port)), &TERMS);
    let (name, me) = (lock("x"), ticket("me"));
    // What was withdrawn by one is withdrawn for all.
    let (mut first, mut second) = (through(), through());
    let view = first.take(&name, &me).unwrap();
    done(first.commit(&name, &me.id, &commit::withdraw(&view, &me.id)).unwrap());
    let late = second.take(&name, &me).unwrap();
    assert!(late.ticket(&me.id).is_none() && late.waiting == 0);
    // One whose answer was lost may still be under way, whether or not it has come there.
    let (mut there, mut under_way) = (false, false);
    for (to_client, cut) in (0..2).flat_map(|way| (1..30).map(move |step| (way == 1, step * 100))) {
        let (you, name) = (ticket("you"), lock("y"));
        let mut hasty = through();
        if to_client {
            proxy.to_client(Way::CutAfter(cut))
        } else {
            proxy.to_server(Way::CutAfter(cut))
        }
        let lost = hasty.take(&name, &you).is_err();
        proxy.to_client(Way::Pass);
        proxy.to_server(Way::Pass);
        let view = hasty.view(&name, Some(&you.id)).unwrap();
        let came = view.ticket(&you.id).is_some();
        assert_eq!(done(hasty.commit(&name, &you.id, &commit::withdraw(&view, &you.id)).unwrap()).waiting, 0);
        let is_gone = server.tell(&["get", "--prefix", "--keys-only", "vaultlock/y/x/"]).contains(you.id.as_str());
        there |= lost && came;
        under_way |= lost && !came && is_gone;
        assert!(!came || is_gone, "lost: {lost}");
        let late = second.take(&name, &you).unwrap();
        assert!(!is_gone || (late.ticket(&you.id).is_none() && late.waiting == 0));
        if !is_gone {
            done(second.commit(&name, &you.id, &commit::withdraw(&late, &you.id)).unwrap());
        }
    }
    assert!(there && under_way, "{there} {under_way}");
}

#[test]
fn a_cluster_that_was_wiped_is_not_taken_for_the_one_it_was() {
    let mut server = Server::start();
    let (name, me) = (lock("x"), ticket("me"));
    let mut store = server.open_store(&TERMS);
    let first = store.view(&name, None).unwrap();
    let Memory::Unsure { mark, quiet } = &first.memory else { panic!("nobody has waited it out") };
    assert_eq!(*quiet, Duration::ZERO);
    hold(&mut *store, "x", &me);
    assert_eq!(store.view(&name, None).unwrap().memory, Memory::Intact);
    server.restart();
    until("it answers", || store.view(&name, None).is_ok());
    assert_eq!(store.view(&name, None).unwrap().memory, Memory::Intact, "it kept what it knew");
    server.wipe();
    let mut fresh = server.open_store(&TERMS);
    let wiped = fresh.view(&name, None).unwrap();
    assert_eq!(wiped.epoch, first.epoch, "the same words make the same cluster id");
    assert!(matches!(&wiped.memory, Memory::Unsure { mark: other, .. } if other != mark));
    assert_eq!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Gone);
    // What was sent for the old one does nothing in the new one.
    let old = vaultlock::ledger::Commit { settle: Some(mark.clone()), ..nothing(&wiped) };
    assert!(matches!(store.commit(&name, &me.id, &old).unwrap(), vaultlock::store::Outcome::Conflict(_)));
}

#[test]
fn one_max_ttl_is_everybodys() {
    let server = Server::start();
    server.open_store(&TERMS).view(&lock("x"), None).unwrap();
    let other = Terms { max_ttl: Duration::from_secs(60), ..TERMS };
    refused(server.open_store(&other).view(&lock("x"), None), "max_ttl of 30s");
}

#[test]
fn what_this_program_did_not_write_grants_nothing() {
    let server = Server::start();
    let (me, you) = (ticket("me"), ticket("you"));
    let mut store = server.open_store(&TERMS);
    for name in ["ledger", "beats", "ticket"] {
        hold(&mut *store, name, &ticket("holder"));
    }
    let text = server.tell(&["get", "--print-value-only", "vaultlock/ledger/ledger"]);
    server.tell(&["put", "vaultlock/ledger/ledger", &text.replace("holder", "h0lder")]);
    damaged(store.take(&lock("ledger"), &me), "digest");
    hold(&mut *store, "copied", &me);
    server.tell(&["put", "vaultlock/copied/ledger", text.trim_end_matches('\n')]);
    damaged(store.view(&lock("copied"), None), "damaged");
    for folder in ["b", "h"] {
        let name = if folder == "b" { "beats" } else { "ticket" };
        let key = server.tell(&["get", "--prefix", "--keys-only", &format!("vaultlock/{name}/{folder}/")]);
        server.tell(&["put", key.trim(), "0 1 1 nonsense"]);
        damaged(store.view(&lock(name), None), "damaged");
    }
    // A stranger's damaged ticket harms only the stranger.
    server.open_store(&TERMS).take(&lock("queue"), &you).unwrap();
    let key = server.tell(&["get", "--prefix", "--keys-only", "vaultlock/queue/q/"]);
    server.tell(&["put", "--ignore-lease", key.trim(), "nonsense"]);
    let view = store.take(&lock("queue"), &me).unwrap();
    assert!(view.ticket(&me.id).is_some() && view.ticket(&you.id).is_none());
    server.tell(&["put", "vaultlock/.store", "nonsense"]);
    damaged(store.view(&lock("x"), None), "vaultlock/.store");
}

#[test]
fn an_etcd_that_is_full_says_so() {
    let server = Server::with(1, &["--quota-backend-bytes", "200000"]);
    let mut store = server.open_store(&TERMS);
    hold(&mut *store, "x", &ticket("me"));
    let filler = "x".repeat(20_000);
    until("it is full", || {
        !server.ctl(&["put", "filler", &filler]).stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
    });
    refused(store.take(&lock("y"), &ticket("you")), "is full");
}

#[test]
fn what_answers_and_is_no_etcd_is_told_so() {
    let at = |port: u16| open(&format!("etcd://127.0.0.1:{port}")).view(&lock("x"), None);
    refused(at(parrot(b"+PONG\r\n")), "does not speak etcd's JSON");
    refused(at(parrot(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n404")), "no JSON gateway");
    refused(at(parrot(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")), "does not speak etcd's JSON");
    refused(at(parrot(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")), "does not speak etcd's JSON");
    let says = |text: &'static str| {
        parrot(Box::leak(format!("HTTP/1.1 500 X\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_boxed_str()).as_bytes())
    };
    for (text, part) in [
        (r#"{"error":"etcdserver: too many requests","code":8}"#, "too many requests to serve"),
        (r#"{"error":"etcdserver: no leader","code":14}"#, "no leader now"),
        (r#"{"error":"etcdserver: request timed out","code":14}"#, "can't answer now"),
    ] {
        unreachable(at(says(text)), part);
    }
    for (text, part) in [
        (r#"{"error":"etcdserver: request is too large","code":3}"#, "max-request-bytes"),
        (r#"{"error":"etcdserver: too many operations in txn request","code":3}"#, "max-txn-ops"),
        (r#"{"error":"etcdserver: corrupt cluster","code":15}"#, "corrupt"),
        (r#"{"error":"something new","code":2}"#, "something new"),
    ] {
        refused(at(says(text)), part);
    }
}

#[test]
fn users_need_their_password_and_their_rights() {
    let server = Server::start();
    server.tell(&["user", "add", &format!("root:{CANARY}")]);
    server.tell(&["role", "add", "locks"]);
    server.tell(&["role", "grant-permission", "locks", "--prefix=true", "readwrite", "vaultlock/"]);
    for (user, role) in [("locker", Some("locks")), ("idler", None)] {
        server.tell(&["user", "add", &format!("{user}:{CANARY}")]);
        if let Some(role) = role {
            server.tell(&["user", "grant-role", user, role]);
        }
    }
    let host = format!("127.0.0.1:{}", server.port);
    refused(open(&format!("etcd://me:{CANARY}@{host}")).view(&lock("x"), None), "has no users");
    server.tell(&["auth", "enable"]);
    let at = |login: &str| open(&format!("etcd://{login}{host}"));
    let mut store = at(&format!("locker:{CANARY}@"));
    let me = ticket("me");
    hold(&mut store, "x", &me);
    at(&format!("locker:{CANARY}@")).take(&lock("x"), &ticket("you")).unwrap();
    // Its token is forgotten, as when it was not used for long or another member is asked.
    let mut server = server;
    server.restart();
    until("it answers again", || matches!(store.beat(&lock("x"), &me.id, &[]), Ok(Beat::Alive { .. })));
    refused(at("").view(&lock("x"), None), "wants a user and a password");
    refused(at("locker:wrong@").view(&lock("x"), None), "does not accept this user and password");
    refused(at(&format!("nobody:{CANARY}@")).view(&lock("x"), None), "does not accept");
    refused(at("locker@").view(&lock("x"), None), "no password for the user");
    refused(at(&format!("idler:{CANARY}@")).view(&lock("x"), None), "--prefix readwrite vaultlock/");
}

#[test]
fn tls_is_verified_in_full_and_a_client_shows_its_certificate() {
    let dir = tempfile::Builder::new().prefix("vl-etcd-").tempdir().unwrap();
    make_authority(dir.path());
    let file = |name: &str| format!("{}/{name}", dir.path().display());
    let (ca, cert, secret) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let (client, key) = (file("client.pem"), file("client.key"));
    let (nameless, nameless_key, other) = (file("nameless.pem"), file("nameless.key"), file("other.pem"));
    let tls = ["--cert-file", &cert, "--key-file", &secret, "--trusted-ca-file", &ca, "--client-cert-auth"];
    let server = Server::with(1, &tls);
    let url = |ca: &str, cert: &str, key: &str| format!("etcds://127.0.0.1:{}?cacert={ca}&cert={cert}&key={key}", server.port);
    let mut store = open(&url(&ca, &client, &key));
    let (me, you) = (ticket("me"), ticket("you"));
    let view = hold(&mut store, "x", &me);
    let (mut waiter, bell) = (open(&url(&ca, &client, &key)), Bell::new().unwrap());
    waiter.take(&lock("x"), &you).unwrap();
    let wait = |waiter: &mut Etcd, millis| {
        let asked = Instant::now();
        let until = Clock::Boottime.now() + Duration::from_millis(millis);
        waiter.wait(&lock("x"), &you.id, until, bell.as_fd()).unwrap();
        asked.elapsed()
    };
    assert!(wait(&mut waiter, 300) >= Duration::from_millis(300), "nobody woke it");
    done(store.commit(&lock("x"), &me.id, &vaultlock::ledger::Commit { wake: vec![you.id.clone()], ..nothing(&view) }).unwrap());
    assert!(wait(&mut waiter, 20_000) < Duration::from_secs(5), "a watch is heard through TLS");
    refused(open(&url(&other, &client, &key)).view(&lock("x"), None), "unknown authority");
    refused(open(&url(&ca, &client, &key).replace("127.0.0.1", "localhost")).view(&lock("x"), None), "another host");
    assert!(open(&format!("etcds://127.0.0.1:{}?cacert={ca}", server.port)).view(&lock("x"), None).is_err(), "no certificate");
    let plain = open(&format!("etcd://127.0.0.1:{}", server.port)).view(&lock("x"), None);
    assert!(matches!(&plain, Err(Error::Refused(text) | Error::Unreachable(text)) if text.contains("etcds://")), "{plain:?}");
    // With users, etcd's gateway takes a certificate without a name alone.
    let ctl = |words: &[&str]| {
        let files = [format!("--cacert={ca}"), format!("--cert={client}"), format!("--key={key}")];
        let mut command = server.ctl(words);
        command.args(files).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{words:?}");
    };
    ctl(&["--insecure-transport=false", "user", "add", &format!("root:{CANARY}")]);
    ctl(&["--insecure-transport=false", "auth", "enable"]);
    let as_root = |url: String| open(&url.replace("etcds://", &format!("etcds://root:{CANARY}@")));
    refused(as_root(url(&ca, &client, &key)).view(&lock("x"), None), "CommonName");
    as_root(url(&ca, &nameless, &nameless_key)).view(&lock("x"), None).unwrap();
}

#[test]
fn two_hundred_dead_holders_are_swept_by_one_who_enters() {
    let server = Server::start();
    let name = lock("x");
    let mut store = server.open_store(&TERMS);
    let mut view = hold(&mut *store, "x", &ticket("first"));
    while view.ledger.holders.len() < 200 {
        view = hold(&mut *store, "x", &ticket("holder"));
    }
    let dead = |view: &vaultlock::ledger::View, me: &vaultlock::ledger::Ticket| {
        let judged = |id: &vaultlock::ledger::Id| match view.ticket(id).unwrap().life {
            Life::Beat { count, .. } => Guard::Still(id.clone(), Some(count)),
            other => panic!("{other:?}"),
        };
        let ids: Vec<_> = view.ledger.holders.iter().map(|holder| holder.id.clone()).collect();
        let mut commit = enter(view, me);
        commit.ledger.as_mut().unwrap().holders.retain(|holder| holder.id == me.id);
        commit.guards.extend(ids.iter().map(judged));
        commit.drop = ids;
        commit
    };
    let me = ticket("me");
    let view = store.take(&name, &me).unwrap();
    // One of them lives after all, and beat since the look.
    let alive = view.ledger.holders[77].id.clone();
    assert!(matches!(server.open_store(&TERMS).beat(&name, &alive, &[]).unwrap(), Beat::Alive { .. }));
    let vaultlock::store::Outcome::Conflict(view) = store.commit(&name, &me.id, &dead(&view, &me)).unwrap() else {
        panic!("a living holder was swept")
    };
    let swept = done(store.commit(&name, &me.id, &dead(&view, &me)).unwrap());
    assert_eq!((swept.ledger.holders.len(), swept.tickets.len(), swept.waiting), (1, 1, 0));
    let left = server.tell(&["get", "--prefix", "--keys-only", "vaultlock/x/"]);
    assert_eq!(left.split_whitespace().count(), 3, "ledger, ticket, beats: {left}");
}

#[test]
fn locks_are_listed_page_by_page_and_by_their_long_names() {
    let server = Server::start();
    let mut store = server.open_store(&TERMS);
    let long = "é".repeat(90);
    for name in ["a", long.as_str(), "z"] {
        hold(&mut *store, name, &ticket("t"));
    }
    // Whatever else lies there, and more of it than a page holds.
    for at in ["a", "z"] {
        for chunk in (0..1300).collect::<Vec<u32>>().chunks(100) {
            let put = |n: &u32| format!("put vaultlock/{at}/q/{n} nonsense\n");
            let text = format!("\n{}\n\n", chunk.iter().map(put).collect::<String>());
            let mut txn = server.ctl(&["txn"]);
            let mut child = txn.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
        }
    }
    let names = store.locks().unwrap();
    assert_eq!(names, ["a", "z", long.as_str()].map(lock));
}
