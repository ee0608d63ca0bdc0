//! What `run` tells its user, on standard error alone: nothing when all goes well.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::orders::{IfUnavailable, Reason, Saying};
use crate::ledger::codec::LONGEST_LABEL;
use crate::ledger::{Breaker, Cycle, Holder, StopReason, Why};
use crate::name::Name;
use crate::session::{Loss, Standing};
use crate::shown::shown;
use crate::time::{Clock, Tick, Wall};

/// The line of a waiter shows seconds, so it is drawn once a second.
const REDRAW: Duration = Duration::from_secs(1);
const LABEL_WIDTH: usize = 60;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

/// The voice of one run.
pub struct Console {
    verbosity: Verbosity,
    /// All the run's locks together, and each of them, for people.
    lock: String,
    locks: Vec<String>,
    store: String,
    /// What is said of a store that was never used before.
    first_use: &'static str,
    bar: Option<ProgressBar>,
    waiting: Option<Waiting>,
}

struct Waiting {
    standing: Standing,
    seen: Tick,
    since: Tick,
}

impl Console {
    /// `store` is what the store is called in messages, without any secret; `first_use` is what to say of one that is new.
    pub fn new(verbosity: Verbosity, locks: &[Name], store: String, first_use: &'static str) -> Console {
        let locks: Vec<String> = locks.iter().map(|lock| shown(lock.as_str(), 200)).collect();
        Console { verbosity, lock: locks.join(", "), locks, store, first_use, bar: None, waiting: None }
    }

    pub fn say(&mut self, saying: Saying) {
        match saying {
            Saying::Waiting(standing) => self.waiting(standing),
            Saying::WaitOver => self.wait_over(),
            Saying::Trouble(text) => self.detail(&format!("{}: {text}; trying again", self.store)),
            Saying::Recovered => self.detail(&format!("{} answers again", self.store)),
            Saying::Busy(standing) => self.note(&self.busy(standing)),
            Saying::Stopped(why) => self.note(&format!("{}: {} while it waited", self.lock, stopped(&why))),
            Saying::Entangled(cycle) => self.note(&entangled(&cycle)),
            Saying::LeftBehind(pids) => self.note(&format!(
                "{}: the job left processes behind ({}), which run on without the lock; --stragglers wait or kill changes that",
                self.lock,
                numbers(&pids)
            )),
            Saying::Lingers(pids) => self.note(&format!(
                "{}: the job left processes behind ({}); the lock is kept until they are gone (--stragglers wait)",
                self.lock,
                numbers(&pids)
            )),
            Saying::Unreleased { which, trouble } => self.note(&format!(
                "{}: the job is done, but the lock could not be given back; it comes free by itself, on a server when its lease ends: {trouble}",
                self.named(&which)
            )),
            Saying::Lost(reason) => self.lost(reason, "stopping the job"),
            Saying::LostUnstarted(reason) => self.lost(reason, "the job was not started"),
            Saying::MarkBusy => self.note(&format!(
                "{}: waiting until a command that was fenced with another number is done with the file of --guard",
                self.lock
            )),
            Saying::Overtime(max_run) => {
                self.error(&format!("{}: the job has run for {} (--max-run); stopping it", self.lock, span(max_run)));
            }
            Saying::Extended(limit) => self.detail(&format!("{}: the job may run for {} now (vaultlock extend)", self.lock, span(limit))),
            Saying::TooLate(unrenewed) => self.error(&format!(
                "lost {}: no renewal for {} (vaultlock was stopped or starved); the job was not started",
                self.lock,
                span(unrenewed)
            )),
            Saying::Unkillable(pids) => self.error(&format!(
                "{}: can't end processes {}; the lock is kept until they are gone: end them by hand",
                self.lock,
                numbers(&pids)
            )),
            Saying::Unavailable(trouble, policy) => self.unavailable(&trouble, policy),
            Saying::Failed(trouble) => self.error(&trouble),
        }
    }

    /// An error that ends the run; it is said whatever the verbosity.
    pub fn error(&mut self, text: &str) {
        self.clear();
        self.line(text);
    }

    /// When the waiting line wants to be drawn again.
    pub fn redraw_at(&self) -> Tick {
        match (&self.bar, &self.waiting) {
            (Some(_), Some(_)) => Clock::Monotonic.now() + REDRAW,
            _ => Tick::NEVER,
        }
    }

    pub fn redraw(&self) {
        if let (Some(bar), Some(waiting)) = (&self.bar, &self.waiting) {
            bar.set_message(self.waiting_line(waiting));
        }
    }

    fn waiting(&mut self, standing: Standing) {
        let now = Clock::Monotonic.now();
        let first = self.waiting.is_none();
        let since = self.waiting.as_ref().map_or(now, |waiting| waiting.since);
        let place = |standing: &Standing| (standing.at, standing.ahead);
        let moved = self.waiting.as_ref().is_none_or(|waiting| place(&waiting.standing) != place(&standing));
        let waiting = Waiting { standing, seen: now, since };
        if first && self.verbosity > Verbosity::Quiet && stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template("{msg}").expect("a template without options"));
            self.bar = Some(bar);
        }
        if self.bar.is_none() && moved {
            self.detail(&format!("waiting: {}", self.waiting_line(&waiting)));
        }
        self.waiting = Some(waiting);
        self.redraw();
    }

    fn wait_over(&mut self) {
        self.clear();
        self.waiting = None;
    }

    fn waiting_line(&self, waiting: &Waiting) -> String {
        let now = Clock::Monotonic.now();
        let later = now.since(waiting.seen);
        let standing = &waiting.standing;
        let what = match &standing.why {
            Why::Unsure => self.unsure("waiting up to", standing.until, "more "),
            why => obstacle(why, standing, Wall(standing.now.0 + later.as_millis() as u64)),
        };
        let ahead = match standing.ahead {
            0 => "next in line".to_owned(),
            1 => "1 ahead of me".to_owned(),
            ahead => format!("{ahead} ahead of me"),
        };
        let held = match &self.locks[..standing.at] {
            [] => String::new(),
            held => format!(" (holding {})", held.join(", ")),
        };
        format!("{}: {what}; {ahead}, waited {}{held}", self.locks[standing.at], span(now.since(waiting.since)))
    }

    fn named(&self, which: &[usize]) -> String {
        which.iter().map(|at| self.locks[*at].as_str()).collect::<Vec<_>>().join(", ")
    }

    fn busy(&self, standing: Option<Standing>) -> String {
        let Some(standing) = standing else { return format!("{} is busy", self.lock) };
        let lock = &self.locks[standing.at];
        match &standing.why {
            Why::Queued if standing.holders.is_empty() && standing.ahead == 0 => format!("{lock} is busy"),
            Why::Unsure => format!("{lock} is busy: {}", self.unsure("try again in", standing.until, "")),
            why => format!("{lock} is busy: {}", obstacle(why, &standing, standing.now)),
        }
    }

    fn unsure(&self, advice: &str, until: Tick, more: &str) -> String {
        let left = span(Clock::Boottime.now().until(until).max(Duration::from_secs(1)));
        format!(
            "{} may have forgotten a holder (it is new, was restarted or flushed); {advice} {left} {more}({})",
            self.store, self.first_use,
        )
    }

    fn lost(&mut self, reason: Reason, then: &str) {
        let lock = match &reason {
            Reason::Loss { at, .. } if self.locks.len() > 1 => format!("{} (of {})", self.locks[*at], self.lock),
            _ => self.lock.clone(),
        };
        self.error(&format!("lost {lock}: {}; {then}", self.reason(reason)));
    }

    fn reason(&self, reason: Reason) -> String {
        match reason {
            Reason::Lapsed { unrenewed, trouble } if trouble.is_empty() => {
                format!("no renewal for {} (vaultlock was stopped or starved)", span(unrenewed))
            }
            Reason::Lapsed { unrenewed, trouble } => format!("no renewal for {} ({trouble})", span(unrenewed)),
            Reason::Loss { loss: Loss::Forgotten, .. } => {
                format!("{} knows it no more (restarted without its data, wiped, or told so by break --force)", self.store)
            }
            Reason::Loss { loss: Loss::Swept, .. } => "it was taken away while this host did not answer".to_owned(),
            Reason::Loss { loss: Loss::Stopped(why), .. } => stopped(&why),
        }
    }

    fn unavailable(&mut self, trouble: &str, policy: IfUnavailable) {
        match policy {
            IfUnavailable::Fail => self.error(&format!("the job was not run: {trouble}")),
            IfUnavailable::Skip => self.note(&format!("the job was skipped (--if-unavailable skip): {trouble}")),
            IfUnavailable::Run => {
                self.error(&format!("RUNNING THE JOB WITHOUT THE LOCK (--if-unavailable run): {trouble}"));
            }
        }
    }

    /// Said with -v alone.
    fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose && self.bar.is_none() {
            self.line(text);
        }
    }

    /// Said unless -q.
    fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.clear_line();
            self.line(text);
        }
    }

    fn clear(&mut self) {
        self.clear_line();
        self.bar = None;
    }

    fn clear_line(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        // Whoever read our standard error may be gone; the job matters more.
        let _ = writeln!(stderr(), "vaultlock: {text}");
    }
}

/// What stands between a waiter and the lock, for people.
fn obstacle(why: &Why, standing: &Standing, now: Wall) -> String {
    let holders = &standing.holders;
    match why {
        Why::Kept(keep) => {
            let kept = if keep.slots == 1 { "1 slot is".to_owned() } else { format!("{} slots are", keep.slots) };
            format!("{kept} kept for priority {} and above; the others are {}", keep.priority, held_by(holders, now))
        }
        Why::Rated { rate, at } => {
            format!("the rate is {} in {}; the next is due in {}", rate.grants, span(rate.per()), span(at.since(now)))
        }
        Why::Resting { at } => {
            format!("its last holder keeps it for {} more (--min-hold)", span(at.since(now).max(Duration::from_millis(1))))
        }
        Why::Full(waiting) => format!("{waiting} wait already (--max-waiters), {}", held_by(holders, now)),
        Why::Held | Why::Queued | Why::Unsure => held_by(holders, now),
    }
}

/// Who holds the lock and since when, for people.
fn held_by(holders: &[Holder], now: Wall) -> String {
    let Some(first) = holders.first() else { return "another waiter goes first".to_owned() };
    let who = shown(&first.who.label, LABEL_WIDTH);
    let host = shown(&first.who.host, LABEL_WIDTH);
    let age = span(now.since(first.since));
    let others = match holders.len() {
        1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    format!("held by {who} (host {host}, pid {}) for {age}{others}", first.who.pid)
}

/// Which runs wait for each other.
fn entangled(cycle: &Cycle) -> String {
    let lock = |name: &str| shown(name, 200);
    let mut ring = format!("a cycle of nested runs: this one waits for {}", lock(&cycle.lock));
    for (label, waits_for) in &cycle.ring {
        ring.push_str(&format!(", held around {}, which waits for {}", shown(label, LABEL_WIDTH), lock(waits_for)));
    }
    format!("{} is busy: {ring}, held around this one; take all these locks in one run, or in the same order", lock(&cycle.lock))
}

fn stopped(why: &StopReason) -> String {
    match why {
        StopReason::Preempted => "it was taken by preemption".to_owned(),
        StopReason::Broken(Breaker { by, reason }) => {
            format!("it was broken by {}: {}", shown(by, LABEL_WIDTH), shown(reason, LONGEST_LABEL))
        }
        StopReason::Superseded => "it was superseded".to_owned(),
        StopReason::Reserved => "a reservation began".to_owned(),
    }
}

fn numbers(pids: &[i32]) -> String {
    let mut shown: Vec<String> = pids.iter().take(5).map(i32::to_string).collect();
    if pids.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// A span of time to the second, or to the millisecond below one.
fn span(span: Duration) -> String {
    let rounded = match span.as_secs() {
        0 => Duration::from_millis(span.as_millis() as u64),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(rounded).to_string()
}
