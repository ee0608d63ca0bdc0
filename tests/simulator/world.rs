//! One world: it draws a scenario from its seed, lets it run, puts everything right, and waits for the end.

use fastrand::Rng;
use vaultlock::ledger::{Holder, Id};
use vaultlock::session::words::Request;
use vaultlock::time::Wall;
use vaultlock::timing;

use crate::caller::Caller;
use crate::event::{Event, Message, Queue, ToWorker, What};
use crate::host::{Host, MS, SECOND, Time, nanos};
use crate::judge::{Judge, Wrong};
use crate::nest::Nest;
use crate::operator::Operator;
use crate::outside::{Outside, Trace};
use crate::scenario::Scenario;
use crate::server::{Entered, REPLICATE, SLACK, Server};

pub struct World {
    pub out: Outside,
    pub callers: Vec<Caller>,
    pub server: Server,
    pub operator: Operator,
    /// Faults and new callers come until then; all must have come to an end by `end`.
    pub span: Time,
    end: Time,
    /// In a mixed world, when each lock was granted since somebody had a rate.
    pub grants: Vec<Vec<Time>>,
    /// Who has each lock kept, and since when.
    pub rests: Vec<Vec<(Time, Holder)>>,
}

/// What came of a seed.
pub struct Outcome {
    pub seed: u64,
    pub wrong: Option<(Wrong, String)>,
    pub digest: u64,
    pub jobs: u64,
    pub faults: u64,
    pub rings: u64,
    pub excused: u64,
    pub awake_overlap: Time,
}

/// Runs the world of one seed; with `said` everything that happens is printed.
pub fn run(seed: u64, said: bool) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::draw(seed, &mut rng);
    if said {
        println!("seed {seed}: {scenario:?}");
    }
    let mut world = World::new(seed, rng, scenario, said);
    world.go();
    let judge = &world.out.judge;
    let first = judge.found.iter().min_by_key(|(at, wrong, _)| (*at, *wrong)).map(|(_, wrong, _)| *wrong);
    Outcome {
        seed,
        wrong: first.zip(judge.verdict()),
        digest: world.out.trace.digest(),
        jobs: judge.jobs,
        faults: judge.faults,
        rings: judge.rings,
        excused: judge.excused,
        awake_overlap: judge.awake_overlap,
    }
}

impl World {
    fn new(seed: u64, mut rng: Rng, scenario: Scenario, said: bool) -> World {
        let hosts = (0..scenario.hosts).map(|_| Host::draw(&mut rng, scenario.wild_clocks, scenario.locks)).collect();
        let span = nanos(scenario.span);
        let turns = (scenario.callers as u64 + 2) * if scenario.nested > 0 { 3 } else { 1 };
        let rate = scenario.mix.as_ref().and_then(|mix| mix.rate).map_or(0, |rate| nanos(rate.per()));
        let end = span + turns * (nanos(scenario.longest_job) + 20 * SECOND + rate) + 4 * nanos(timing::lapse(scenario.max_ttl));
        let judge = Judge::new(scenario.locks, scenario.several());
        let (queue, trace) = (Queue::default(), Trace::new(said));
        let server_clock = Host::draw(&mut rng, scenario.wild_clocks, 0);
        let mut out = Outside { now: 0, rng, queue, hosts, server_clock, judge, scenario, trace };
        let server = Server::new(&mut out);
        for caller in 0..out.scenario.callers {
            let host = caller % out.scenario.hosts;
            let late = out.span(0, 3 * SECOND);
            out.after(late, Event::Begin { host });
        }
        out.after(REPLICATE, Event::Replicate);
        let grants = vec![Vec::new(); out.scenario.locks];
        let rests = vec![Vec::new(); out.scenario.locks];
        let operator = Operator::begin(seed, &mut out);
        let mut world = World { out, callers: Vec::new(), server, operator, span, end, grants, rests };
        world.next_fault();
        world
    }

    fn go(&mut self) {
        while let Some((at, event)) = self.out.queue.next() {
            if at > self.end {
                break;
            }
            self.out.now = at;
            self.happen(event);
            if !self.out.judge.found.is_empty() {
                return;
            }
        }
        for caller in self.callers.iter().filter(|caller| !caller.gone) {
            let what =
                format!("caller {} is still there, {} s after the last fault", caller.number, (self.end - self.span) / SECOND);
            self.out.judge.accuse(self.end, Wrong::Stuck, what);
        }
        if self.operator.is_busy() {
            self.out.judge.accuse(self.end, Wrong::Stuck, "the operator still waits for the end of whom it broke".to_owned());
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin { host } => self.begin(host, Nest::default()),
            Event::Nest { outer, lock } => self.begin_inside(outer, lock),
            Event::To { caller, what } => self.meet(caller, what),
            Event::Arrive(message) => self.arrive(*message),
            Event::Operate(what) => self.operate(what),
            Event::Fault => {
                self.go_wrong();
                self.next_fault();
            }
            Event::Cure(cure) => self.put_right(cure),
            Event::Replicate => {
                self.server.replicate(self.out.now);
                if self.out.now < self.span {
                    self.out.after(REPLICATE, Event::Replicate);
                }
            }
        }
    }

    fn next_fault(&mut self) {
        let Some(every) = self.out.scenario.fault_every else { return };
        let next = self.out.span(0, 2 * nanos(every));
        if self.out.now + next < self.span {
            self.out.after(next, Event::Fault);
        }
    }

    pub fn begin(&mut self, host: usize, nest: Nest) {
        let number = self.callers.len();
        let mut caller = Caller::begin(number, host, nest, &mut self.out);
        self.out.note(number, "begins on host", host as u64);
        if self.out.hosts[host].frozen {
            caller.disturb(self.out.now);
        }
        caller.look_at_deadline(&mut self.out);
        self.out.tell(0, number, What::Worker(ToWorker::Turn(0)));
        self.callers.push(caller);
    }

    /// Something for one caller; when that was its end, another begins.
    pub fn meet(&mut self, caller: usize, what: What) {
        self.with(caller, |caller, out| caller.meet(what, out));
    }

    pub fn with(&mut self, caller: usize, act: impl FnOnce(&mut Caller, &mut Outside)) {
        let number = caller;
        let caller = &mut self.callers[number];
        if caller.gone {
            return;
        }
        act(caller, &mut self.out);
        if caller.gone && caller.nest.outer.is_none() && self.out.now < self.span {
            let (host, pause) = (caller.host, self.out.span(0, 5 * SECOND));
            self.out.after(pause, Event::Begin { host });
        }
        self.settle_nest(number);
    }

    fn arrive(&mut self, message: Message) {
        if self.server.frozen {
            return self.server.waiting.push(message);
        }
        let (caller, number) = (message.caller, message.number);
        if self.server.is_deaf_to(&message) {
            return;
        }
        if !self.server.up {
            if self.out.rng.bool() {
                let refused = What::Worker(ToWorker::Answer(number, Box::new(Err("refused".to_owned()))));
                self.out.tell(MS, caller, refused);
            }
            return;
        }
        let (lock, joined) = (message.lock, message.ticket.id.clone());
        let unheard = matches!(message.request, Request::Take | Request::Enter(_) | Request::Commit(_))
            && self.out.chance(self.out.scenario.unheard);
        let served = self.server.serve(message, &mut self.out);
        if let Some(deed) = &served.deed {
            self.judge_deed(lock, &joined, deed);
        }
        if let Some(entered) = served.entered {
            self.judge_order(lock, caller, &joined, &entered);
        }
        if self.out.scenario.nested > 0 {
            self.look_for_rings(caller);
        }
        self.wake(served.woken);
        let Ok(answer) = served.answer else { return };
        let shown: Wall = self.out.server_clock.wall(self.out.now);
        let asker = &mut self.callers[caller];
        if unheard || asker.line.down_cut || self.out.chance(self.out.scenario.lost) {
            asker.lost_one(self.out.now);
            // The line breaks with the answer on it, or is silent until the asker's patience ends.
            let breaks = self.out.span(0, 2 * nanos(asker.timing.request));
            let cut = What::Worker(ToWorker::Answer(number, Box::new(Err("the line broke".to_owned()))));
            self.out.tell(breaks, caller, cut);
            return;
        }
        let way = asker.way(&mut self.out);
        self.out.tell(way, caller, What::Worker(ToWorker::Answer(number, Box::new(Ok((answer, shown))))));
    }

    pub fn wake(&mut self, woken: Vec<Id>) {
        for woken in woken {
            let Some(at) = self.callers.iter().position(|caller| caller.is_of(&woken)) else { continue };
            if self.callers[at].line.down_cut || self.out.chance(self.out.scenario.wakes_lost) {
                self.out.note(at, "misses a wake", 0);
                self.callers[at].wake_lost = self.out.now;
                continue;
            }
            let way = self.out.span(MS / 5, 8 * MS);
            self.out.note(at, "is woken", 0);
            self.out.tell(way, at, What::Worker(ToWorker::Woken(woken)));
        }
    }

    /// First come, first served among those whom nothing disturbed; and nobody undisturbed leaves a free lock alone for
    /// longer than its beat and its rank allow.
    fn judge_order(&mut self, lock: usize, caller: usize, id: &Id, entered: &Entered) {
        let now = self.out.now;
        let rank = |place: usize| place as u64 * 101 * SECOND / 100;
        let beat = nanos(self.callers[caller].timing.beat) * 101 / 100;
        if let Some(vacancy) = &entered.vacancy {
            let calm = vacancy.since.saturating_sub(2 * SECOND);
            if entered.undisturbed_since >= calm || self.callers[vacancy.by].disturbed >= calm {
                return;
            }
            let head = vacancy.queue.first().filter(|head| *head != id && entered.ahead.contains(head));
            let passed = self.callers.iter().find(|caller| head.is_some_and(|head| caller.is_of(head)));
            if let Some(passed) = passed.filter(|passed| passed.disturbed < calm && passed.wake_lost < calm && !passed.broken) {
                let what = format!("caller {caller} goes in before caller {}, whom nothing disturbed", passed.number);
                self.out.judge.accuse(now, Wrong::Order, what);
            }
            let place = vacancy.queue.iter().position(|waiting| waiting == id);
            if let Some(place) = place.filter(|_| self.callers[caller].disturbed < calm) {
                self.judge_vacancy(caller, lock, vacancy.since + beat + rank(place) + SLACK);
            }
        }
        if let Some((beaten, known)) = entered.lapsed {
            let calm = beaten.saturating_sub(2 * SECOND);
            if entered.undisturbed_since < calm
                && self.callers[caller].disturbed < calm
                && self.callers[caller].joined(id).is_some_and(|joined| joined < calm)
            {
                self.judge_vacancy(caller, lock, known + 2 * beat + rank(entered.ahead.len()) + SLACK);
            }
        }
    }

    fn judge_vacancy(&mut self, caller: usize, lock: usize, latest: Time) {
        if self.out.now > latest {
            let late = (self.out.now - latest) / MS;
            let what = format!("lock {lock} was free, and caller {caller}, whom nothing disturbed, took {late} ms too long");
            self.out.judge.accuse(self.out.now, Wrong::Vacancy, what);
        }
    }
}
