//! The engine by itself: its addresses, sessions that end, damage, and what it says where it will not.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use vaultlock::bell::Bell;
use vaultlock::ledger::Memory;
use vaultlock::store::locate::Location;
use vaultlock::store::{Beat, Terms};
use vaultlock::time::Clock;

use crate::support::claims::{hold, lock, nothing, ticket};
use crate::support::proxy::{Proxy, Way, parrot};
use crate::support::redis::free_port;
use crate::support::until;
use crate::support::verdict::{damaged, refused, unreachable};
use crate::support::zookeeper::{ZooKeeper, open_store};

const TERMS: Terms = Terms { request: Duration::from_secs(5), max_ttl: Duration::from_secs(30) };

#[test]
fn every_form_of_a_url_is_read_as_it_is_meant_and_a_wrong_one_is_refused_without_its_password() {
    for (url, shown, bare) in [
        ("zk://h", "zookeeper at h:2181", "zk://h:2181"),
        ("ZooKeeper://H1:7,h2/", "zookeeper at h1:7,h2:2181", "zk://h1:7,h2:2181"),
        ("zk://me:c4n4ry-s3cret@[::1]/a/b.c", "zookeeper at [::1]:2181", "zk://[::1]:2181/a/b.c"),
        ("zk://me:12%2Fc4n4ry-s3cret@home@h?max_ttl=7s", "zookeeper at h:2181", "zk://h:2181?max_ttl=7000ms"),
    ] {
        let location = Location::parse(url).unwrap();
        assert_eq!((location.display().as_str(), location.for_job().as_str()), (shown, bare), "{url}");
        assert_eq!((location.has_secret(), location.password_in_url()), (url.contains('@'), url.contains('@')), "{url}");
        assert_eq!(Location::parse(bare).unwrap().fingerprint(), location.fingerprint(), "{url}");
        assert!(!format!("{location:?}").contains("s3cret"));
    }
    for (url, part) in [
        ("zk://", "needs hosts"),
        ("zk://a,a:2181", "twice"),
        ("zk://h:0", "leave it out for 2181"),
        ("zk://h/a//b", "no node"),
        ("zk://h/a/../b", "no node"),
        ("zk://h/zookeeper/x", "ZooKeeper's own"),
        ("zk://me@h", "go together"),
        ("zk://:c4n4ry-s3cret@h", "go together"),
        ("zk://me:12?c4n4ry-s3cret@h", "%3F"),
        ("zk://h?prefix=a", "its path"),
        ("zk://h?fresh=true", "no fresh="),
        ("zk://h?colour=red", "\"colour\""),
    ] {
        let complaint = Location::parse(url).unwrap_err().to_string();
        assert!(complaint.contains(part) && !complaint.contains("s3cret"), "{url}: {complaint}");
    }
}

#[test]
fn a_member_that_is_down_or_frozen_is_passed_within_one_request() {
    let server = ZooKeeper::shared();
    let url = server.url();
    let (head, node) = url.rsplit_once("/locks/").unwrap();
    let up = head.trim_start_matches("zk://");
    let silent = Proxy::before(server.ports()[0]);
    silent.to_client(Way::Swallow);
    let at = |hosts: &str| format!("zk://{hosts}/locks/{node}");
    let frozen = format!("127.0.0.1:{}", silent.port);
    let (name, me) = (lock("x"), ticket("me"));
    let mut store = open_store(&at(&format!("127.0.0.1:{},{frozen},{up}", free_port())), &TERMS);
    let asked = Instant::now();
    assert!(store.take(&name, &me).unwrap().ticket(&me.id).is_some() && asked.elapsed() < TERMS.request);
    // It stays with the one that answers.
    let asked = Instant::now();
    assert!(matches!(store.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { .. }));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    unreachable(open_store(&at(&format!("127.0.0.1:{}", free_port())), &TERMS).view(&name, None), "refuses connections");
    let hasty = Terms { request: Duration::from_millis(200), ..TERMS };
    unreachable(open_store(&at(&frozen), &hasty).view(&name, None), "within 200ms");
    let port = parrot(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    refused(open_store(&at(&format!("127.0.0.1:{port}")), &TERMS).view(&name, None), "does not speak ZooKeeper's protocol");
}

/// A session of twenty ticks ends while nobody speaks: the ticket does not hang on it.
#[test]
fn a_session_that_expires_takes_nothing_with_it_and_a_wake_meanwhile_is_heard_of() {
    let server = ZooKeeper::start();
    let url = server.url();
    let proxy = Proxy::before(server.ports()[0]);
    let through = url.replace(&server.ports()[0].to_string(), &proxy.port.to_string());
    let (name, me, you) = (lock("x"), ticket("me"), ticket("you"));
    let (mut mine, mut yours) = (open_store(&url, &TERMS), open_store(&through, &TERMS));
    let view = hold(&mut *mine, "x", &me);
    yours.take(&name, &you).unwrap();
    yours.view(&name, Some(&you.id)).unwrap();
    proxy.to_server(Way::Swallow);
    let sessions = || server.tell_four("cons").matches("sid=0x").count();
    let end = Instant::now() + Duration::from_secs(60);
    assert_eq!(sessions(), 2);
    while sessions() > 1 {
        assert!(Instant::now() < end, "its session never expires");
        assert!(matches!(mine.beat(&name, &me.id, &[]).unwrap(), Beat::Alive { .. }));
        std::thread::sleep(Duration::from_millis(200));
    }
    let wake = vaultlock::ledger::Commit { wake: vec![you.id.clone()], ..nothing(&view) };
    mine.commit(&name, &me.id, &wake).unwrap();
    proxy.to_server(Way::Pass);
    proxy.cut();
    let (bell, asked) = (Bell::new().unwrap(), Instant::now());
    yours.wait(&name, &you.id, Clock::Boottime.now() + Duration::from_secs(30), bell.as_fd()).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(15), "the wake was lost");
    assert!(matches!(yours.beat(&name, &you.id, &[]).unwrap(), Beat::Alive { .. }), "its ticket went with its session");
}

#[test]
fn what_was_lost_or_damaged_grants_nothing_and_max_ttl_is_everybodys() {
    let server = ZooKeeper::shared();
    let url = server.url();
    let node = format!("/locks/{}", url.rsplit_once('/').unwrap().1);
    let (name, me) = (lock("x"), ticket("me"));
    let mut store = open_store(&url, &TERMS);
    let first = store.view(&name, None).unwrap();
    let Memory::Unsure { mark, .. } = &first.memory else { panic!("nobody has waited it out") };
    hold(&mut *store, "x", &me);
    assert_eq!(store.view(&name, None).unwrap().memory, Memory::Intact);
    refused(open_store(&url, &Terms { max_ttl: Duration::from_secs(60), ..TERMS }).view(&name, None), "max_ttl of 30s");
    // As after a restore.
    server.tell(&["deleteall", &format!("{node}/.store")]);
    let old = vaultlock::ledger::Commit { settle: Some(mark.clone()), ..nothing(&first) };
    assert!(matches!(store.commit(&name, &me.id, &old).unwrap(), vaultlock::store::Outcome::Conflict(_)));
    let after = open_store(&url, &TERMS).view(&name, None).unwrap();
    assert!(matches!(&after.memory, Memory::Unsure { mark: other, .. } if other != mark) && after.epoch != first.epoch);
    assert_eq!(after.ledger.holders.len(), 1, "the ledger is still there");
    server.tell(&["set", &format!("{node}/x"), "nonsense"]);
    damaged(store.view(&name, None), "digest");
    until("the store still answers", || store.view(&lock("y"), None).is_ok());
}
