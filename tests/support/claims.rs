//! Tickets and commits as a claim would make them.

use std::sync::atomic::{AtomicU32, Ordering};

use vaultlock::ledger::codec::FMT;
use vaultlock::ledger::{Commit, Guard, Holder, Id, Memory, Mode, Policy, Ticket, View, Who};
use vaultlock::name::Name;
use vaultlock::store::{Outcome, Store};

/// The lock of this name.
pub fn lock(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A ticket nobody else has.
pub fn ticket(label: &str) -> Ticket {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut bytes = [7u8; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..8].copy_from_slice(&std::process::id().to_be_bytes());
    Ticket {
        fmt: FMT,
        id: Id::from_random(bytes),
        mode: Mode::Exclusive,
        slots: 1,
        priority: 0,
        lead_ms: 0,
        policy: Policy::default(),
        ttl_ms: 30_000,
        who: Who { label: label.to_owned(), host: "here".to_owned(), pid: number },
        limit_ms: None,
        chain: Vec::new(),
    }
}

/// Takes a ticket and enters with it, whoever else is there.
pub fn hold(store: &mut (impl Store + ?Sized), name: &str, ticket: &Ticket) -> View {
    let view = store.take(&lock(name), ticket).unwrap();
    done(store.commit(&lock(name), &ticket.id, &enter(&view, ticket)).unwrap())
}

/// The view after a commit that must not conflict.
pub fn done(outcome: Outcome) -> View {
    match outcome {
        Outcome::Done(view) => view.expect("it was to be shown"),
        Outcome::Conflict(view) => panic!("conflict: {view:?}"),
    }
}

/// The commit that lets `ticket` in, whoever else is there.
pub fn enter(view: &View, ticket: &Ticket) -> Commit {
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    ledger.epoch = view.epoch.clone();
    ledger.fence += 1;
    ledger.holders.push(Holder {
        id: ticket.id.clone(),
        mode: ticket.mode,
        slots: ticket.slots,
        priority: ticket.priority,
        fence: ledger.fence,
        ttl_ms: ticket.ttl_ms,
        since: view.now,
        who: ticket.who.clone(),
        limit_ms: ticket.limit_ms,
        group: None,
        keep: None,
    });
    Commit { ledger: Some(ledger), guards: vec![Guard::Present(ticket.id.clone())], settle: mark(view), ..nothing(view) }
}

/// A commit that changes nothing yet.
pub fn nothing(view: &View) -> Commit {
    Commit {
        version: view.ledger.version,
        epoch: view.epoch.clone(),
        ledger: None,
        drop: Vec::new(),
        guards: Vec::new(),
        wake: Vec::new(),
        settle: None,
        show: true,
    }
}

/// The mark of an unsure memory.
pub fn mark(view: &View) -> Option<String> {
    match &view.memory {
        Memory::Unsure { mark, .. } => Some(mark.clone()),
        Memory::Intact => None,
    }
}
