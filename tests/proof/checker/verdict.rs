//! What the checker has to say, and how it is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::time::Duration;

use vaultlock::time::Tick;

use crate::log::{Kind, Whom};

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A sign of life after a later job's first.
    Outlived,
    /// The kernel says that another job's process lives.
    Presence,
    /// A fence that does not rise.
    Fence,
    /// A sign of life after the lease of a frozen or killed worker.
    Deadline,
    /// A sign of life after the end of its run.
    AfterGone,
    /// A run that does not end.
    Stuck,
    /// A lock that nobody gets.
    NeverGranted,
    /// It was to wait for ever and did not.
    GaveUp,
    /// A lock that is free too late.
    Recovery,
    /// An exit code that no fault excuses.
    Exit,
    /// The log makes no sense.
    Malformed,
}

impl Rule {
    /// Two jobs at once, or what leads to it; never a matter of how busy the machine is.
    pub fn is_safety(self) -> bool {
        matches!(self, Rule::Outlived | Rule::Presence | Rule::Fence | Rule::Deadline | Rule::AfterGone)
    }
}

#[derive(Clone, Debug)]
pub struct Violation {
    pub first: Tick,
    pub last: Tick,
    /// The other job of an overlap.
    pub beside: Option<u64>,
    pub text: String,
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Runs asked for, and jobs that started.
    pub runs: u64,
    pub jobs: u64,
    /// Of these, those under several locks.
    pub of_several: u64,
    pub faults: BTreeMap<(Kind, Whom), u64>,
    /// How the runs ended.
    pub codes: BTreeMap<i32, u64>,
    /// From the death of the last process of a holder to the next job's start.
    pub recoveries: Vec<Duration>,
    /// Fences that fell on a server that had lost its memory and had its clock set: beyond the promise.
    pub excused: u64,
    /// By rule and job.
    pub violations: BTreeMap<(Rule, u64), Violation>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    pub fn count(&self, rule: Rule) -> usize {
        self.violations.keys().filter(|(broken, _)| *broken == rule).count()
    }

    /// How many jobs lived beside an earlier one.
    pub fn overlaps(&self) -> usize {
        self.overlapping().map(|((_, job), violation)| violation.beside.unwrap_or(*job)).collect::<BTreeSet<u64>>().len()
    }

    pub fn longest_overlap(&self) -> Duration {
        self.overlapping().map(|(_, violation)| violation.last.since(violation.first)).max().unwrap_or_default()
    }

    fn overlapping(&self) -> impl Iterator<Item = (&(Rule, u64), &Violation)> {
        self.violations.iter().filter(|((rule, _), _)| matches!(rule, Rule::Outlived | Rule::Presence))
    }

    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// The recovery that so many in a hundred are not longer than.
    pub fn recovery(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.recoveries.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    /// What of the whole was done to whom, as one table cell.
    pub fn faults_told(&self) -> String {
        let told = self.faults.iter().map(|((kind, whom), count)| format!("{kind} {whom} {count}"));
        told.collect::<Vec<_>>().join(", ")
    }
}

/// At most so many violations are told.
const MOST: usize = 30;

impl Verdict {
    /// The violations, one a line, and how the runs ended.
    pub fn told(&self) -> String {
        let mut told = String::new();
        for ((rule, job), violation) in self.violations.iter().take(MOST) {
            let Violation { first, last, text, .. } = violation;
            told += &format!("{rule:?}: job {job}, {} for {:?}: {text}\n", first.0, last.since(*first));
        }
        if self.violations.len() > MOST {
            told += &format!("and {} more\n", self.violations.len() - MOST);
        }
        told + &format!("exit codes: {:?}\n", self.codes)
    }
}

/// The summary, on one line.
impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (runs, jobs, faults, told) = (self.runs, self.jobs, self.fault_count(), self.faults_told());
        write!(f, "{runs} runs, {jobs} jobs ({} of several locks), {faults} faults ({told}), ", self.of_several)?;
        write!(f, "overlaps {}, fence regressions {}, ", self.overlaps(), self.count(Rule::Fence))?;
        write!(f, "stuck {}, violations {}, ", self.count(Rule::Stuck), self.violations.len())?;
        if self.excused > 0 {
            write!(f, "fences that fell on a server that lost its memory and had its clock set {}, ", self.excused)?;
        }
        match (self.recovery(50), self.recovery(99), self.recovery(100)) {
            (Some(half), Some(most), Some(worst)) => {
                let millis = |span: Duration| span.as_secs_f64() * 1e3;
                let (count, half, most, worst) = (self.recoveries.len(), millis(half), millis(most), millis(worst));
                write!(f, "recovery worst {worst:.1} ms, p99 {most:.1} ms, p50 {half:.1} ms of {count}")
            }
            _ => write!(f, "no recovery measured"),
        }
    }
}
