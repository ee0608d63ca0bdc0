//! The rules of `decide`, as scripts a reader can check without Rust: tests/decide/*.txt.
//!
//! A line is `[at TIME] NAME VERB [WORDS] -> ANSWER`. The time is told, never read. `?` asks for a decision and
//! carries nothing out; `enters`, `adopts`, `rouses`, `asks` and `leaves` carry out the commit that was decided. Every commit is
//! checked against the invariants: nobody is let in by others, modes, slots, kept slots and rates are kept, a request to stop
//! lasts as long as its target, fences rise, ids never return. `operator breaks NAME` carries out the next step of one who breaks
//! the lock and has no ticket.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vaultlock::duration;
use vaultlock::ledger::breaking::{Break, Move};
use vaultlock::ledger::policy::{Keep, Policy, Rate, Supersede, lead_ms};
use vaultlock::ledger::view::LISTED;
use vaultlock::ledger::{
    Breaker, Commit, Decision, Guard, Holder, Id, Ledger, Life, Listed, Me, Memory, Mode, Stop, StopReason, Ticket, View,
    Watched, Who, Why, codec, commit, decide, extend,
};
use vaultlock::time::{Tick, Wall};

const MAX_TTL: Duration = Duration::from_secs(30);

#[test]
fn every_script_answers_as_it_says() {
    let (mut scripts, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir("tests/decide").unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lock = Lock::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap().trim();
            if line.is_empty() {
                continue;
            }
            if line == "----" {
                lock = Lock::default();
                continue;
            }
            let (words, expected) = line.split_once("->").unwrap_or((line, ""));
            let answer = lock.play(words.split_whitespace().collect());
            if answer != expected.trim() {
                wrong.push(format!("{}:{}: {words}-> {answer}, not {}", path.display(), number + 1, expected.trim()));
            }
        }
        scripts += 1;
    }
    assert!(scripts >= 5, "the scripts were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A lock as the simplest store would keep it.
#[derive(Default)]
struct Lock {
    now: Duration,
    ledger: Option<Ledger>,
    queue: Vec<Listed>,
    gone: BTreeSet<Id>,
    watched: BTreeMap<String, Watched>,
    remembered: BTreeMap<String, u64>,
    tickets: BTreeMap<String, Ticket>,
    lives: u32,
    unsure: Option<(String, Duration)>,
    granted: u64,
    /// Those removed by force, alive or not.
    forced: BTreeSet<Id>,
    /// Those who have looked since they joined.
    looked: BTreeSet<String>,
    /// Every rate that somebody brought, and when anybody was let in.
    entered: Vec<Duration>,
    /// Who has the lock kept, and until when.
    kept: Vec<(Holder, Duration)>,
}

impl Lock {
    fn play(&mut self, mut words: Vec<&str>) -> String {
        if words[0] == "at" {
            self.now = duration::parse(words[1]).unwrap();
            words.drain(..2);
        }
        let (who, verb, rest) = (words[0], words[1], &words[2..]);
        match verb {
            "takes" => self.take(who, rest),
            "?" => show(&self.decision(who)),
            "enters" | "adopts" => match self.decision(who) {
                Decision::Enter(commit) | Decision::Adopt(commit) => self.commit(who, commit),
                other => show(&other),
            },
            "rouses" => {
                let Decision::Rouse(commit) = self.decision(who) else { return "nobody".into() };
                self.watched.get_mut(who).unwrap().rouse();
                self.commit(who, commit)
            }
            "asks" => {
                let Decision::AskToStop(commit) = self.decision(who) else { return "nobody".into() };
                let asked = commit.wake.iter().map(name).collect::<Vec<_>>().join(" ");
                match self.commit(who, commit).as_str() {
                    "conflict" => "conflict".into(),
                    _ => format!("asks {asked}"),
                }
            }
            "breaks" => self.break_lock(who, rest),
            "is-extended" => {
                let by = duration::parse(rest[0]).unwrap();
                match extend::extend(&self.view("nobody"), (who != "anybody").then(|| id(who).session()).as_deref(), by) {
                    Ok((commit, extended)) => {
                        assert!(commit.drop.is_empty() && commit.guards.is_empty());
                        self.ledger = commit.ledger;
                        let wake = commit.wake.iter().map(name).collect::<Vec<_>>().join(" ");
                        let limit = humantime::format_duration(extended.limit);
                        format!("{limit}, until {}s, wakes {wake}", extended.until.0 / 1000)
                    }
                    Err(refusal) => format!("{refusal:?}")
                        .to_lowercase()
                        .replace(&id("ana").session(), "ana")
                        .replace(&id("ben").session(), "ben"),
                }
            }
            "gives-up" => {
                let view = self.view(who);
                self.commit(who, commit::give_up(&view, &id(who)).unwrap())
            }
            "leaves" => {
                let view = self.view(who);
                let id = id(who);
                self.commit(who, commit::release(&view, &id).unwrap_or_else(|| commit::withdraw(&view, &id)))
            }
            "beats" => self.life(who, |life| match life {
                Life::Beat { count, quiet } => Life::Beat { count: count + 1, quiet },
                other => other,
            }),
            "dies" => self.life(who, |_| Life::Dead),
            "quiet" => {
                let quiet = duration::parse(rest[0]).unwrap();
                self.life(who, |life| match life {
                    Life::Beat { count, .. } => Life::Beat { count, quiet: Some(quiet) },
                    other => other,
                })
            }
            "vanishes" => {
                self.queue.retain(|listed| listed.ticket.id != id(who));
                String::new()
            }
            "remembers" => {
                self.remembered.insert(who.to_owned(), rest[0].parse().unwrap());
                String::new()
            }
            "is-asked-to-stop" => {
                let ledger = self.ledger.as_mut().unwrap();
                ledger.version += 1;
                ledger.stops.push(Stop { id: id(who), why: StopReason::Preempted });
                String::new()
            }
            "restarts" => {
                self.lives += 1;
                self.unsure = Some((format!("mark {}", self.lives), Duration::ZERO));
                String::new()
            }
            "forgets" => {
                let lives = self.lives + 1;
                *self = Lock {
                    now: self.now,
                    watched: std::mem::take(&mut self.watched),
                    tickets: std::mem::take(&mut self.tickets),
                    lives,
                    unsure: Some((format!("mark {lives}"), Duration::ZERO)),
                    granted: self.granted,
                    ..Lock::default()
                };
                String::new()
            }
            "proves" => {
                self.unsure.as_mut().unwrap().1 = duration::parse(rest[0]).unwrap();
                String::new()
            }
            "shows" => self.show(),
            other => panic!("no verb {other}"),
        }
    }

    /// The next thing that `who`, an operator, does to end the claim it names.
    fn break_lock(&mut self, who: &str, words: &[&str]) -> String {
        let mut order = Break {
            session: id(words[0]).session(),
            breaker: Breaker { by: who.to_owned(), reason: "it is in the way".to_owned() },
            if_version: None,
            force: false,
        };
        for word in &words[1..] {
            match word.split_once('=').unwrap_or((word, "")) {
                ("version", version) => order.if_version = Some(version.parse().unwrap()),
                ("force", _) => order.force = true,
                (other, _) => panic!("no word {other}"),
            }
        }
        let (view, now) = (self.view(who), Tick(0) + self.now);
        let watched = self.watched.entry(who.to_owned()).or_default();
        if let Some(target) = order.target(&view) {
            watched.look(&view, &target.ticket, now);
        }
        let wakes = |commit: &Commit| commit.wake.iter().map(name).collect::<Vec<_>>().join(" ");
        match order.next(&view, watched, now, Wall(0)) {
            Move::Ask(commit) => {
                let asked = wakes(&commit);
                self.commit(who, commit);
                format!("asks {asked}")
            }
            Move::Sweep(commit) => {
                let woken = wakes(&commit);
                self.commit(who, commit);
                format!("sweeps, wakes [{woken}]")
            }
            Move::Force(commit) => {
                self.forced.insert(id(words[0]));
                let woken = wakes(&commit);
                self.commit(who, commit);
                format!("forces, wakes [{woken}]")
            }
            Move::Wait(Tick::NEVER) => "wait".into(),
            Move::Wait(until) => format!("wait, until {}", humantime::format_duration(until.since(Tick(0)))),
            Move::Absent => "absent".into(),
            Move::Changed(version) => format!("changed, version {version}"),
            Move::Crowded => "crowded".into(),
            Move::Kept => "kept".into(),
        }
    }

    fn take(&mut self, who: &str, words: &[&str]) -> String {
        let mut ticket = Ticket {
            fmt: codec::FMT,
            id: id(who),
            mode: Mode::Exclusive,
            slots: 1,
            priority: 0,
            lead_ms: 0,
            policy: Policy::default(),
            ttl_ms: 10_000,
            who: Who { label: who.into(), host: "h".into(), pid: 1 },
            limit_ms: None,
            chain: Vec::new(),
        };
        let mut life = Life::Beat { count: 1, quiet: None };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("shared", _) => ticket.mode = Mode::Shared,
                ("slots", n) => ticket.slots = n.parse().unwrap(),
                ("ttl", span) => ticket.ttl_ms = duration::parse(span).unwrap().as_millis() as u64,
                ("priority", n) => {
                    ticket.priority = n.parse().unwrap();
                    ticket.lead_ms = lead_ms(ticket.priority, Duration::from_secs(60));
                }
                ("preempt", _) => ticket.policy.preempt = true,
                ("most", n) => ticket.policy.max_waiters = Some(n.parse().unwrap()),
                ("group", group) => ticket.policy.group = Some(group.to_owned()),
                ("supersede", "waiting") => ticket.policy.supersede = Some(Supersede::Waiting),
                ("supersede", "running") => ticket.policy.supersede = Some(Supersede::Running),
                ("keep", rule) => {
                    let (slots, priority) = rule.split_once(':').unwrap();
                    ticket.policy.keep = Some(Keep { slots: slots.parse().unwrap(), priority: priority.parse().unwrap() });
                }
                ("rate", rule) => {
                    let (grants, per) = rule.split_once('/').unwrap();
                    let per_ms = duration::parse(per).unwrap().as_millis() as u64;
                    ticket.policy.rate = Some(Rate { grants: grants.parse().unwrap(), per_ms });
                }
                ("min-hold", span) => {
                    ticket.policy.min_hold_ms = Some(duration::parse(span).unwrap().as_millis() as u64);
                }
                ("limit", span) => ticket.limit_ms = Some(duration::parse(span).unwrap().as_millis() as u64),
                ("lead", span) => ticket.lead_ms = duration::parse(span).unwrap().as_millis() as i64,
                ("locked", _) => life = Life::Alive,
                (other, _) => panic!("no word {other}"),
            }
        }
        assert!(!self.gone.contains(&ticket.id), "an id once gone never returns");
        self.tickets.insert(who.to_owned(), ticket.clone());
        self.looked.remove(who);
        let at = Wall(self.now.as_millis() as u64);
        let (order, seq) = (at.0 as i64 - ticket.lead_ms, self.queue.len() as u64 + 1);
        self.queue.push(Listed { ticket, order, seq, at, life });
        String::new()
    }

    fn life(&mut self, who: &str, change: impl Fn(Life) -> Life) -> String {
        for listed in self.queue.iter_mut().filter(|listed| listed.ticket.id == id(who)) {
            listed.life = change(listed.life);
        }
        String::new()
    }

    fn epoch(&self) -> String {
        format!("life {}", self.lives)
    }

    fn view(&self, who: &str) -> View {
        let ledger = self.ledger.clone().unwrap_or_else(|| Ledger::blank("vault-7", &self.epoch()));
        let (holding, mut waiting): (Vec<&Listed>, Vec<&Listed>) =
            self.queue.iter().partition(|listed| ledger.holder(&listed.ticket.id).is_some());
        waiting.sort_by_key(|listed| (listed.order, listed.seq));
        let ahead = waiting.iter().position(|listed| listed.ticket.id == id(who));
        let mine = ahead.filter(|at| *at >= LISTED).map(|at| waiting[at]);
        View {
            tickets: holding.into_iter().chain(waiting.iter().take(LISTED).copied()).chain(mine).cloned().collect(),
            waiting: waiting.len(),
            ahead: ahead.unwrap_or(waiting.len()),
            ledger,
            epoch: self.epoch(),
            memory: match &self.unsure {
                Some((mark, quiet)) => Memory::Unsure { mark: mark.clone(), quiet: *quiet },
                None => Memory::Intact,
            },
            max_ttl: MAX_TTL,
            now: Wall(self.now.as_millis() as u64),
        }
    }

    fn decision(&mut self, who: &str) -> Decision {
        let (view, now) = (self.view(who), Tick(0) + self.now);
        let ticket = self.tickets[who].clone();
        let watched = self.watched.entry(who.to_owned()).or_default();
        watched.look(&view, &ticket, now);
        let me = Me {
            ticket,
            remembered: self.remembered.get(who).copied().unwrap_or(0),
            wall: Wall(0),
            joining: self.looked.insert(who.to_owned()),
        };
        decide(&view, &me, watched, now)
    }

    fn commit(&mut self, who: &str, commit: Commit) -> String {
        let version = self.ledger.as_ref().map_or(0, |ledger| ledger.version);
        let count = |wanted: &Id| {
            let listed = self.queue.iter().find(|listed| listed.ticket.id == *wanted)?;
            Some(match listed.life {
                Life::Beat { count, .. } => Some(count),
                _ => None,
            })
        };
        let guarded = commit.guards.iter().all(|guard| match guard {
            Guard::Absent(id) => count(id).is_none(),
            Guard::Present(id) => count(id).is_some(),
            Guard::Still(id, beat) => count(id) == Some(*beat),
        });
        if !guarded || commit.epoch != self.epoch() || (commit.ledger.is_some() && commit.version != version) {
            return "conflict".into();
        }
        self.keep_invariants(who, &commit);
        let ends = commit.drop.contains(&id(who));
        let wake: Vec<String> = commit.wake.iter().map(name).collect();
        self.queue.retain(|listed| !commit.drop.contains(&listed.ticket.id));
        self.gone.extend(commit.drop);
        self.ledger = commit.ledger.or(self.ledger.take());
        if commit.settle.is_some() {
            self.unsure = None;
        }
        let mut answer = match self.ledger.as_ref().and_then(|ledger| ledger.holder(&id(who))) {
            Some(holder) => format!("fence {}", days(holder.fence)),
            None if ends => "left".to_owned(),
            None => "waits on".to_owned(),
        };
        if !wake.is_empty() {
            answer += &format!(", wakes {}", wake.join(" "));
        }
        answer
    }

    fn keep_invariants(&mut self, who: &str, commit: &Commit) {
        let Some(next) = &commit.ledger else { return };
        let now = Tick(0) + self.now;
        let view = self.view(who);
        let mut watched = self.watched.get(who).cloned().unwrap_or_default();
        if let Some(ticket) = self.tickets.get(who).or_else(|| self.tickets.values().next()) {
            watched.look(&view, ticket, now);
        }
        for holder in &next.holders {
            assert!(view.ledger.holder(&holder.id).is_some() || holder.id == id(who), "a commit adds only its author");
            assert!(view.ticket(&holder.id).is_some() || view.ledger.holder(&holder.id).is_some(), "who enters has a ticket");
        }
        for holder in &view.ledger.holders {
            let stays = next.holder(&holder.id).is_some();
            let dead = watched.lapsed(&view, holder, now) || self.forced.contains(&holder.id);
            assert!(stays || holder.id == id(who) || dead, "a commit removes only its author and the dead");
            assert!(stays || view.ticket(&holder.id).is_none() || commit.drop.contains(&holder.id), "a sweep drops the ticket");
        }
        self.check_rests(who, next);
        check_room(&next.holders, next.holders.iter().find(|holder| view.ledger.holder(&holder.id).is_none()));
        self.check_stops(&view, next, commit);
        if next.holder(&id(who)).is_some() && view.ledger.holder(&id(who)).is_none() {
            assert!(next.fence > self.granted, "fences rise: {} after {}", next.fence, self.granted);
            assert_eq!(next.epoch, self.epoch(), "nobody enters under another epoch");
            self.granted = next.fence;
            self.check_rate(who, &view);
        }
        assert_eq!(next.version, view.ledger.version + 1);
    }

    /// A request to stop is for one that is there, and goes when that one goes.
    fn check_stops(&self, view: &View, next: &Ledger, commit: &Commit) {
        let all_listed = view.waiters().count() == view.waiting;
        let there = |id: &Id| self.queue.iter().any(|listed| listed.ticket.id == *id) && !commit.drop.contains(id);
        for stop in &next.stops {
            let holds = next.holder(&stop.id).is_some();
            assert!(holds || there(&stop.id) || !all_listed, "a request outlives its target");
        }
        for stop in &view.ledger.stops {
            assert!(next.stops.contains(stop) || !there(&stop.id), "a request is forgotten before its target is gone");
        }
    }

    /// Nobody is let in beside those that have their room kept, counted apart from the ledger.
    fn check_rests(&mut self, who: &str, next: &Ledger) {
        let held = |id: &Id| self.ledger.as_ref().is_some_and(|ledger| ledger.holder(id).is_some());
        if let Some(entered) = next.holder(&id(who)).filter(|holder| !held(&holder.id)) {
            let kept = self.kept.iter().filter(|(holder, until)| self.now < *until && next.holder(&holder.id).is_none());
            let kept: Vec<Holder> = kept.map(|(holder, _)| holder.clone()).collect();
            check_room(&[&next.holders[..], &kept].concat(), None);
            let span = self.tickets[who].policy.min_hold_ms.map(Duration::from_millis);
            self.kept.extend(span.map(|span| (entered.clone(), self.now + span)));
        } else if !next.rests.iter().any(|rest| rest.holder.id == id(who)) {
            self.kept.retain(|(holder, _)| holder.id != id(who));
        }
    }

    /// At most so many grants in any span, counted apart from the ledger.
    fn check_rate(&mut self, who: &str, view: &View) {
        let rules = self.tickets[who].policy.rate.into_iter().chain(view.ledger.rated.as_ref().map(|rated| rated.rate));
        for rate in rules {
            let counts = |at: &&Duration| self.now < **at + rate.per();
            assert!(self.entered.iter().filter(counts).count() < rate.grants as usize, "a rate is kept");
        }
        // What came before any rate counts for none.
        if view.ledger.rated.is_none() {
            self.entered.clear();
        }
        self.entered.push(self.now);
    }

    fn show(&self) -> String {
        let holders: Vec<String> = match &self.ledger {
            Some(ledger) => ledger.holders.iter().map(|holder| name(&holder.id)).collect(),
            None => Vec::new(),
        };
        let view = self.view("nobody");
        let queue: Vec<String> = view.waiters().map(|listed| name(&listed.ticket.id)).collect();
        format!("held by [{}], queue [{}]", holders.join(" "), queue.join(" "))
    }
}

fn show(decision: &Decision) -> String {
    match decision {
        Decision::Enter(_) => "enter".into(),
        Decision::Adopt(_) => "adopt".into(),
        Decision::Hold { fence } => format!("hold, fence {}", days(*fence)),
        Decision::Rouse(commit) => format!("rouse {}", commit.wake.iter().map(name).collect::<Vec<_>>().join(" ")),
        Decision::AskToStop(commit) => format!("ask {}", commit.wake.iter().map(name).collect::<Vec<_>>().join(" ")),
        Decision::Full { waiting } => format!("full, {waiting} wait"),
        Decision::Gone => "gone".into(),
        Decision::Stop(why) => format!("stop, {}", why.word()),
        Decision::Wait { until, why } => {
            let why = match why {
                Why::Held => "held",
                Why::Queued => "queued",
                Why::Unsure => "unsure",
                Why::Kept(_) => "kept",
                Why::Rated { .. } => "rated",
                Why::Resting { .. } => "resting",
                Why::Full(_) => "full",
            };
            match until {
                &Tick::NEVER => format!("wait, {why}"),
                until => format!("wait, {why}, until {}", humantime::format_duration(until.since(Tick(0)))),
            }
        }
    }
}

/// Readers together, or as many as the narrowest of them allows; and who goes in leaves the kept slots to those they are for.
fn check_room(holders: &[Holder], entering: Option<&Holder>) {
    let shared = holders.iter().filter(|holder| holder.mode == Mode::Shared).count();
    let slots = holders.iter().map(|holder| holder.slots as usize).min().unwrap_or(1);
    assert!(shared == holders.len() || (shared == 0 && holders.len() <= slots), "modes and slots are kept");
    let Some(entering) = entering else { return };
    for keep in holders.iter().filter_map(|holder| holder.keep).filter(|keep| entering.priority < keep.priority) {
        let common = holders.iter().filter(|holder| holder.priority < keep.priority).count();
        assert!(common + keep.slots as usize <= slots, "kept slots are kept");
    }
}

/// An id that can be read back: the name in hexadecimal, padded.
fn id(who: &str) -> Id {
    let mut bytes = [0; 16];
    bytes[..who.len()].copy_from_slice(who.as_bytes());
    Id::from_random(bytes)
}

fn name(id: &Id) -> String {
    let hex = id.as_str().as_bytes();
    let bytes = hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    String::from_utf8(bytes.filter(|byte| *byte != 0).collect()).unwrap()
}

/// A fence as whole days, leapt past what may have been lost, and milliseconds.
fn days(fence: u64) -> String {
    const DAY: u64 = 24 * 3600 * 1000;
    if fence < DAY { fence.to_string() } else { format!("{}d+{}", fence / DAY, fence % DAY) }
}
