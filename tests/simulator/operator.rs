//! One who breaks locks, in a fifth of all worlds: it picks a claim that holds or waits, asks it to end, and looks on until it
//! is gone. It draws from dice of its own.

use fastrand::Rng;
use vaultlock::ledger::breaking::Break;
use vaultlock::ledger::{Breaker, Id};
use vaultlock::session::Breaking;
use vaultlock::session::breaking::{End, News, Step};
use vaultlock::session::words::{Answer, Request};
use vaultlock::store;
use vaultlock::time::{Tick, Wall};

use crate::event::{Event, Operate};
use crate::host::{MS, SECOND, Time, nanos};
use crate::judge::Wrong;
use crate::outside::Outside;
use crate::world::World;

pub struct Operator {
    pub id: Id,
    rng: Rng,
    at_work: Option<AtWork>,
}

struct AtWork {
    breaking: Breaking,
    lock: usize,
    target: Id,
    /// Since when the request has stood.
    asked: Option<Time>,
}

impl Operator {
    pub fn begin(seed: u64, out: &mut Outside) -> Operator {
        let mut rng = Rng::with_seed(seed ^ 0x6f70_6572);
        if out.scenario.broken {
            let first = rng.u64(0..nanos(out.scenario.max_ttl));
            out.after(first, Event::Operate(Operate::Break));
        }
        Operator { id: Id::from_random([0xff; 16]), rng, at_work: None }
    }

    pub fn is_busy(&self) -> bool {
        self.at_work.is_some()
    }
}

impl World {
    pub fn operate(&mut self, what: Operate) {
        match what {
            Operate::Break => self.choose_and_break(),
            Operate::Turn => self.go_on(),
            Operate::Arrive(request) => self.serve_operator(request),
            Operate::Answer(answer) => {
                let now = Tick(self.out.now);
                let answer = answer.map_err(store::Error::Unreachable);
                if let Some(work) = &mut self.operator.at_work {
                    work.breaking.answer(now, Wall(0), answer);
                }
                self.go_on();
            }
        }
    }

    fn choose_and_break(&mut self) {
        let lock = self.operator.rng.usize(0..self.out.scenario.locks);
        let view = self.server.look(lock, &self.out);
        let holders = view.ledger.holders.iter().map(|holder| holder.id.clone());
        let all: Vec<Id> = holders.chain(view.waiters().map(|listed| listed.ticket.id.clone())).collect();
        if self.out.now >= self.span {
            return;
        }
        let Some(target) = self.operator.rng.choice(&all).cloned() else { return self.look_again_later() };
        let if_version = (self.operator.rng.u32(0..4) == 0)
            .then(|| view.ledger.version - view.ledger.version.min(self.operator.rng.u64(0..2)));
        let order = Break {
            session: target.session(),
            breaker: Breaker { by: "operator".to_owned(), reason: "it is in the way".to_owned() },
            if_version,
            force: false,
        };
        self.out.note(98, "the operator breaks", if_version.unwrap_or(0));
        // From now on it may give up its place, however calm its host is.
        if let Some(caller) = self.callers.iter_mut().find(|caller| caller.is_of(&target)) {
            caller.broken = true;
        }
        self.operator.at_work = Some(AtWork { breaking: Breaking::new(order), lock, target, asked: None });
        self.go_on();
    }

    fn look_again_later(&mut self) {
        let pause = self.operator.rng.u64(0..nanos(self.out.scenario.max_ttl) * 2);
        self.out.after(pause, Event::Operate(Operate::Break));
    }

    fn go_on(&mut self) {
        loop {
            let now = self.out.now;
            let Some(work) = &mut self.operator.at_work else { return };
            match work.breaking.next(Tick(now)) {
                Step::Ask(request) => {
                    let way = self.operator.rng.u64(MS / 5..20 * MS);
                    return self.out.after(way, Event::Operate(Operate::Arrive(request)));
                }
                Step::Wait(until) => return self.out.queue.put(until.0, Event::Operate(Operate::Turn)),
                Step::Tell(News::Asked(_)) => work.asked = Some(now),
                Step::Tell(_) => {}
                Step::End(end) => {
                    self.judge_end(&end);
                    self.operator.at_work = None;
                    return self.look_again_later();
                }
            }
        }
    }

    fn serve_operator(&mut self, request: Request) {
        let Some(work) = &self.operator.at_work else { return };
        let lock = work.lock;
        let silent = self.server.frozen || !self.server.up || self.server.deaf == Some(lock);
        if silent || self.operator.rng.u32(0..50) == 0 {
            return self.answer_operator(SECOND, Err("no answer in time".to_owned()));
        }
        let id = self.operator.id.clone();
        let served = self.server.serve_outsider(lock, &id, request, &mut self.out);
        if let Some(deed) = &served.deed {
            self.judge_deed(lock, &id, deed);
        }
        self.wake(served.woken);
        self.judge_patience();
        let answer = served.answer.map_err(|()| "no answer".to_owned());
        if self.operator.rng.u32(0..30) == 0 {
            return self.answer_operator(SECOND, Err("the answer was lost".to_owned()));
        }
        let way = self.operator.rng.u64(MS / 5..20 * MS);
        self.answer_operator(way, answer);
    }

    fn answer_operator(&mut self, way: Time, answer: Result<Answer, String>) {
        self.out.after(way, Event::Operate(Operate::Answer(Box::new(answer))));
    }

    /// A holder that nothing disturbed hears of the request at its next beat, and its job has a ladder and no more.
    fn judge_patience(&mut self) {
        let Some(AtWork { lock, target, asked: Some(asked), .. }) = &self.operator.at_work else { return };
        let Some(caller) = self.callers.iter().find(|caller| caller.is_of(target)) else { return };
        let latest = asked + nanos(caller.timing.beat + caller.timing.ttl) * 101 / 100 + 4 * SECOND;
        let calm = asked.saturating_sub(nanos(caller.timing.ttl));
        let undisturbed = caller.disturbed < calm && self.server.disturbed < calm && !self.out.judge.memory_was_lost();
        let (lock, target) = (*lock, target.clone());
        if undisturbed && self.out.now > latest && self.server.has(lock, &target, &self.out) {
            let what = format!(
                "{target:?}, whom nothing disturbed, is still there {} ms after it was broken",
                (self.out.now - latest) / MS
            );
            self.out.judge.accuse(self.out.now, Wrong::Break, what);
        }
    }

    fn judge_end(&mut self, end: &End) {
        let Some(AtWork { lock, target, .. }) = &self.operator.at_work else { return };
        let (lock, target) = (*lock, target.clone());
        self.out.note(98, "the operator is done", 0);
        if let End::Failed(store::Error::Unreachable(_)) | End::Changed(_) | End::Crowded | End::Kept = end {
            return;
        }
        if !self.out.judge.memory_was_lost() && self.server.has(lock, &target, &self.out) {
            let what = format!("{target:?} is there, though the operator ended with {end:?}");
            self.out.judge.accuse(self.out.now, Wrong::Break, what);
        }
    }
}
