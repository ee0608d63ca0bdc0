//! One row of the table of promises: what was tried, what went wrong, and how long it took.

use std::fmt;
use std::time::Duration;

/// Violations that are told in full; the rest are counted.
const TOLD: usize = 5;

/// What was measured of one promise on one store.
pub struct Row {
    promise: &'static str,
    what: String,
    trials: usize,
    faults: usize,
    violations: Vec<String>,
    times: Times,
    bound: Option<Duration>,
    note: String,
}

impl Row {
    /// `what` says which case, in the words of the promise.
    pub fn new(promise: &'static str, what: impl Into<String>) -> Row {
        Row {
            promise,
            what: what.into(),
            trials: 0,
            faults: 0,
            violations: Vec::new(),
            times: Times::default(),
            bound: None,
            note: String::new(),
        }
    }

    /// A row for what could not be measured to its end: that is a violation too.
    pub fn broken_off(promise: &'static str, why: String) -> Row {
        let mut row = Row::new(promise, "the measurement broke off");
        row.violations.push(why);
        row
    }

    /// Every time taken must be at most this.
    pub fn within(mut self, bound: Duration) -> Row {
        self.bound = Some(bound);
        self
    }

    /// What the times are, and whatever else a reader must know.
    pub fn noted(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    /// Adds what one trial found.
    pub fn add(&mut self, found: Found) {
        self.trials += found.trials;
        self.faults += found.faults;
        for time in found.times {
            if self.bound.is_some_and(|bound| time > bound) {
                self.violations.push(format!("{} is over {}", said(time), said(self.bound.unwrap_or_default())));
            }
            self.times.0.push(time);
        }
        self.violations.extend(found.violations);
    }

    pub fn add_all(mut self, found: impl IntoIterator<Item = Found>) -> Row {
        found.into_iter().for_each(|found| self.add(found));
        self.times.0.sort();
        self
    }

    /// A violation of the measurement as a whole, unless `good`.
    pub fn expect(&mut self, good: bool, otherwise: &str) {
        if !good {
            self.violations.push(otherwise.to_owned());
        }
    }

    /// Whether the promise was kept, and something was tried at all.
    pub fn kept(&self) -> bool {
        self.violations.is_empty() && self.trials > 0
    }

    /// The violations in words, the first few.
    pub fn violations(&self) -> impl Iterator<Item = String> {
        let left = self.violations.len().saturating_sub(TOLD);
        let more = (left > 0).then(|| format!("{left} more"));
        self.violations.iter().take(TOLD).cloned().chain(more)
    }

    /// The head of the table, in Markdown.
    pub fn head() -> String {
        let names = "| promise | case | trials | faults | violations | p50 | p99 | worst | bound | |";
        format!("{names}\n{}|", "| --- ".repeat(10))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Row { promise, what, trials, faults, times, note, .. } = self;
        let violations = match (self.violations.len(), self.trials) {
            (0, 0) => "nothing tried".to_owned(),
            (0, trials) => format!("0 (below {:.2} %)", (300.0 / trials as f64).max(0.01)),
            (some, _) => format!("**{some}**"),
        };
        let bound = self.bound.map(said).unwrap_or_default();
        let [p50, p99, worst] = [times.at(0.5), times.at(0.99), times.at(1.0)].map(|time| time.map(said).unwrap_or_default());
        write!(f, "| {promise} | {what} | {trials} | {faults} | {violations} | {p50} | {p99} | {worst} | {bound} | {note} |")
    }
}

/// What one trial, or a lane of them, found.
#[derive(Default)]
pub struct Found {
    pub trials: usize,
    pub faults: usize,
    pub violations: Vec<String>,
    pub times: Vec<Duration>,
}

impl Found {
    /// One trial with nothing wrong so far.
    pub fn trial() -> Found {
        Found { trials: 1, ..Found::default() }
    }

    /// A violation, unless `good`.
    pub fn expect(&mut self, good: bool, otherwise: impl FnOnce() -> String) {
        if !good {
            self.violations.push(otherwise());
        }
    }
}

/// Times taken; sorted before they are asked.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The time that this share of all does not exceed.
    fn at(&self, share: f64) -> Option<Duration> {
        let last = self.0.len().checked_sub(1)?;
        let rank = (share * self.0.len() as f64).ceil() as usize;
        Some(self.0[rank.saturating_sub(1).min(last)])
    }
}

fn said(time: Duration) -> String {
    match time.as_micros() {
        0..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
