//! What a lock costs its cluster.

use std::time::{Duration, Instant};

use crate::stage::Stage;
use crate::support::etcd::Etcd;
use crate::support::proxy::Proxy;

#[test]
fn a_lock_handed_on_costs_three_requests() {
    let server = Etcd::start();
    let proxy = Proxy::before(server.port);
    let url = server.settled(Duration::from_secs(30)).replace(&server.port.to_string(), &proxy.port.to_string());
    let stage = Stage::on(url);
    // Seldom enough beats that none is among what is counted, or few.
    let long: &[&str] = &["--ttl", "30s"];
    let holder = stage.hold(long, &[]);
    let waiters: Vec<_> = (0..10).map(|_| stage.wait_behind(long, &["for", "1"])).collect();
    let (before, started) = (proxy.requests(), Instant::now());
    stage.let_go();
    holder.end().was_silent(0);
    for waiter in waiters {
        waiter.end().was_silent(0);
    }
    let (asked, beats) = (proxy.requests() - before, started.elapsed().as_secs_f64() / 6.0);
    println!("    ten hand-overs: {asked} requests in {beats:.1} beats");
    // And the holder's last one; and those who joined last may just be about to listen.
    assert!(asked as f64 <= 10.0 * 3.0 + 1.0 + 3.0 + 10.0 * beats.floor(), "{asked}");
}
