//! What the rules of a mixed world ask, said once more and apart from the ledger's own words: who may be beside whom, who goes
//! first, who may ask whom to stop, and how often anybody is let in.

use vaultlock::ledger::policy::Supersede;
use vaultlock::ledger::{Holder, Id, Ledger, Listed, Mode, Stop, StopReason, Ticket, View};

use crate::host::{MS, SECOND, Time, nanos};
use crate::judge::Wrong;
use crate::world::World;

/// What one claim counts on as to those beside it.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    pub mode: Mode,
    pub slots: u32,
}

/// Whether all of these may hold the lock, or run, at once.
pub fn together(rights: &[Rights]) -> bool {
    let readers = rights.iter().filter(|one| one.mode == Mode::Shared).count();
    readers == rights.len() || (readers == 0 && rights.iter().all(|one| rights.len() <= one.slots as usize))
}

impl From<&Ticket> for Rights {
    fn from(ticket: &Ticket) -> Rights {
        Rights { mode: ticket.mode, slots: ticket.slots }
    }
}

impl From<&Holder> for Rights {
    fn from(holder: &Holder) -> Rights {
        Rights { mode: holder.mode, slots: holder.slots }
    }
}

/// A commit as the server carried it out.
pub struct Deed {
    pub before: View,
    pub after: Ledger,
    /// Those asked to end, before or after, who have a ticket after it.
    pub there: Vec<Id>,
    /// Those asked to end who were gone when the ledger was last changed before.
    pub gone_before: Vec<Id>,
    /// When that was.
    pub version_since: Time,
    /// When each ticket's last beat was served.
    pub served: Vec<(Id, Time)>,
    pub server_disturbed: Time,
}

impl Deed {
    fn entered(&self) -> Option<&Holder> {
        self.after.holders.iter().find(|holder| self.before.ledger.holder(&holder.id).is_none())
    }

    /// The holders whom the one that entered found and left there.
    fn beside(&self, entered: &Holder) -> Vec<&Holder> {
        self.after.holders.iter().filter(|holder| holder.id != entered.id).collect()
    }

    fn lived(&self, listed: &Listed, now: Time) -> bool {
        let beat = self.served.iter().find(|(id, _)| *id == listed.ticket.id);
        beat.is_some_and(|(_, at)| now < at + nanos(listed.ticket.ttl()))
    }
}

fn fits(holders: &[&Holder], ticket: &Ticket) -> bool {
    let all: Vec<Rights> = holders.iter().map(|holder| Rights::from(*holder)).chain([ticket.into()]).collect();
    together(&all)
}

/// The highest priority for which slots are kept that one of this priority would take, beside these.
fn kept_for(holders: &[&Holder], ticket: &Ticket) -> Option<i32> {
    let slots = holders.iter().map(|holder| holder.slots).chain([ticket.slots]).min().unwrap_or(1) as usize;
    let keeps = holders.iter().filter_map(|holder| holder.keep).chain(ticket.policy.keep);
    let takes = |priority: i32, kept: u32| {
        let common = holders.iter().filter(|holder| holder.priority < priority).count() + 1;
        ticket.mode == Mode::Exclusive && ticket.priority < priority && common + kept as usize > slots
    };
    keeps.filter(|keep| takes(keep.priority, keep.slots)).map(|keep| keep.priority).max()
}

impl World {
    /// Judges a commit by the rules of a mixed world.
    pub fn judge_deed(&mut self, lock: usize, author: &Id, deed: &Deed) {
        let mut wrong = self.wrong_stops(author, deed);
        let entered = deed.entered().map(|entered| (entered, deed.before.ticket(&entered.id).cloned()));
        if let Some((entered, Some(mine))) = entered {
            let beside = deed.beside(entered);
            if let Some(priority) = kept_for(&beside, &mine.ticket) {
                wrong.push((Wrong::Overlap, format!("it takes a slot that is kept for priority {priority}")));
            }
            wrong.extend(self.wrong_turn(deed, &mine, &beside));
            wrong.extend(self.wrong_rate(lock, deed));
            wrong.extend(self.wrong_rest(lock, deed, &mine.ticket));
        } else if let Some((entered, None)) = entered {
            wrong.push((Wrong::SelfService, format!("{:?} holds the lock without a ticket", entered.id)));
        } else if self.callers.iter().any(|caller| caller.is_of(author) && caller.launched == 0) {
            // It may give back what it has started nothing with.
            self.rests[lock].retain(|(_, holder)| holder.id != *author);
        }
        for (kind, what) in wrong {
            self.out.judge.accuse(self.out.now, kind, format!("a commit of {author:?}: {what}"));
        }
    }

    /// Whom may one that enters go before?
    fn wrong_turn(&self, deed: &Deed, mine: &Listed, beside: &[&Holder]) -> Option<(Wrong, String)> {
        let now = self.out.now;
        let settled = now.saturating_sub(30 * SECOND);
        if deed.server_disturbed >= settled || self.out.judge.memory_was_lost() {
            return None;
        }
        let before = deed.before.waiters().filter(|other| (other.order, other.seq) < (mine.order, mine.seq));
        // One that came later may have been overlooked: it stands before mine only by its priority.
        let known: Vec<&Listed> = before.filter(|other| other.seq < mine.seq && deed.lived(other, now)).collect();
        let rated = deed.before.ledger.rated.is_some() || self.out.scenario.mix.as_ref().is_some_and(|mix| mix.rate.is_some());
        for other in &known {
            let name = &other.ticket.who.label;
            if !fits(beside, &other.ticket) {
                return Some((Wrong::Order, format!("it goes in before {name}, that waits for those who are in to leave")));
            }
            let kept = kept_for(beside, &other.ticket);
            if kept.is_some_and(|priority| mine.ticket.priority < priority) {
                return Some((Wrong::Order, format!("it goes in before {name}, that waits for a slot not kept for others")));
            }
            if kept.is_none() && !rated && now < deed.version_since + SECOND * 98 / 100 {
                return Some((Wrong::Order, format!("it goes in before {name}, without having waited for it")));
            }
        }
        let newer = deed.before.waiters().find(|newer| {
            let replaces = newer.ticket.policy.supersede.is_some() && newer.ticket.policy.group == mine.ticket.policy.group;
            let calm = self.callers.iter().any(|caller| {
                let heard = |joined: Time| joined + 2 * nanos(caller.timing.beat) + 2 * SECOND;
                let long_there = caller.joined(&newer.ticket.id).is_some_and(|joined| heard(joined) < now);
                caller.is_of(&newer.ticket.id) && caller.disturbed == 0 && caller.wake_lost == 0 && long_there
            });
            replaces && newer.seq > mine.seq && calm
        });
        newer.map(|newer| (Wrong::Order, format!("it goes in although {} has superseded it", newer.ticket.who.label)))
    }

    /// Requests to stop come from those who may, to those they may ask, and last as long as these.
    fn wrong_stops(&self, author: &Id, deed: &Deed) -> Vec<(Wrong, String)> {
        let (was, is) = (&deed.before.ledger.stops, &deed.after.stops);
        let mut wrong = Vec::new();
        let mut complain = |what: &str, stop: &Stop| wrong.push((Wrong::SelfService, format!("{what}: {stop:?}")));
        let there = |id: &Id| deed.there.contains(id);
        for stop in was.iter().filter(|stop| !is.contains(stop) && there(&stop.id)) {
            complain("it forgets a request whose target is there", stop);
        }
        // Its author has looked since the last commit: who was gone by then is not to be seen.
        let gone = |stop: &&Stop| deed.after.holder(&stop.id).is_none() && !there(&stop.id);
        let all_listed = deed.before.waiters().count() == deed.before.waiting;
        for stop in is.iter().filter(gone).filter(|stop| all_listed && deed.gone_before.contains(&stop.id)) {
            complain("it keeps a request whose target is gone", stop);
        }
        let fresh: Vec<&Stop> = is.iter().filter(|stop| !was.contains(stop)).collect();
        if self.operator.id == *author {
            for stop in fresh.iter().filter(|stop| !matches!(stop.why, StopReason::Broken(_)) || !there(&stop.id)) {
                wrong.push((Wrong::SelfService, format!("an operator breaks nobody by this: {stop:?}")));
            }
            return wrong;
        }
        let Some(asker) = deed.before.ticket(author) else { return wrong };
        let asked = |holder: &Holder| is.iter().any(|stop| stop.id == holder.id);
        let staying: Vec<&Holder> = deed.after.holders.iter().filter(|holder| !asked(holder)).collect();
        let has_room = |holders: &[&Holder]| fits(holders, &asker.ticket) && kept_for(holders, &asker.ticket).is_none();
        for stop in fresh {
            let holder = deed.after.holder(&stop.id);
            match (&stop.why, holder) {
                (StopReason::Preempted, Some(holder)) => {
                    if !asker.ticket.policy.preempt || holder.priority >= asker.ticket.priority {
                        complain("it may not preempt this one", stop);
                    }
                    if has_room(&[&staying[..], &[holder]].concat()) {
                        complain("it need not preempt this one", stop);
                    }
                }
                (StopReason::Superseded, holder) => {
                    let how = asker.ticket.policy.supersede;
                    let target = deed.before.ticket(&stop.id);
                    let older = target
                        .is_none_or(|target| target.seq < asker.seq && target.ticket.policy.group == asker.ticket.policy.group);
                    if !older || how.is_none() || (holder.is_some() && how != Some(Supersede::Running)) {
                        complain("it may not supersede this one", stop);
                    }
                }
                _ => complain("nobody asks for that here", stop),
            }
        }
        wrong
    }

    /// Nobody is let in beside one that has the lock kept, by true time.
    fn wrong_rest(&mut self, lock: usize, deed: &Deed, mine: &Ticket) -> Option<(Wrong, String)> {
        let (now, scenario) = (self.out.now, &self.out.scenario);
        let span = scenario.mix.as_ref()?.min_hold? * MS;
        let calm = scenario.late == 0 && !scenario.wild_clocks && !self.out.judge.memory_was_lost();
        let kept = &mut self.rests[lock];
        kept.retain(|(since, _)| now + 100 * MS < since + span * 98 / 100);
        let gone: Vec<&Holder> =
            kept.iter().map(|(_, holder)| holder).filter(|holder| deed.after.holder(&holder.id).is_none()).collect();
        let entered = deed.entered()?;
        let beside: Vec<&Holder> = deed.beside(entered).into_iter().chain(gone.iter().copied()).collect();
        let wrong = calm && !gone.is_empty() && !fits(&beside, mine);
        let what = wrong.then(|| (Wrong::Rest, format!("it is let in while the lock is kept by {} gone", gone.len())));
        if mine.policy.min_hold_ms.is_some() {
            // From when it asked to be let in, by the store's clock: a commit may be under way for long, and be carried out although
            // nobody waits for its answer any more.
            let under_way = nanos(deed.before.now.since(entered.since));
            kept.push((now.saturating_sub(under_way), entered.clone()));
        }
        what
    }

    /// At most so many grants in any span, by true time.
    fn wrong_rate(&mut self, lock: usize, deed: &Deed) -> Option<(Wrong, String)> {
        let now = self.out.now;
        let scenario = &self.out.scenario;
        let rate = scenario.mix.as_ref()?.rate?;
        let calm = scenario.late == 0 && !scenario.wild_clocks && !self.out.judge.memory_was_lost();
        let grants = &mut self.grants[lock];
        // What was granted while no rate was in force counts for none.
        if deed.after.rated.is_none() {
            grants.clear();
        } else {
            grants.push(now);
        }
        let per = rate.per_ms * MS * 98 / 100 - 100 * MS;
        let recent = grants.iter().filter(|at| now < **at + per).count();
        (calm && recent > rate.grants as usize)
            .then(|| (Wrong::Rate, format!("it is let in as number {recent} within {} ms", rate.per_ms)))
    }
}
