//! The words for many at once: slots, priorities, groups and rates.

use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;

use crate::duration;
use crate::ledger::codec::LONGEST_LABEL;
use crate::ledger::policy::{self, DEFAULT_AGING, Keep, LONGEST_RATE, MOST_GRANTS, Rate};
use crate::ledger::room::MOST_HOLDERS;

/// Options of `vaultlock run` that say how it gets along with others.
#[derive(Clone, Debug, clap::Args)]
pub struct Policy {
    /// A semaphore: up to N hold the lock together
    #[arg(short = 'j', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_HOLDERS as i64), conflicts_with = "shared")]
    pub slots: u32,
    /// Higher goes first, then first come first served
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// What a step of priority is worth: a run goes before those of a step less that came up to DUR before it [default: 10m]
    #[arg(long, value_name = "DUR", value_parser = aging)]
    pub aging: Option<Duration>,
    /// Ask holders of a lower priority to stop: their jobs are ended as if the lease were lost (121)
    #[arg(long)]
    pub preempt: bool,
    /// End with 75 at once if N wait already
    #[arg(long, value_name = "N")]
    pub max_waiters: Option<u32>,
    /// Older runs of the same --group give up with 76
    #[arg(long, value_enum, value_name = "WHOM", requires = "group")]
    pub supersede: Option<Supersede>,
    /// The group of runs that may supersede each other, such as a branch
    #[arg(long, value_name = "NAME", value_parser = group)]
    pub group: Option<String>,
    /// Of the slots keep N for runs of priority PRIO and above
    #[arg(long, value_name = "N:PRIO", value_parser = keep, conflicts_with = "shared", allow_hyphen_values = true)]
    pub keep: Option<Keep>,
    /// Let at most N in within any DUR; other runs keep to it too while it counts
    #[arg(long, value_name = "N/DUR", value_parser = rate)]
    pub rate: Option<Rate>,
    /// Keep the lock at least this long from the start, however short the job is and whatever becomes of it
    #[arg(long, value_name = "DUR", value_parser = min_hold)]
    pub min_hold: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Supersede {
    /// Those that wait
    Waiting,
    /// Those that wait, and the one whose job runs
    Running,
}

impl Policy {
    /// Where nothing was said.
    pub fn plain() -> Policy {
        Policy {
            slots: 1,
            priority: 0,
            aging: None,
            preempt: false,
            max_waiters: None,
            supersede: None,
            group: None,
            keep: None,
            rate: None,
            min_hold: None,
        }
    }

    pub fn lead_ms(&self) -> i64 {
        policy::lead_ms(self.priority, self.aging.unwrap_or(DEFAULT_AGING))
    }

    /// What a claim is to bring along; one that does not wait asks nobody to make room for it, for it would be gone by then.
    pub fn resolve(&self, waits: bool) -> anyhow::Result<policy::Policy> {
        if let Some(keep) = self.keep.filter(|keep| keep.slots >= self.slots) {
            bail!("--keep {} leaves none of the {} slots to others: choose more --slots", keep.slots, self.slots);
        }
        Ok(policy::Policy {
            preempt: self.preempt && waits,
            max_waiters: self.max_waiters,
            supersede: self.supersede.filter(|_| waits).map(|whom| match whom {
                Supersede::Waiting => policy::Supersede::Waiting,
                Supersede::Running => policy::Supersede::Running,
            }),
            group: self.group.clone(),
            keep: self.keep,
            rate: self.rate,
            min_hold_ms: self.min_hold.map(|span| span.as_millis() as u64).filter(|ms| *ms > 0),
        })
    }
}

fn aging(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a step of nothing would make all priorities equal: choose a longer one".to_owned()),
        step => Ok(step),
    }
}

fn min_hold(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text)?;
    match span <= LONGEST_RATE {
        true => Ok(span),
        false => Err(format!("a lock is kept for {} at the most", humantime::format_duration(LONGEST_RATE))),
    }
}

fn group(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LONGEST_LABEL {
        return Err(format!("a group's name has 1 to {LONGEST_LABEL} bytes"));
    }
    Ok(text.to_owned())
}

fn keep(text: &str) -> Result<Keep, String> {
    let parts = text.split_once(':').and_then(|(slots, priority)| Some((slots.parse().ok()?, priority.parse().ok()?)));
    match parts {
        Some((slots, priority)) if slots >= 1 => Ok(Keep { slots, priority }),
        _ => Err("write N:PRIO: how many of the slots, and for what priority, such as 1:10".to_owned()),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    let (grants, per) = text.split_once('/').ok_or("write N/DUR: how many, and in what time, such as 2/1m")?;
    // "2/m" means what it says.
    let per = if per.starts_with(|c: char| c.is_ascii_alphabetic()) { format!("1{per}") } else { per.to_owned() };
    let per = duration::parse(&per)?;
    let grants = grants.parse().map_err(|_| format!("{grants:.20?} is no number of grants: write N/DUR, such as 2/1m"))?;
    let rate = Rate { grants, per_ms: u64::try_from(per.as_millis()).unwrap_or(u64::MAX) };
    if !rate.honest() {
        let longest = humantime::format_duration(LONGEST_RATE);
        return Err(format!("a rate is 1 to {MOST_GRANTS} grants in 1ms to {longest}"));
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_kept_slots_are_read_as_people_type_them() {
        assert_eq!(rate("2/1m"), Ok(Rate { grants: 2, per_ms: 60_000 }));
        assert_eq!(rate("10/h"), Ok(Rate { grants: 10, per_ms: 3_600_000 }));
        assert_eq!(rate("1/90"), Ok(Rate { grants: 1, per_ms: 90_000 }));
        for bad in ["", "2", "/", "2/", "/1m", "0/1m", "-1/1m", "2/0", "1001/1m", "2/1x", "2/999999999h"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(keep("1:10"), Ok(Keep { slots: 1, priority: 10 }));
        assert_eq!(keep("2:-3"), Ok(Keep { slots: 2, priority: -3 }));
        for bad in ["", "1", ":", "0:1", "1:", "-1:1", "1:x", "1:99999999999"] {
            assert!(keep(bad).is_err(), "{bad}");
        }
        assert!(aging("0").is_err() && aging("10m").is_ok());
    }
}
