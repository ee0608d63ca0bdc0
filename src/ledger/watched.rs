//! What one observer has seen with its own eyes and for how long: the only way to call a lease dead on a store whose
//! clock can jump. After the DynamoDB lock client and Kubernetes' leader election, which store no times either.

use std::collections::BTreeMap;
use std::time::Duration;

use super::policy::Rate;
use super::rest::Rest;
use super::room::obstacle;
use super::{Holder, Id, Life, Memory, Ticket, View, rate};
use crate::mutant::{self, Mutant};
use crate::time::{Tick, Wall};
use crate::timing;

/// The server's own clock is believed, about a quiet lease or how long it has been up, only with this much to spare: a clock
/// that is wrong by five minutes either way steps no further.
const CLOCK_STEP: Duration = Duration::from_secs(600);

/// Observations of one lock, on one clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    beats: BTreeMap<Id, Beat>,
    room: Option<Room>,
    unsure: Option<(String, Tick)>,
    /// What the store's clock showed, and when I saw that.
    shown: Option<(Wall, Tick)>,
    /// The last grant that a rate counts, and when I first saw it.
    granted: Option<(Wall, Tick)>,
    /// When I first saw each rest.
    rests: BTreeMap<Id, Tick>,
}

/// A claim as it was first seen in this state. `count` is `None` for a holder without a ticket.
#[derive(Clone, Debug, PartialEq)]
struct Beat {
    count: Option<u64>,
    epoch: String,
    since: Tick,
}

/// A vacancy that fits me.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Room {
    version: u64,
    since: Tick,
    /// Whether I have woken those before me for it.
    roused: bool,
}

impl Watched {
    /// Takes note of a view; `me` is who looks.
    pub fn look(&mut self, view: &View, me: &Ticket, now: Tick) {
        let mut seen: Vec<(Id, Option<u64>)> = Vec::new();
        for listed in &view.tickets {
            if let Life::Beat { count, .. } = listed.life {
                seen.push((listed.ticket.id.clone(), Some(count)));
            }
        }
        for holder in &view.ledger.holders {
            if view.ticket(&holder.id).is_none() {
                seen.push((holder.id.clone(), None));
            }
        }
        self.beats.retain(|id, _| seen.iter().any(|(known, _)| known == id));
        for (id, count) in seen {
            self.note(id, count, &view.epoch, now);
        }
        self.unsure = match (&view.memory, self.unsure.take()) {
            (Memory::Intact, _) => None,
            (Memory::Unsure { mark, .. }, Some((known, since))) if *mark == known => Some((known, since)),
            (Memory::Unsure { mark, .. }, _) => Some((mark.clone(), now)),
        };
        self.shown = self.shown.filter(|(wall, _)| *wall == view.now).or(Some((view.now, now)));
        let last = view.ledger.rated.as_ref().and_then(|rated| rated.granted.last().copied());
        self.granted = last.map(|last| self.granted.filter(|(known, _)| *known == last).unwrap_or((last, now)));
        let resting = view.ledger.rests.iter().map(|rest| &rest.holder.id);
        self.rests = resting.map(|id| (id.clone(), self.rests.get(id).copied().unwrap_or(now))).collect();
        self.look_for_room(view, me, now);
    }

    /// Takes note of one beat heard between two views.
    pub fn hear(&mut self, id: &Id, count: u64, epoch: &str, now: Tick) {
        if self.beats.contains_key(id) {
            self.note(id.clone(), Some(count), epoch, now);
        }
    }

    fn note(&mut self, id: Id, count: Option<u64>, epoch: &str, now: Tick) {
        let fresh = Beat { count, epoch: epoch.to_owned(), since: now };
        let known = self.beats.entry(id).or_insert_with(|| fresh.clone());
        if known.count != count || known.epoch != epoch {
            *known = fresh;
        }
    }

    /// A new version starts the vacancy anew: somebody acted, so nobody is to be passed yet.
    fn look_for_room(&mut self, view: &View, me: &Ticket, now: Tick) {
        let holders = view.ledger.holders.iter().filter(|holder| !self.lapsed(view, holder, now));
        let rests = self.rests(view, now);
        let living = present(&holders.collect::<Vec<_>>(), &rests);
        let is_due = self.due_at(view, me).is_none_or(|(at, _)| at <= now);
        self.room = match (obstacle(&living, me).is_none() && is_due, self.room) {
            (false, _) => None,
            (true, Some(room)) if room.version == view.ledger.version => Some(room),
            (true, _) => Some(Room { version: view.ledger.version, since: now, roused: false }),
        };
    }

    /// What the store's clock shows by now, as far as I can tell.
    pub fn store_now(&self, view: &View, now: Tick) -> Wall {
        let later = self.shown.map_or(Duration::ZERO, |(_, seen)| now.since(seen));
        Wall(view.now.0.saturating_add(later.as_millis() as u64))
    }

    /// When the rates let a claim in again, and which of them lets it in last; `None` if they do. The store's clock counts, but
    /// no grant for longer than its rate's time since I saw it: that clock may have been set back.
    pub fn due_at(&self, view: &View, ticket: &Ticket) -> Option<(Tick, Rate)> {
        let (due, rate) = rate::due(&view.ledger, ticket).filter(|_| !mutant::on(Mutant::NoRate))?;
        let (_, shown) = self.shown?;
        let longest = self.granted.map_or(Tick::NEVER, |(_, seen)| seen + rate.per());
        Some(((shown + due.since(view.now)).min(longest), rate))
    }

    /// Who keeps its room for a time yet, gone or not, and until when. The store's clock counts, but for nobody longer than its
    /// rest since I saw it: that clock may have been set back.
    pub fn rests<'a>(&self, view: &'a View, now: Tick) -> Vec<(Tick, &'a Holder)> {
        let until = |rest: &Rest| {
            let due = self.shown.map_or(now, |(_, shown)| shown + rest.until().since(view.now));
            due.min(self.rests.get(&rest.holder.id).map_or(Tick::NEVER, |seen| *seen + rest.span()))
        };
        let rests = view.ledger.rests.iter().filter(|_| !mutant::on(Mutant::NoRest));
        rests.map(|rest| (until(rest), &rest.holder)).filter(|(until, _)| *until > now).collect()
    }

    /// Since when there has been room for me at this version.
    pub fn room_since(&self) -> Option<Tick> {
        self.room.map(|room| room.since)
    }

    /// Whether I have woken those before me for this room.
    pub fn has_roused(&self) -> bool {
        self.room.is_some_and(|room| room.roused)
    }

    /// Those before me are being woken for this room, once.
    pub fn rouse(&mut self) {
        if let Some(room) = &mut self.room {
            room.roused = true;
        }
    }

    /// Is this holder dead beyond doubt? By its own ttl, never by mine, and never by more than the store allows.
    pub fn lapsed(&self, view: &View, holder: &Holder, now: Tick) -> bool {
        self.lapses_at(view, &holder.id, holder.ttl(), now).is_some_and(|at| at <= now)
    }

    /// Is this waiter dead beyond doubt?
    pub fn waiter_lapsed(&self, view: &View, waiter: &Ticket, now: Tick) -> bool {
        self.lapses_at(view, &waiter.id, waiter.ttl(), now).is_some_and(|at| at <= now)
    }

    /// When a claim will be dead if it stays as it is; `None` if it lives for certain.
    pub fn lapses_at(&self, view: &View, id: &Id, ttl: Duration, now: Tick) -> Option<Tick> {
        let span = timing::lapse(ttl.min(view.max_ttl));
        let watched = self.beats.get(id).map(|beat| beat.since + span);
        match view.ticket(id).map(|listed| listed.life) {
            Some(Life::Alive) => None,
            Some(Life::Dead) => Some(Tick(0)),
            Some(Life::Beat { quiet: Some(quiet), .. }) if quiet >= span + clock_step() => Some(Tick(0)),
            Some(Life::Beat { .. }) | None => watched.or(Some(now + span)),
        }
    }

    /// When the unsure memory that I see will have been waited out; `None` if nothing is unsure.
    pub fn sure_at(&self, view: &View, now: Tick) -> Option<Tick> {
        let Memory::Unsure { mark, quiet } = &view.memory else { return None };
        if mutant::on(Mutant::NoQuarantine) {
            return None;
        }
        let span = timing::lapse(view.max_ttl);
        if *quiet >= span + clock_step() {
            return Some(Tick(0));
        }
        let since = self.unsure.as_ref().filter(|(known, _)| known == mark).map_or(now, |(_, since)| *since);
        Some(since + span)
    }

    /// The observations as plain rows, for a note that the next process on this host reads.
    pub fn rows(&self) -> Vec<Row> {
        let beats = self.beats.iter().map(|(id, beat)| Row::Beat {
            id: id.clone(),
            count: beat.count,
            epoch: beat.epoch.clone(),
            since: beat.since.0,
        });
        let room = self.room.iter().map(|room| Row::Room { version: room.version, since: room.since.0 });
        let unsure = self.unsure.iter().map(|(mark, since)| Row::Unsure { mark: mark.clone(), since: since.0 });
        beats.chain(room).chain(unsure).collect()
    }

    /// What an earlier process on this host saw, in this boot and not after `now`.
    pub fn from_rows(rows: Vec<Row>, now: Tick) -> Watched {
        let mut watched = Watched::default();
        for row in rows {
            match row {
                Row::Beat { id, count, epoch, since } if since <= now.0 => {
                    watched.beats.insert(id, Beat { count, epoch, since: Tick(since) });
                }
                Row::Room { version, since } if since <= now.0 => {
                    watched.room = Some(Room { version, since: Tick(since), roused: false });
                }
                Row::Unsure { mark, since } if since <= now.0 => watched.unsure = Some((mark, Tick(since))),
                _ => {}
            }
        }
        watched
    }
}

/// Those that live, and those that are gone and rest.
pub(super) fn present<'a>(living: &[&'a Holder], rests: &[(Tick, &'a Holder)]) -> Vec<&'a Holder> {
    let lives = |rest: &Holder| living.iter().any(|holder| holder.id == rest.id);
    let gone = rests.iter().map(|(_, holder)| *holder).filter(|holder| !lives(holder));
    living.iter().copied().chain(gone).collect()
}

fn clock_step() -> Duration {
    if mutant::on(Mutant::ServerClock) { Duration::ZERO } else { CLOCK_STEP }
}

/// One observation, as it is written down.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Row {
    Beat { id: Id, count: Option<u64>, epoch: String, since: u64 },
    Room { version: u64, since: u64 },
    Unsure { mark: String, since: u64 },
}
