//! Trials side by side: most of a trial is waiting for a lease to run out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::row::Found;

/// Runs `trials` trials in `lanes` lanes. Each lane has what `open` made for it, and a trial gets its number.
pub fn run<L>(
    lanes: usize,
    trials: usize,
    open: impl Fn(usize) -> L + Sync,
    trial: impl Fn(&mut L, usize) -> Found + Sync,
) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(trials));
    thread::scope(|scope| {
        for number in 0..lanes.min(trials) {
            let (next, found, open, trial) = (&next, &found, &open, &trial);
            scope.spawn(move || {
                let mut lane = open(number);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= trials {
                        return;
                    }
                    let one = trial(&mut lane, number);
                    found.lock().unwrap().push(one);
                }
            });
        }
    });
    found.into_inner().unwrap()
}
