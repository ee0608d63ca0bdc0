//! Cycles of nested runs, found from any of those who are in one, and nothing else taken for one.

use std::collections::BTreeMap;
use std::time::Duration;

use vaultlock::ledger::codec::FMT;
use vaultlock::ledger::cycle::Search;
use vaultlock::ledger::{Holder, Id, Ledger, Level, Life, Listed, Memory, Mode, Policy, Ticket, View, Who};
use vaultlock::time::Wall;

/// Locks as text, one each: `LOCK = HOLDERS | WAITERS`. A holder is a name, `+` behind it if it shares. A waiter is
/// `NAME:CHAIN`, its chain `LOCK/HOLDER` a level, parted by commas; behind it `!` if it is dead, `?` if nobody knows.
struct World {
    views: BTreeMap<String, View>,
    counts: BTreeMap<Id, u64>,
}

fn id(who: &str) -> Id {
    let mut bytes = [0; 16];
    bytes[..who.len()].copy_from_slice(who.as_bytes());
    Id::from_random(bytes)
}

fn ticket(who: &str, chain: &str) -> Ticket {
    let level = |level: &str| {
        let (lock, holder) = level.split_once('/').unwrap();
        Level { lock: lock.to_owned(), session: id(holder).session() }
    };
    Ticket {
        fmt: FMT,
        id: id(who),
        mode: Mode::Exclusive,
        slots: 1,
        priority: 0,
        lead_ms: 0,
        ttl_ms: 10_000,
        limit_ms: None,
        who: Who { label: who.to_owned(), host: "here".to_owned(), pid: 1 },
        policy: Policy::default(),
        chain: chain.split(',').filter(|text| !text.is_empty()).map(level).collect(),
    }
}

fn view(text: &str) -> (String, View) {
    let (lock, rest) = text.split_once(" = ").unwrap();
    let (holders, waiters) = rest.split_once(" | ").unwrap_or((rest, ""));
    let mut ledger = Ledger::blank(lock, "life");
    for (at, holder) in holders.split_whitespace().enumerate() {
        let mode = if holder.ends_with('+') { Mode::Shared } else { Mode::Exclusive };
        let Ticket { id, slots, priority, ttl_ms, who, .. } = ticket(holder.trim_end_matches('+'), "");
        let (fence, since) = (at as u64, Wall(0));
        ledger.holders.push(Holder {
            id,
            mode,
            slots,
            priority,
            fence,
            ttl_ms,
            since,
            who,
            limit_ms: None,
            group: None,
            keep: None,
        });
    }
    let listed = |(seq, text): (usize, &str)| {
        let life = match text.chars().last() {
            Some('!') => Life::Dead,
            Some('?') => Life::Beat { count: 7, quiet: None },
            Some('~') => Life::Beat { count: 7, quiet: Some(Duration::from_secs(9)) },
            Some('.') => Life::Beat { count: 7, quiet: Some(Duration::from_secs(2)) },
            _ => Life::Alive,
        };
        let (who, chain) = text.trim_end_matches(['!', '?', '~', '.']).split_once(':').unwrap();
        Listed { ticket: ticket(who, chain), order: seq as i64, seq: seq as u64, at: Wall(0), life }
    };
    let tickets: Vec<Listed> = waiters.split_whitespace().enumerate().map(listed).collect();
    let (waiting, epoch, memory) = (tickets.len(), "life".to_owned(), Memory::Intact);
    let view = View { ledger, tickets, waiting, ahead: 0, epoch, memory, max_ttl: Duration::from_secs(30), now: Wall(0) };
    (lock.to_owned(), view)
}

impl World {
    fn new(locks: &[&str]) -> World {
        World { views: locks.iter().map(|text| view(text)).collect(), counts: BTreeMap::new() }
    }

    /// What the waiter of this name finds, and how many locks it looked at.
    fn look(&mut self, who: &str) -> (String, usize) {
        let (lock, mine) = self
            .views
            .iter()
            .find_map(|(lock, view)| Some((lock, view.tickets.iter().find(|listed| listed.ticket.who.label == who)?)))
            .unwrap();
        let Some(mut search) = Search::new(&mine.ticket, &self.views[lock]) else { return ("nothing".to_owned(), 0) };
        let mut views = 0;
        while let Some(name) = search.next_lock() {
            views += 1;
            search.look(self.views.get(name.as_str()), &self.counts);
        }
        let (found, counts) = search.end();
        self.counts = counts;
        let Some(cycle) = found else { return ("nothing".to_owned(), views) };
        let ring: Vec<String> = cycle.ring.iter().map(|(label, lock)| format!("{label} waits for {lock}")).collect();
        let all = ring.iter().map(|text| text.split(' ').next().unwrap()).chain([who]);
        let withdraws = all.max_by_key(|who| id(who).session()).unwrap();
        assert_eq!(cycle.withdraws, id(withdraws).session());
        (format!("{}, {}", cycle.lock, ring.join(", ")), views)
    }

    fn finds(&mut self, who: &str) -> String {
        self.look(who).0
    }
}

#[test]
fn two_find_each_other_and_agree_on_who_withdraws() {
    let mut world = World::new(&["1 = p | y:2/q", "2 = q | x:1/p"]);
    assert_eq!(world.finds("x"), "2, y waits for 1");
    assert_eq!(world.finds("y"), "1, x waits for 2");
}

#[test]
fn three_in_a_ring_are_found_from_each() {
    let mut world = World::new(&["1 = p | z:3/r", "2 = q | x:1/p", "3 = r | y:2/q"]);
    assert_eq!(world.finds("x"), "2, y waits for 3, z waits for 1");
    assert_eq!(world.finds("y"), "3, z waits for 1, x waits for 2");
    assert_eq!(world.finds("z"), "1, x waits for 2, y waits for 3");
}

#[test]
fn a_deeper_level_of_the_chain_counts_too() {
    let mut world = World::new(&["1 = p | y:2/q,4/s", "2 = q", "3 = r", "4 = s | x:1/p,3/r"]);
    assert_eq!(world.finds("x"), "4, y waits for 1");
    assert_eq!(world.finds("y"), "1, x waits for 4");
}

#[test]
fn waiters_in_a_row_are_no_cycle() {
    let mut world = World::new(&["1 = p | y:2/q", "2 = q | z:3/r", "3 = r | w:", "4 = s | x:1/p"]);
    for who in ["x", "y", "z", "w"] {
        assert_eq!(world.finds(who), "nothing", "{who}");
    }
}

#[test]
fn who_stands_beside_a_cycle_is_not_in_it() {
    // b waits for a lock of the cycle and holds nothing of it; c is waited for by nobody.
    let mut world = World::new(&["1 = p | y:2/q b:", "2 = q | x:1/p c:3/r", "3 = r"]);
    assert_eq!(world.finds("b"), "nothing");
    assert_eq!(world.finds("c"), "nothing");
    assert_eq!(world.finds("x"), "2, y waits for 1");
}

#[test]
fn a_chain_out_of_date_binds_nobody() {
    // y's parent held 2 once; now somebody else does.
    assert_eq!(World::new(&["1 = p | y:2/q", "2 = other | x:1/p"]).finds("x"), "nothing");
    // x's parent holds 1 no more.
    assert_eq!(World::new(&["1 = other | y:2/q", "2 = q | x:1/p"]).finds("x"), "nothing");
}

#[test]
fn the_dead_are_in_no_cycle_and_the_doubtful_only_once_they_have_beaten() {
    assert_eq!(World::new(&["1 = p | y:2/q!", "2 = q | x:1/p"]).finds("x"), "nothing");
    assert_eq!(World::new(&["1 = p | y:2/q~", "2 = q | x:1/p"]).finds("x"), "nothing", "quiet for longer than a beat");
    assert_eq!(World::new(&["1 = p | y:2/q.", "2 = q | x:1/p"]).finds("x"), "2, y waits for 1");
    let mut world = World::new(&["1 = p | y:2/q?", "2 = q | x:1/p"]);
    assert_eq!(world.finds("x"), "nothing");
    assert_eq!(world.finds("x"), "nothing", "it has not moved");
    for listed in world.views.values_mut().flat_map(|view| &mut view.tickets) {
        if let Life::Beat { count, .. } = &mut listed.life {
            *count += 1;
        }
    }
    assert_eq!(world.finds("x"), "2, y waits for 1");
}

#[test]
fn one_of_several_readers_is_enough_and_one_of_several_slots_is_not() {
    let mut readers = World::new(&["1 = p+ other+ | y:2/q", "2 = q | x:1/p"]);
    assert_eq!(readers.finds("x"), "2, y waits for 1");
    assert_eq!(readers.finds("y"), "1, x waits for 2");
    let mut slots = World::new(&["1 = p other | y:2/q", "2 = q | x:1/p"]);
    assert_eq!((slots.finds("x").as_str(), slots.finds("y").as_str()), ("nothing", "nothing"), "the other may end");
}

#[test]
fn a_search_looks_at_each_level_once_and_at_so_many_locks_at_most() {
    let mut world = World::new(&["1 = p | y:3/r z:3/r", "2 = q | x:1/p", "3 = r | w:1/p"]);
    assert_eq!(world.look("x"), ("nothing".to_owned(), 2));
    let text: Vec<String> = (0..100).map(|at| format!("{at} = h{at} | w{}:{}/h{}", at + 1, at + 1, at + 1)).collect();
    let mut text: Vec<&str> = text.iter().map(String::as_str).collect();
    text.push("goal = g | x:0/h0");
    assert_eq!(World::new(&text).look("x"), ("nothing".to_owned(), 24));
}
