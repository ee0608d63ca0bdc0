//! The simulated server: the memory store's engine on a clock of its own, that stops, restarts, forgets and fails over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vaultlock::ledger::{Commit, Id, Ledger, Memory, View, view::LISTED};
use vaultlock::name::Name;
use vaultlock::session::words::{Answer, Request};
use vaultlock::store::memory::{Engine, Moment};
use vaultlock::store::{Beat, Outcome};
use vaultlock::timing;

use crate::event::Message;
use crate::host::{MS, SECOND, Time, nanos};
use crate::judge::{Judge, Vacancy, Wrong};
use crate::outside::Outside;
use crate::rules::{Deed, Rights, together};

/// How far a replica may lag behind, at the most.
const LAG: Time = 5 * SECOND / 2;
/// Up for so long, a server is believed to have forgotten nobody.
const PROVEN: Duration = Duration::from_secs(3600);
/// How often the replica's state is kept.
pub const REPLICATE: Time = SECOND / 2;

pub struct Server {
    pub engine: Engine,
    names: Vec<Name>,
    pub up: bool,
    pub frozen: bool,
    /// It answers nothing that is asked of this lock.
    pub deaf: Option<usize>,
    pub waiting: Vec<Message>,
    replicas: VecDeque<(Time, Engine)>,
    /// When it last was not what it should be.
    pub disturbed: Time,
    /// When each ticket's last beat was served, in true time.
    served: BTreeMap<Id, Time>,
    /// When each lock's ledger was last changed.
    changed: Vec<Time>,
    /// When one without a ticket last did: a new version starts the vacancy anew.
    operated: Vec<Time>,
    /// Those asked to end who were gone by then.
    gone: Vec<Vec<Id>>,
    /// Its present life, and by how many milliseconds its wall clock was wrong when it began.
    life: (String, i64),
}

impl Server {
    pub fn new(out: &mut Outside) -> Server {
        let proven = if out.rng.bool() { PROVEN } else { Duration::ZERO };
        let engine = Engine::new(out.scenario.max_ttl, out.scenario.liveness, proven, out.server_clock.tick(0));
        let names = (0..out.scenario.locks).map(|lock| Name::new(&lock_name(lock)).expect("a good name")).collect();
        Server {
            engine,
            names,
            up: true,
            frozen: false,
            deaf: None,
            waiting: Vec::new(),
            replicas: VecDeque::new(),
            disturbed: 0,
            served: BTreeMap::new(),
            changed: vec![0; out.scenario.locks],
            operated: vec![0; out.scenario.locks],
            gone: vec![Vec::new(); out.scenario.locks],
            life: (String::new(), 0),
        }
    }

    /// Carries a request out; says whom it woke, and who entered after what vacancy.
    pub fn serve(&mut self, message: Message, out: &mut Outside) -> Served {
        let (lock, id) = (self.names[message.lock].clone(), message.ticket.id.clone());
        let at = Moment { tick: out.server_clock.tick(out.now), wall: out.server_clock.wall(out.now) };
        let number = message.lock;
        let view = self.engine.view(&lock, None, at);
        if view.epoch != self.life.0 {
            self.life = (view.epoch, out.server_clock.wrong_by());
        }
        if matches!(view.memory, Memory::Unsure { .. }) {
            // Who waits for its own certainty learns of another's at a beat.
            self.disturbed = self.disturbed.max(out.now + nanos(out.scenario.max_ttl / timing::BEATS_PER_TTL));
        }
        let mut served = Served { answer: Err(()), woken: Vec::new(), entered: None, deed: None };
        let there = self.engine.renewed(&lock, &id).is_some();
        served.answer = Ok(match message.request {
            Request::Take => {
                self.served.entry(id).or_insert(out.now);
                Answer::View(self.engine.take(&lock, &message.ticket, at))
            }
            Request::Enter(straight) => {
                self.served.entry(id.clone()).or_insert(out.now);
                let before = self.engine.list(&lock, None, LISTED, at);
                let view = self.engine.enter(&lock, &message.ticket, &straight, at);
                if view.ledger != before.ledger {
                    served.entered = self.judge_commit((message.caller, number), &id, &before, &view.ledger, false, out);
                }
                Answer::View(view)
            }
            Request::Beat(with) => {
                self.served.insert(id.clone(), out.now);
                let beat = self.engine.beat(&lock, &id, &with, at);
                if !there && beat != Beat::Gone {
                    out.judge.accuse(out.now, Wrong::SelfService, format!("{id:?} is back, whose ticket was gone"));
                }
                Answer::Beat(beat)
            }
            Request::View => Answer::View(self.engine.view(&lock, Some(&id), at)),
            Request::Survey(other) => Answer::Survey(Some(self.engine.view(&other, None, at))),
            Request::Commit(commit) => {
                let outcome = self.carry_out((message.caller, number), &id, &commit, &mut served, out);
                Answer::Outcome(outcome)
            }
        });
        if let Ok(Answer::View(view) | Answer::Outcome(Outcome::Done(Some(view)) | Outcome::Conflict(view))) = &mut served.answer
        {
            self.count_uptime(view, out);
        }
        served
    }

    /// Carries out what one asks who has no ticket.
    pub fn serve_outsider(&mut self, lock: usize, id: &Id, request: Request, out: &mut Outside) -> Served {
        let mut served = Served { answer: Err(()), woken: Vec::new(), entered: None, deed: None };
        served.answer = Ok(match request {
            Request::View => Answer::View(self.look(lock, out)),
            Request::Commit(commit) => {
                let outcome = self.carry_out((usize::MAX, lock), id, &commit, &mut served, out);
                self.operated[lock] = out.now;
                Answer::Outcome(outcome)
            }
            other => unreachable!("{other:?} is for who has a ticket"),
        });
        served
    }

    /// The lock as one sees it who has no ticket.
    pub fn look(&mut self, lock: usize, out: &Outside) -> View {
        let at = Moment { tick: out.server_clock.tick(out.now), wall: out.server_clock.wall(out.now) };
        self.engine.view(&self.names[lock], None, at)
    }

    /// Whether the lock still has this ticket or this holder.
    pub fn has(&mut self, lock: usize, id: &Id, out: &Outside) -> bool {
        let view = self.look(lock, out);
        self.engine.renewed(&self.names[lock], id).is_some() || view.ledger.holder(id).is_some()
    }

    fn carry_out(
        &mut self,
        (caller, number): (usize, usize),
        id: &Id,
        commit: &Commit,
        served: &mut Served,
        out: &mut Outside,
    ) -> Outcome {
        let lock = self.names[number].clone();
        let at = Moment { tick: out.server_clock.tick(out.now), wall: out.server_clock.wall(out.now) };
        let before = self.engine.list(&lock, Some(id), LISTED, at);
        let renewed: Vec<_> = commit.drop.iter().map(|id| self.engine.renewed(&lock, id)).collect();
        let (outcome, woken) = self.engine.commit(&lock, id, commit, at);
        served.woken = woken;
        if let (Outcome::Done(_), Some(after)) = (&outcome, &commit.ledger) {
            let unsure = commit.settle.is_some();
            served.deed = out.scenario.mix.is_some().then(|| self.deed((number, &lock), &before, after, out.now));
            served.entered = self.judge_commit((caller, number), id, &before, after, unsure, out);
        }
        if matches!(outcome, Outcome::Done(_)) {
            for (dropped, renewed) in commit.drop.iter().zip(renewed).filter(|(dropped, _)| *dropped != id) {
                let quiet = renewed.map_or(Duration::MAX, |renewed| at.tick.since(renewed));
                self.judge_sweep(dropped, quiet, &before, out);
            }
        }
        outcome
    }

    /// A server says how long it has been up by its wall clock, set since or not.
    fn count_uptime(&self, view: &mut View, out: &Outside) {
        let Memory::Unsure { quiet, .. } = &mut view.memory else { return };
        let step = out.server_clock.wrong_by() - self.life.1;
        let ahead = Duration::from_millis(step.unsigned_abs());
        *quiet = if step > 0 { *quiet + ahead } else { quiet.saturating_sub(ahead) };
    }

    /// Nobody is swept before its ttl has passed since its last beat. A ticket may look younger than its claim: the late twin
    /// of the request for it makes a ghost in a store that was flushed since.
    fn judge_sweep(&self, swept: &Id, quiet: Duration, before: &View, out: &mut Outside) {
        let (Some(listed), Some(heard)) = (before.ticket(swept), self.served.get(swept)) else { return };
        let quiet = quiet.max(Duration::from_nanos(out.now - heard));
        if quiet < listed.ticket.ttl() {
            let what = format!("{} is swept {quiet:?} after its last beat", listed.ticket.who.label);
            out.judge.accuse(out.now, Wrong::SelfService, what);
        }
    }

    fn judge_commit(
        &mut self,
        (caller, lock): (usize, usize),
        author: &Id,
        before: &View,
        after: &Ledger,
        unsure: bool,
        out: &mut Outside,
    ) -> Option<Entered> {
        let was: &Ledger = &before.ledger;
        let removed: Vec<_> = was.holders.iter().filter(|holder| after.holder(&holder.id).is_none()).collect();
        let added: Vec<_> = after.holders.iter().filter(|holder| was.holder(&holder.id).is_none()).collect();
        check_self_service(&mut out.judge, out.now, author, was, after);
        let queue = || before.waiters().map(|listed| listed.ticket.id.clone()).filter(|id| id != author).collect::<Vec<_>>();
        if added.is_empty() {
            if removed.iter().any(|holder| holder.id == *author) {
                out.judge.vacated(out.now, lock, caller, queue());
            }
            return None;
        }
        out.judge.granted(out.now, lock, after.fence);
        if out.scenario.several() {
            return None;
        }
        let operated = self.operated[lock];
        let vacancy = out.judge.entered(lock).filter(|_| !unsure && removed.is_empty());
        let vacancy = vacancy.map(|vacancy| Vacancy { since: vacancy.since.max(operated), ..vacancy });
        let lapsed = removed.iter().map(|holder| {
            let beaten = self.served.get(&holder.id).copied().unwrap_or(out.now);
            (beaten, operated.max(beaten + nanos(timing::lapse(holder.ttl())) * 101 / 100))
        });
        let lapsed = lapsed.max().filter(|_| !unsure);
        let ahead = before.waiters().map(|listed| listed.ticket.id.clone()).take_while(|id| id != author).collect();
        Some(Entered { vacancy, lapsed, ahead, undisturbed_since: self.disturbed })
    }

    fn deed(&mut self, (lock, name): (usize, &Name), before: &View, after: &Ledger, now: Time) -> Deed {
        let asked = before.ledger.stops.iter().chain(&after.stops).map(|stop| stop.id.clone());
        let (there, gone): (Vec<Id>, Vec<Id>) = asked.partition(|id| self.engine.renewed(name, id).is_some());
        Deed {
            gone_before: std::mem::replace(&mut self.gone[lock], gone),
            before: before.clone(),
            after: after.clone(),
            there,
            version_since: std::mem::replace(&mut self.changed[lock], now),
            served: before.tickets.iter().filter_map(|l| Some((l.ticket.id.clone(), *self.served.get(&l.ticket.id)?))).collect(),
            server_disturbed: self.disturbed,
        }
    }

    pub fn is_deaf_to(&self, message: &Message) -> bool {
        let asked = |lock: usize| match &message.request {
            Request::Survey(name) => *name == self.names[lock],
            _ => message.lock == lock,
        };
        self.deaf.is_some_and(asked)
    }

    /// Whether this ticket stands in the lock's queue.
    pub fn waits(&mut self, lock: usize, id: &Id, out: &Outside) -> bool {
        let at = Moment { tick: out.server_clock.tick(out.now), wall: out.server_clock.wall(out.now) };
        let view = self.engine.view(&self.names[lock], Some(id), at);
        view.living(id).is_some() && view.ledger.holder(id).is_none()
    }

    /// Who holds this lock alone.
    pub fn holder(&self, lock: usize) -> Option<Id> {
        Some(self.engine.ledger(&self.names[lock])?.holders.first()?.id.clone())
    }

    pub fn replicate(&mut self, now: Time) {
        self.replicas.push_back((now, self.engine.clone()));
        while self.replicas.front().is_some_and(|(at, _)| at + LAG < now) {
            self.replicas.pop_front();
        }
    }

    /// A replica takes over, and what the old one had not sent it is lost.
    pub fn fail_over(&mut self, out: &mut Outside) {
        if self.replicas.is_empty() {
            return;
        }
        let (_, mut replica) = self.replicas.remove(out.rng.usize(0..self.replicas.len())).expect("it is there");
        replica.take_over(&self.engine, out.server_clock.tick(out.now));
        self.engine = replica;
        self.replicas.clear();
    }
}

pub struct Served {
    pub answer: Result<Answer, ()>,
    pub woken: Vec<Id>,
    pub entered: Option<Entered>,
    /// In a mixed world.
    pub deed: Option<Deed>,
}

/// Somebody has entered: after a lock was given back, or after holders lapsed (their last beats, and when by all clocks
/// that was to be known), with these before it in the queue.
pub struct Entered {
    pub vacancy: Option<Vacancy>,
    pub lapsed: Option<(Time, Time)>,
    pub ahead: Vec<Id>,
    pub undisturbed_since: Time,
}

fn check_self_service(judge: &mut Judge, now: Time, author: &Id, was: &Ledger, after: &Ledger) {
    let mut wrong = Vec::new();
    if after.holders.iter().any(|holder| was.holder(&holder.id).is_none() && holder.id != *author) {
        wrong.push("it adds another than its author");
    }
    if after.version != was.version + 1 {
        wrong.push("its version is not the next one");
    }
    let entered = after.holders.iter().any(|holder| was.holder(&holder.id).is_none());
    if entered && !together(&after.holders.iter().map(Rights::from).collect::<Vec<_>>()) {
        wrong.push("it names holders that may not hold the lock together");
    }
    for what in wrong {
        judge.accuse(now, Wrong::SelfService, format!("a commit of {author:?}: {what}"));
    }
}

pub fn lock_name(lock: usize) -> String {
    format!("lock-{lock}")
}

/// What an undisturbed waiter may take beyond its beats and its rank.
pub const SLACK: Time = 3 * SECOND / 2 + 50 * MS;
