//! What a store shows of one lock at one moment.

use std::time::Duration;

use super::codec::FMT;
use super::room::obstacle;
use super::{Commit, Holder, Id, Ledger, Policy, Ticket};
use crate::time::Wall;

/// Stores list this many waiters, in order, and count the rest.
pub const LISTED: usize = 32;

/// So many are listed at the least: who goes first, and who comes after it.
pub const FIRST: usize = 2;

/// One lock as the store shows it. The ledger is no newer than the tickets: a ticket that the ledger names and the
/// view lacks is gone.
#[derive(Clone, Debug)]
pub struct View {
    pub ledger: Ledger,
    /// The holders' tickets, then the first waiters in order, then the asker's own if it stands further back.
    pub tickets: Vec<Listed>,
    /// All who wait, listed or not.
    pub waiting: usize,
    /// How many waiters stand before the asker, dead ones included.
    pub ahead: usize,
    /// The life of the store right now.
    pub epoch: String,
    pub memory: Memory,
    /// The longest ttl anyone may have on this store; longer ones are read as this.
    pub max_ttl: Duration,
    /// The store's wall clock.
    pub now: Wall,
}

impl View {
    pub fn ticket(&self, id: &Id) -> Option<&Listed> {
        self.tickets.iter().find(|listed| listed.ticket.id == *id)
    }

    /// The ticket, unless the store knows that its claim is dead.
    pub fn living(&self, id: &Id) -> Option<&Listed> {
        self.ticket(id).filter(|listed| listed.life != Life::Dead)
    }

    /// The lock once a commit that is based on this view has been carried out.
    #[must_use]
    pub fn after(mut self, commit: &Commit) -> View {
        self.tickets.retain(|listed| !commit.drop.contains(&listed.ticket.id));
        let waited = |id: &Id| self.ledger.holder(id).is_none();
        let left = commit.drop.iter().filter(|id| waited(id)).count();
        let entered = commit.ledger.iter().flat_map(|ledger| &ledger.holders).filter(|holder| waited(&holder.id)).count();
        self.waiting = self.waiting.saturating_sub(left + entered);
        self.ahead = if entered > 0 { self.waiting } else { self.ahead };
        if commit.settle.is_some() {
            self.memory = Memory::Intact;
        }
        if let Some(ledger) = &commit.ledger {
            self.ledger = ledger.clone();
        }
        self
    }

    /// How many living waiters `id` must be shown. A plain lock's first waiter is let in whoever stands behind it, and while
    /// holders that live leave no room nobody is, so that two will do; where there are rules, enclosing runs, or it is
    /// somebody else's turn, all that a store lists matter.
    pub fn enough(&self, id: Option<&Id>) -> usize {
        let Some(id) = id else { return LISTED };
        let Ledger { holders, stops, rated, rests, .. } = &self.ledger;
        let plain = stops.is_empty()
            && rated.is_none()
            && rests.is_empty()
            && holders.iter().all(|holder| holder.keep.is_none())
            && self.tickets.iter().all(|listed| listed.ticket.policy.is_none() && listed.ticket.chain.is_empty());
        let first = self.waiters().find(|listed| listed.life != Life::Dead);
        let is_first = self.ledger.holder(id).is_some() || first.is_none_or(|first| first.ticket.id == *id);
        let living: Vec<&Holder> = holders.iter().filter(|h| self.ticket(&h.id).is_some_and(|l| l.life == Life::Alive)).collect();
        let is_held = self.ticket(id).is_some_and(|mine| obstacle(&living, &mine.ticket).is_some());
        if plain && (is_first || is_held) { FIRST } else { LISTED }
    }

    /// The waiters that are listed, in order.
    pub fn waiters(&self) -> impl Iterator<Item = &Listed> {
        self.tickets.iter().filter(|listed| self.ledger.holder(&listed.ticket.id).is_none())
    }
}

/// A ticket with what the store knows of it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub ticket: Ticket,
    /// The place in the queue: lower is earlier. Ties are broken by `seq`.
    pub order: i64,
    /// The store's number for this ticket, rising with each append.
    pub seq: u64,
    /// When it was taken, on the store's clock.
    pub at: Wall,
    pub life: Life,
}

impl Listed {
    /// A holder whose ticket the store has ended by itself: its absence is the proof.
    pub fn dead(holder: &Holder) -> Listed {
        let Holder { id, mode, slots, priority, ttl_ms, since, who, limit_ms, group, keep, .. } = holder.clone();
        let policy = Policy { group, keep, ..Policy::default() };
        let ticket = Ticket { fmt: FMT, id, mode, slots, priority, lead_ms: 0, ttl_ms, who, limit_ms, policy, chain: Vec::new() };
        Listed { ticket, order: 0, seq: 0, at: since, life: Life::Dead }
    }
}

/// Whether a claim lives, as far as the store can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The store knows that it lives: its kernel lock is held, or its lease runs.
    Alive,
    /// The store knows that it is dead for good: its kernel lock is free, or its lease has ended.
    Dead,
    /// The store only counts beats; who wants to know must watch them. `quiet` is how long the last one is ago by the
    /// store's own clock, where that clock can be believed.
    Beat { count: u64, quiet: Option<Duration> },
}

/// Whether the store still knows who held its locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What was ever acknowledged is here.
    Intact,
    /// The store began a new life or lost its record: somebody may hold a lock that is not in it. The mark changes
    /// each time that happens; `quiet` is for how long the store itself can prove that it forgot nobody.
    Unsure { mark: String, quiet: Duration },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::enter::enter;
    use crate::ledger::policy::Keep;
    use crate::ledger::{Me, Mode, Who, commit};

    fn ticket(number: u8) -> Ticket {
        let who = Who { label: String::new(), host: String::new(), pid: 1 };
        let (id, policy) = (Id::from_random([number; 16]), Policy::default());
        let mode = Mode::Exclusive;
        Ticket {
            fmt: FMT,
            id,
            mode,
            slots: 1,
            priority: 0,
            lead_ms: 0,
            ttl_ms: 30_000,
            who,
            limit_ms: None,
            policy,
            chain: Vec::new(),
        }
    }

    fn queue(tickets: &[Ticket], life: Life) -> View {
        let listed = |(at, ticket): (usize, &Ticket)| Listed {
            ticket: ticket.clone(),
            order: at as i64,
            seq: at as u64,
            at: Wall(0),
            life,
        };
        View {
            ledger: Ledger::blank("x", "one life"),
            tickets: tickets.iter().enumerate().map(listed).collect(),
            waiting: tickets.len(),
            ahead: 0,
            epoch: "one life".to_owned(),
            memory: Memory::Intact,
            max_ttl: Duration::from_secs(30),
            now: Wall(0),
        }
    }

    fn let_in(view: View, ticket: &Ticket) -> View {
        let me = Me { ticket: ticket.clone(), remembered: 0, wall: Wall(0), joining: false };
        let commit = enter(&view, &me, &view.ticket(&ticket.id).unwrap().clone(), &[], &[], view.now);
        view.after(&commit)
    }

    #[test]
    fn who_acted_knows_what_follows() {
        let all = [ticket(1), ticket(2), ticket(3)];
        let held = let_in(queue(&all, Life::Alive), &all[0]);
        assert_eq!((held.ledger.version, held.ledger.holders.len(), held.waiting), (1, 1, 2));
        let release = commit::release(&held, &all[0].id).unwrap();
        assert_eq!((release.wake.clone(), release.show), (vec![all[1].id.clone()], false));
        let free = held.after(&release);
        assert_eq!((free.ledger.version, free.ledger.holders.len(), free.waiting, free.tickets.len()), (2, 0, 2, 2));
    }

    #[test]
    fn a_lock_given_back_to_nobody_is_looked_at_once_more() {
        let me = ticket(1);
        let held = let_in(queue(std::slice::from_ref(&me), Life::Alive), &me);
        assert!(commit::release(&held, &me.id).unwrap().show);
    }

    #[test]
    fn two_waiters_are_enough_for_the_first_and_for_holders_of_a_plain_lock() {
        let all = [ticket(1), ticket(2), ticket(3)];
        let ids = all.each_ref().map(|ticket| Some(&ticket.id));
        for life in [Life::Alive, Life::Beat { count: 1, quiet: None }] {
            let free = queue(&all, life);
            assert_eq!(ids.map(|id| free.enough(id)), [FIRST, LISTED, LISTED], "it is not their turn");
            assert_eq!(free.enough(None), LISTED);
            // Who only counts beats may find the holder dead.
            let behind = if life == Life::Alive { FIRST } else { LISTED };
            let held = let_in(free, &all[0]);
            assert_eq!(ids.map(|id| held.enough(id)), [FIRST, FIRST, behind]);
        }
        let mut dead = queue(&all, Life::Alive);
        dead.tickets[0].life = Life::Dead;
        assert_eq!(dead.enough(ids[1]), FIRST, "nobody is before it");
    }

    #[test]
    fn rules_want_the_whole_list() {
        let (mut urgent, others) = (ticket(1), [ticket(2), ticket(3)]);
        urgent.policy.keep = Some(Keep { slots: 1, priority: 5 });
        let mut view = queue(&[urgent.clone(), others[0].clone(), others[1].clone()], Life::Alive);
        assert_eq!(view.enough(Some(&urgent.id)), LISTED);
        view = let_in(view, &urgent);
        assert_eq!(view.enough(Some(&others[0].id)), LISTED);
        let mut asked = let_in(queue(&others, Life::Alive), &others[0]);
        asked.ledger.stops.push(crate::ledger::Stop { id: others[0].id.clone(), why: crate::ledger::StopReason::Superseded });
        assert_eq!(asked.enough(Some(&others[1].id)), LISTED);
    }
}
