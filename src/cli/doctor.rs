//! `vaultlock doctor`: what the store that a run would use can promise, and which engine fits what.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::args::{self, Global};
use super::config::Config;
use super::status::name_on_interrupt;
use super::{print, stores};
use crate::exit::Exit;
use crate::name::Name;
use crate::shown::{shown, shown_json};
use crate::store::locate::Location;
use crate::store::{Error, Finding, Promise, Store, clocks_agree};
use crate::time::{Clock, Wall};
use crate::timing::{self, SHORTEST_TTL};

/// How long the store may take to answer somebody who only looks.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often it is asked how long it takes.
const LOOKS: u32 = 5;
/// A request should have so many times what it took here.
const HEADROOM: u32 = 10;
/// Looked at and never taken; nobody's, since it is too long a name to be typed by chance.
const NOBODYS: &str = "vaultlock doctor looks at this lock and never takes it";
const LONGEST: usize = 500;

/// Examines the store and ends with 0 if it keeps the whole promise, 1 if it does in part, 2 if not.
///
/// # Errors
/// A URL or a config file that can't be understood. A store that can't be reached or used is a finding.
pub fn doctor(typed: &args::Doctor, global: &Global, config: &Config) -> Result<Exit, (Exit, anyhow::Error)> {
    let location = stores::locate(global, config, &[])?;
    name_on_interrupt(location.display());
    let report = Report::of(&location);
    let text = match typed.json {
        true => {
            let json = serde_json::to_string_pretty(&report).expect("a report is plain data with string keys");
            format!("{}\n", shown_json(&json))
        }
        false => report.for_people() + if typed.explain { RULES } else { "" },
    };
    print(text.as_bytes())?;
    Ok(Exit::Given(match report.promise {
        Promise::All => 0,
        Promise::Part => 1,
        Promise::None => 2,
    }))
}

/// What `--json` shows. The keys are a promise.
#[derive(Serialize)]
struct Report {
    store: String,
    engine: &'static str,
    promise: Promise,
    max_ttl: f64,
    /// The slowest of a few requests, in seconds; null if it was not reached.
    request: Option<f64>,
    /// Its clock less ours, in seconds; null if it was not reached or has none of its own.
    clock_offset: Option<f64>,
    findings: Vec<Finding>,
}

impl Report {
    fn of(location: &Location) -> Report {
        let mut store = location.open(PATIENCE);
        let kind = store.kind();
        let mut report = Report {
            store: location.display(),
            engine: kind.engine,
            promise: Promise::None,
            max_ttl: location.max_ttl().as_secs_f64(),
            request: None,
            clock_offset: None,
            findings: Vec::new(),
        };
        match report.examine(store.as_mut(), location.max_ttl()) {
            Ok(findings) => report.findings.extend(findings),
            Err(Error::Unreachable(why) | Error::Refused(why) | Error::Damaged(why)) => {
                report.findings.push(Finding::fatal("reach", why));
            }
        }
        report.promise = report.findings.iter().map(|finding| finding.promise).max().unwrap_or(Promise::None);
        report
    }

    fn examine(&mut self, store: &mut dyn Store, max_ttl: Duration) -> Result<Vec<Finding>, Error> {
        let nobodys = Name::new(NOBODYS).expect("it is a name");
        // The first look makes the connection, and is no measure of those that follow.
        store.view(&nobodys, None)?;
        let mut slowest = Duration::ZERO;
        for _ in 0..LOOKS {
            let (began, sent) = (Clock::Boottime.now(), Wall::now());
            let view = store.view(&nobodys, None)?;
            slowest = slowest.max(Clock::Boottime.now().since(began));
            if store.kind().clock == Clock::Boottime {
                self.findings.retain(|finding| finding.about != "clock");
                let (offset, finding) = clock(view.now, (sent, Wall::now()));
                self.clock_offset = Some(offset);
                self.findings.push(finding);
            }
        }
        self.request = Some(slowest.as_secs_f64());
        self.findings.push(speed(slowest, max_ttl));
        store.examine()
    }

    fn for_people(&self) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let mark = match finding.promise {
                Promise::All => "ok",
                Promise::Part => "part",
                Promise::None => "none",
            };
            let _ = writeln!(out, "{mark:<5} {:<12} {}", finding.about, shown(&finding.says, LONGEST));
        }
        let store = shown(&self.store, LONGEST);
        let _ = match self.promise {
            Promise::All => writeln!(
                out,
                "{store} keeps the whole promise: a job that lost its lease is dead before anyone else gets the lock, and fences only rise"
            ),
            Promise::Part => writeln!(out, "{store} keeps the promise in part: not in what the lines with part say"),
            Promise::None => writeln!(out, "{store} can't be used as it is: see the lines with none"),
        };
        out
    }
}

/// A server's clock judges nobody that was watched; it dates what is shown, and fences start from it.
fn clock(server: Wall, between: (Wall, Wall)) -> (f64, Finding) {
    let middle = between.0.0 + (between.1.0 - between.0.0) / 2;
    let offset = (server.0 as f64 - middle as f64) / 1000.0;
    let finding = match clocks_agree(server, between) {
        true => Finding::fine("clock", "its clock agrees with this host's"),
        // No part of the promise hangs on it, but much of what people read does.
        false => Finding::fine(
            "clock",
            format!(
                "its clock is {offset:+.0}s from this host's: no lease hangs on that, but times shown and rates do, and a first use \
                 waits for max_ttl; set one of them right"
            ),
        ),
    };
    (offset, finding)
}

fn speed(slowest: Duration, max_ttl: Duration) -> Finding {
    let wanted = timing::shortest_for(slowest * HEADROOM).max(SHORTEST_TTL);
    let millis = slowest.as_secs_f64() * 1000.0;
    let shortest = humantime::format_duration(Duration::from_secs(wanted.as_secs_f64().ceil() as u64));
    match wanted > max_ttl {
        false => Finding::fine(
            "speed",
            format!("the slowest of {LOOKS} requests took {millis:.1}ms: a --ttl of {shortest} or more is safe to use"),
        ),
        true => Finding::partly(
            "speed",
            format!(
                "the slowest of {LOOKS} requests took {millis:.1}ms: jobs would be stopped for no fault of theirs; use max_ttl={shortest} or more"
            ),
        ),
    }
}

const RULES: &str = "
Which store fits
  one host, one user           the file store, the default: no server, no lease, no clock; a dead holder's lock is free at once
  a database is there already  postgres://: simple, forgets nothing; for locks that are not taken hundreds of times a second
  speed, many short locks      redis:// with appendonly yes: what it forgets costs a pause of max_ttl, and is noticed
  a failure is unacceptable    etcd:// with three members or five: strongly consistent, goes on when a host is lost; ttl 6s or more;
                               zk:// does the same where ZooKeeper is there
Whatever it is, let the resource refuse a late job too: vaultlock run --guard FILE, vaultlock fence, or the number in its own
WHERE clause. vaultlock(7) tells how, and what each store promises under which assumptions.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_request() {
        let between = (Wall(1_000_000), Wall(1_000_200));
        assert_eq!(clock(Wall(1_000_100), between).0, 0.0);
        assert_eq!(clock(Wall(990_100), between).0, -10.0);
        assert!(clock(Wall(990_100), between).1.says.contains("-10s"));
    }

    #[test]
    fn a_slow_store_wants_a_longer_ttl() {
        let told = |millis, max_ttl| speed(Duration::from_millis(millis), Duration::from_secs(max_ttl));
        assert!(told(1, 30).says.contains("a --ttl of 1s or more"));
        assert!(told(200, 30).says.contains("a --ttl of 12s or more"), "{:?}", told(200, 30));
        assert_eq!(told(200, 30).promise, Promise::All);
        assert_eq!(told(200, 10).promise, Promise::Part);
    }
}
