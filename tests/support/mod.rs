//! Servers, a line that fails on command, and the claims that tests make.

pub mod claims;
pub mod cluster;
pub mod disk;
pub mod etcd;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod running;
pub mod sentinel;
pub mod signals;
pub mod skew;
pub mod verdict;
pub mod zookeeper;

use std::time::{Duration, Instant};

/// Polls until it is so; a machine under load gets ten seconds.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "in ten seconds it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
