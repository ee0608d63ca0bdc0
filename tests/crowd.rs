//! Five hundred at one lock of the file store: in the order of their tickets, and who is not next sleeps through every
//! hand-over. On its own: beside such a crowd a lease of a second is lost.

#[path = "support/running.rs"]
pub mod running;
#[path = "support/signals.rs"]
pub mod signals;
#[path = "support/vault.rs"]
pub mod vault;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::running::{Running, switches, wait_for};
use crate::vault::Vault;

const CROWD: usize = 500;
/// The last ones, who are watched while the first ones have their turns.
const WATCHED: usize = 50;

#[test]
fn five_hundred_are_served_in_the_order_of_their_tickets() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let script = "echo $0 >> $F/order";
    let mut waiters: BTreeMap<String, Running> = (0..CROWD)
        .map(|number| number.to_string())
        .map(|label| (label.clone(), vault.spawn(&["--ttl", "30s", "--label", &label], "x", &["sh", "-c", script, &label])))
        .collect();
    // The holder's too, whose job takes so long that it listens.
    wait_for("all to queue", || vault.files("x", "bells").len() == CROWD + 1);
    // One file a join, the holder's with them, and nothing half made.
    let tickets = vault.files("x", "tickets");
    assert_eq!(tickets.len(), CROWD + 1);
    let mut queue: Vec<(i64, u64, String)> = tickets.iter().map(|path| place(path)).collect();
    queue.sort();
    let labels: Vec<String> = queue.into_iter().skip(1).map(|(_, _, label)| label).collect();
    let last: Vec<i32> =
        labels[CROWD - WATCHED..].iter().flat_map(|label| [waiters[label].sentry(), waiters[label].worker()]).collect();
    let (mut before, mut quiet) = (0, 0);
    wait_for("the last to sleep", || {
        let count = last.iter().map(|pid| switches(*pid)).sum();
        quiet = if count == before { quiet + 1 } else { 0 };
        before = count;
        quiet == 20
    });
    let begun = Instant::now();
    vault.let_go("x");
    assert_eq!(holder.end().code, 0);
    let served = CROWD - 2 * WATCHED;
    for label in &labels[..served] {
        let done = waiters.remove(label).unwrap().end();
        assert_eq!((done.code, done.err.as_str()), (0, ""));
    }
    // Whoever is already let in has been woken, and is no measure any more.
    let ran = vault.text("order").lines().count();
    let woken = last.iter().map(|pid| switches(*pid)).sum::<u64>().saturating_sub(before);
    println!("    {woken} wake-ups of {WATCHED} waiters in {served} hand-overs, {:.2?}; {ran} jobs ran", begun.elapsed());
    if ran < CROWD - WATCHED {
        // A look each 6 s is all; a herd would wake up once for each hand-over.
        assert!(woken < (WATCHED * served / 10) as u64, "{woken}");
    }
    for (_, waiter) in waiters {
        let done = waiter.end();
        assert_eq!((done.code, done.err.as_str()), (0, ""));
    }
    assert_eq!(vault.text("order").lines().collect::<Vec<&str>>(), labels);
    assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
}

/// A ticket's place by its file's name, and its label.
fn place(path: &Path) -> (i64, u64, String) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut words = name.split('.');
    let (order, seq) = (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap());
    let ticket: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    (order, seq, ticket["who"]["label"].as_str().unwrap().to_owned())
}
