//! `vaultlock status`: who holds a lock, who waits for it, and for how long the lease still has.

use std::fmt::Write;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;

use super::args::{self, Global};
use super::config::Config;
use super::watch::watch;
use super::{print, stores};
use crate::exit::Exit;
use crate::ledger::codec::LONGEST_LABEL;
use crate::ledger::rest::Rest;
use crate::ledger::{Breaker, Holder, Id, Life, Listed, Mode, StopReason, View};
use crate::name::Name;
use crate::shown::{shown, shown_json};
use crate::store::{self, Store};

/// How long the store may take to answer somebody who only looks.
const PATIENCE: Duration = Duration::from_secs(5);
const WIDTH: usize = 60;

/// Prints the locks that were named, or all.
///
/// # Errors
/// A name that is none, or a store that does not answer, refuses or is damaged.
pub fn status(typed: &args::Status, global: &Global, config: &Config) -> Result<Exit, (Exit, anyhow::Error)> {
    let names: Result<Vec<Name>, _> = typed.names.iter().map(|name| Name::new(name)).collect();
    let names = names.map_err(|error| (Exit::Usage, error.into()))?;
    let location = stores::locate(global, config, &names)?;
    let mut store = location.open(PATIENCE);
    if typed.watch {
        return watch(store.as_mut(), &location.display(), &names, typed.json);
    }
    name_on_interrupt(location.display());
    let views = look(store.as_mut(), &names).map_err(|error| (Exit::Failed, error.into()))?;
    let reports: Vec<Report> = views.iter().map(Report::new).collect();
    if !typed.json {
        return print(for_people(&reports).as_bytes());
    }
    let one = typed.names.len() == 1;
    let json = if one { serde_json::to_string_pretty(&reports[0]) } else { serde_json::to_string_pretty(&reports) };
    let json = json.expect("a report is plain data with string keys");
    print(format!("{}\n", shown_json(&json)).as_bytes())
}

/// A store that does not answer is waited for; whoever interrupts that is told which one it was.
pub(super) fn name_on_interrupt(store: String) {
    let interrupted = move || {
        eprintln!("vaultlock: interrupted while asking {store}");
        std::process::exit(Exit::Signal(Signal::SIGINT as i32).code().into());
    };
    // Refused where our caller ignores SIGINT; then it stays ignored.
    let _ = ctrlc::try_set_handler(interrupted);
}

pub(super) fn look(store: &mut dyn Store, names: &[Name]) -> Result<Vec<View>, store::Error> {
    let names = if names.is_empty() { store.locks()? } else { names.to_vec() };
    names.iter().map(|name| store.view(name, None)).collect()
}

/// One lock, as `--json` shows it. The keys are a promise; ids that could act as a claim are not in it.
#[derive(Serialize)]
pub(super) struct Report {
    name: String,
    version: u64,
    epoch: String,
    as_of: String,
    mode: Option<Mode>,
    slots: u32,
    holders: Vec<HolderRow>,
    queue: Vec<QueueRow>,
    waiting: usize,
    rests: Vec<RestRow>,
    reservations: Vec<()>,
    keys: Vec<()>,
}

#[derive(Serialize)]
struct HolderRow {
    session: String,
    fence: u64,
    mode: Mode,
    priority: i32,
    /// Raised to that of the most urgent one that waits for it.
    effective_priority: i32,
    /// Why it is asked to end, if it is, in a word.
    asked_to_stop: Option<&'static str>,
    /// Who broke it, and why.
    broken: Option<Breaker>,
    label: String,
    host: String,
    pid: u32,
    since: String,
    /// Seconds until the lease ends if no beat comes; null where the lease ends with the process alone.
    expires_in: Option<f64>,
    alive: Option<bool>,
    #[serde(skip)]
    held_for: Duration,
}

#[derive(Serialize)]
struct QueueRow {
    position: usize,
    session: String,
    mode: Mode,
    priority: i32,
    asked_to_stop: Option<&'static str>,
    broken: Option<Breaker>,
    label: String,
    host: String,
    pid: u32,
    since: String,
    alive: Option<bool>,
    #[serde(skip)]
    waited: Duration,
}

/// A lock kept by `--min-hold` for one that is gone.
#[derive(Serialize)]
struct RestRow {
    session: String,
    fence: u64,
    until: String,
    #[serde(skip)]
    left: Duration,
}

impl Report {
    pub(super) fn new(view: &View) -> Report {
        let ledger = &view.ledger;
        Report {
            name: ledger.name.clone(),
            version: ledger.version,
            epoch: view.epoch.clone(),
            as_of: view.now.rfc3339(),
            mode: ledger.holders.first().map(|holder| holder.mode),
            slots: ledger.holders.iter().map(|holder| holder.slots).min().unwrap_or(1),
            holders: ledger.holders.iter().map(|holder| HolderRow::new(holder, view)).collect(),
            queue: view.waiters().enumerate().map(|(at, listed)| QueueRow::new(at + 1, listed, view)).collect(),
            waiting: view.waiting,
            rests: rests(view),
            reservations: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl HolderRow {
    fn new(holder: &Holder, view: &View) -> HolderRow {
        let life = view.ticket(&holder.id).map(|listed| listed.life);
        let expires_in = match life {
            Some(Life::Beat { quiet: Some(quiet), .. }) => {
                Some(holder.ttl().min(view.max_ttl).saturating_sub(quiet).as_secs_f64())
            }
            _ => None,
        };
        HolderRow {
            session: holder.id.session(),
            fence: holder.fence,
            mode: holder.mode,
            priority: holder.priority,
            effective_priority: view
                .waiters()
                .filter(|listed| listed.life != Life::Dead)
                .map(|listed| listed.ticket.priority)
                .fold(holder.priority, i32::max),
            asked_to_stop: asked(&holder.id, view).map(StopReason::word),
            broken: broken(&holder.id, view),
            label: holder.who.label.clone(),
            host: holder.who.host.clone(),
            pid: holder.who.pid,
            since: holder.since.rfc3339(),
            expires_in,
            alive: alive(life),
            held_for: view.now.since(holder.since),
        }
    }
}

impl QueueRow {
    fn new(position: usize, listed: &Listed, view: &View) -> QueueRow {
        let ticket = &listed.ticket;
        QueueRow {
            position,
            session: ticket.id.session(),
            mode: ticket.mode,
            priority: ticket.priority,
            asked_to_stop: asked(&ticket.id, view).map(StopReason::word),
            broken: broken(&ticket.id, view),
            label: ticket.who.label.clone(),
            host: ticket.who.host.clone(),
            pid: ticket.who.pid,
            since: listed.at.rfc3339(),
            alive: alive(Some(listed.life)),
            waited: view.now.since(listed.at),
        }
    }
}

/// What is kept beside that which is held.
fn rests(view: &View) -> Vec<RestRow> {
    let gone = |rest: &&Rest| view.ledger.holder(&rest.holder.id).is_none() && rest.until() > view.now;
    let row = |rest: &Rest| RestRow {
        session: rest.holder.id.session(),
        fence: rest.holder.fence,
        until: rest.until().rfc3339(),
        left: rest.until().since(view.now),
    };
    view.ledger.rests.iter().filter(gone).map(row).collect()
}

/// Why a claim is asked to end, if it is.
fn asked<'a>(id: &Id, view: &'a View) -> Option<&'a StopReason> {
    view.ledger.stops.iter().find(|stop| stop.id == *id).map(|stop| &stop.why)
}

fn broken(id: &Id, view: &View) -> Option<Breaker> {
    match asked(id, view)? {
        StopReason::Broken(breaker) => Some(breaker.clone()),
        _ => None,
    }
}

/// Whether the store knows; only watching could tell where it counts beats.
fn alive(life: Option<Life>) -> Option<bool> {
    match life? {
        Life::Alive => Some(true),
        Life::Dead => Some(false),
        Life::Beat { .. } => None,
    }
}

pub(super) fn for_people(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        let _ = writeln!(out, "{}", summary(report));
        for holder in &report.holders {
            let _ = writeln!(out, "  held    {}", held(holder));
        }
        for rest in &report.rests {
            let left = whole(rest.left);
            let _ = writeln!(
                out,
                "  kept    for {left} more (--min-hold) by session {}, fence {}, which is gone",
                rest.session, rest.fence
            );
        }
        for waiter in &report.queue {
            let _ = writeln!(out, "  {:>4}.   {}", waiter.position, queued(waiter));
        }
        if report.waiting > report.queue.len() {
            let _ = writeln!(out, "          and {} more", report.waiting - report.queue.len());
        }
    }
    out
}

fn summary(report: &Report) -> String {
    let name = shown(&report.name, 200);
    let kept = if report.rests.is_empty() { "free" } else { "kept" };
    match (report.holders.len(), report.waiting) {
        (0, 0) => format!("{name}: {kept}"),
        (0, waiting) => format!("{name}: {kept}, {waiting} waiting"),
        (held, 0) => format!("{name}: held{}", slots(report, held)),
        (held, waiting) => format!("{name}: held{}, {waiting} waiting", slots(report, held)),
    }
}

/// How many hold it, where more than one may.
fn slots(report: &Report, held: usize) -> String {
    match report.mode {
        Some(Mode::Shared) => format!(" by {held} that share it"),
        _ if report.slots > 1 => format!(" in {held} of {} slots", report.slots),
        _ => String::new(),
    }
}

fn held(holder: &HolderRow) -> String {
    let lease = match (holder.alive, holder.expires_in) {
        (Some(false), _) => "its processes are gone".to_owned(),
        (Some(true), _) => "alive".to_owned(),
        (None, Some(left)) => format!("lease ends in {left:.0}s unless renewed"),
        (None, None) => "lease unknown".to_owned(),
    };
    let who = who(&holder.label, &holder.host, holder.pid);
    let shared = if holder.mode == Mode::Shared { ", shared" } else { "" };
    let priority = match (holder.priority, holder.effective_priority) {
        (0, 0) => String::new(),
        (typed, raised) if raised > typed => format!(", priority {typed}, raised to {raised} by who waits"),
        (typed, _) => format!(", priority {typed}"),
    };
    let asked = asked_to_stop(holder.asked_to_stop, holder.broken.as_ref());
    let (held_for, fence, session) = (whole(holder.held_for), holder.fence, &holder.session);
    format!("{who} for {held_for}, fence {fence}, session {session}, {lease}{shared}{priority}{asked}")
}

fn queued(waiter: &QueueRow) -> String {
    let asked = asked_to_stop(waiter.asked_to_stop, waiter.broken.as_ref());
    let gone = if waiter.alive == Some(false) { ", its processes are gone" } else { "" };
    let who = who(&waiter.label, &waiter.host, waiter.pid);
    let shared = if waiter.mode == Mode::Shared { ", shared" } else { "" };
    let priority = if waiter.priority == 0 { String::new() } else { format!(", priority {}", waiter.priority) };
    format!("{who} waits for {}, session {}{shared}{priority}{gone}{asked}", whole(waiter.waited), waiter.session)
}

fn asked_to_stop(word: Option<&str>, broken: Option<&Breaker>) -> String {
    match (word, broken) {
        (_, Some(Breaker { by, reason })) => format!(", broken by {}: {}", shown(by, WIDTH), shown(reason, LONGEST_LABEL)),
        (Some("preempted"), _) => ", asked to stop for one of a higher priority".to_owned(),
        (Some("superseded"), _) => ", asked to stop for a newer one of its group".to_owned(),
        (Some(_), _) => ", asked to stop".to_owned(),
        (None, _) => String::new(),
    }
}

pub(super) fn who(label: &str, host: &str, pid: u32) -> String {
    format!("{} (host {}, pid {pid})", shown(label, WIDTH), shown(host, WIDTH))
}

fn whole(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}
