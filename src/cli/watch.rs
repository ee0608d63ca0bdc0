//! `vaultlock status --watch`: the locks as they are, again and again, until it is interrupted.
//!
//! On a terminal a table that is drawn anew each second and when the window changes its size; elsewhere a new table, or with
//! `--json` a line a lock, when something has changed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use console::{Term, measure_text_width, style, truncate_str};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::Value;

use super::status::{Report, for_people, look};
use crate::bell;
use crate::exit::Exit;
use crate::name::Name;
use crate::shown::{shown, shown_json};
use crate::store::Store;
use crate::time::{Clock, Wall};

/// From one look to the next, unless a look takes long.
const EVERY: Duration = Duration::from_secs(1);
/// A store is left alone for so many times as long as a look at it took.
const REST: u32 = 9;
const LONGEST: usize = 500;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Ends with its process when it is interrupted, or when nobody reads on.
///
/// # Errors
/// The first look fails. Later a store that does not answer is told and asked again.
pub fn watch(store: &mut dyn Store, told: &str, names: &[Name], json: bool) -> Result<Exit, (Exit, anyhow::Error)> {
    let failed = |error: anyhow::Error| (Exit::Failed, error);
    // Before the handler has a thread: that inherits what is blocked.
    let resized = resizes().context("can't hear of the window's size").map_err(failed)?;
    let mut out = Output::new(json);
    out.leave_on_interrupt();
    let mut seen = BTreeMap::new();
    loop {
        let began = Clock::Boottime.now();
        let written = match look(store, names) {
            Ok(views) => {
                let reports: Vec<Report> = views.iter().map(Report::new).collect();
                let changed = changes(&reports, &mut seen);
                out.show(told, &reports, &changed)
            }
            Err(error) if seen.is_empty() && !out.has_shown => return Err(failed(error.into())),
            Err(error) => out.trouble(&error.to_string()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Success),
            written => written.context("can't write the answer").map_err(failed)?,
        }
        let now = Clock::Boottime.now();
        let until = now + EVERY.max(now.since(began) * REST);
        bell::listen(&[resized.as_fd()], until, Clock::Boottime).context("can't wait").map_err(failed)?;
        while let Ok(Some(_)) = resized.read_signal() {}
    }
}

fn resizes() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGWINCH);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Which of the reports say anything but how much time has gone by since they were last seen.
fn changes(reports: &[Report], seen: &mut BTreeMap<String, Value>) -> Vec<usize> {
    let mut now = BTreeMap::new();
    let mut changed = Vec::new();
    for (at, report) in reports.iter().enumerate() {
        let mut said = serde_json::to_value(report).expect("a report is plain data with string keys");
        said["as_of"] = Value::Null;
        for holder in said["holders"].as_array_mut().into_iter().flatten() {
            holder["expires_in"] = Value::Null;
        }
        let name = said["name"].as_str().unwrap_or_default().to_owned();
        if seen.get(&name) != Some(&said) {
            changed.push(at);
        }
        now.insert(name, said);
    }
    *seen = now;
    changed
}

/// Where it is shown, and how.
struct Output {
    terminal: Option<Terminal>,
    json: bool,
    has_shown: bool,
}

impl Output {
    fn new(json: bool) -> Output {
        let term = Term::stdout();
        // One that can't place its cursor is as good as none.
        let able = term.features().is_attended() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = (able && !json).then(|| Terminal { term, last: Arc::default() });
        Output { terminal, json, has_shown: false }
    }

    fn leave_on_interrupt(&self) {
        let last = self.terminal.as_ref().map(|terminal| Arc::clone(&terminal.last));
        let interrupted = move || {
            if let Some(last) = &last {
                // What was seen last stays on the screen that the shell goes on with.
                let last = locked(last);
                if !last.is_empty() {
                    let _ = write!(io::stdout(), "{LEAVE}{}", *last).and_then(|()| io::stdout().flush());
                }
                process::exit(Exit::Signal(Signal::SIGINT as i32).code().into());
            }
            process::exit(Exit::Signal(Signal::SIGINT as i32).code().into());
        };
        // Refused where our caller ignores SIGINT; then it stays ignored.
        let _ = ctrlc::try_set_handler(interrupted);
    }

    fn show(&mut self, told: &str, reports: &[Report], changed: &[usize]) -> io::Result<()> {
        let first = !std::mem::replace(&mut self.has_shown, true);
        if let Some(terminal) = &self.terminal {
            return terminal.draw(told, &for_people(reports), first);
        }
        if changed.is_empty() && !first {
            return Ok(());
        }
        let mut out = io::stdout();
        if self.json {
            for report in changed.iter().map(|at| &reports[*at]) {
                let json = serde_json::to_string(report).expect("a report is plain data with string keys");
                writeln!(out, "{}", shown_json(&json))?;
            }
        } else {
            write!(out, "{}{}", if first { "" } else { "\n" }, for_people(reports))?;
        }
        out.flush()
    }

    /// Standard error is no part of what is shown, but on a terminal both are one.
    fn trouble(&self, said: &str) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => terminal.mark(said),
            None => {
                eprintln!("vaultlock: {said}; asking again");
                Ok(())
            }
        }
    }
}

/// The screen of a terminal beside the one that the shell has.
struct Terminal {
    term: Term,
    /// The table as it was drawn last, whole.
    last: Arc<Mutex<String>>,
}

impl Terminal {
    fn draw(&self, told: &str, table: &str, first: bool) -> io::Result<()> {
        // Held while it is written, so that nothing is drawn once the screen was left.
        let mut last = locked(&self.last);
        let (rows, columns) = self.term.size();
        let head = format!("{}  {}", shown(told, LONGEST), Wall::now().rfc3339());
        let drawn = fitted(&head, table, rows.into(), columns.into());
        table.clone_into(&mut last);
        if last.is_empty() {
            last.push_str("no locks\n");
        }
        let mut out = io::stdout();
        write!(out, "{}{HOME}", if first { ENTER } else { "" })?;
        let count = drawn.len();
        for (at, line) in drawn.into_iter().enumerate() {
            // No end of line after the last row, or the screen would roll.
            write!(out, "{line}{CLEAR_LINE}{}", if at + 1 < count { "\r\n" } else { "" })?;
        }
        write!(out, "{CLEAR_BELOW}")?;
        out.flush()
    }

    /// Puts a word over the head of what is there.
    fn mark(&self, said: &str) -> io::Result<()> {
        let _held = locked(&self.last);
        let (_, columns) = self.term.size();
        let said = cut(&format!("{}; asking again", shown(said, LONGEST)), columns.into());
        let mut out = io::stdout();
        write!(out, "{HOME}{}{CLEAR_LINE}", style(said).reverse())?;
        out.flush()
    }
}

/// The lines that a window of this size has room for, and a word on those it has not.
fn fitted(head: &str, table: &str, rows: usize, columns: usize) -> Vec<String> {
    let lines: Vec<&str> = table.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let (shown, left) = if lines.len() <= room { (lines.len(), 0) } else { (room - 1, lines.len() - (room - 1)) };
    let bold = |line: &str| style(cut(line, columns)).bold().to_string();
    let mut drawn = vec![style(cut(head, columns)).dim().to_string()];
    // What is indented belongs to the lock above it.
    drawn.extend(lines[..shown].iter().map(|line| if line.starts_with(' ') { cut(line, columns) } else { bold(line) }));
    if left > 0 {
        drawn.push(cut(&format!("and {left} more lines"), columns));
    }
    drawn
}

fn cut(line: &str, columns: usize) -> String {
    match measure_text_width(line) <= columns {
        true => line.to_owned(),
        false => truncate_str(line, columns, "…").into_owned(),
    }
}

fn locked(last: &Mutex<String>) -> MutexGuard<'_, String> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_window() {
        let table = "lock-a: held\n  held    somebody far away\nb: free\nc: free\n";
        assert_eq!(fitted("head", table, 24, 80), ["head", "lock-a: held", "  held    somebody far away", "b: free", "c: free"]);
        assert_eq!(fitted("head", table, 4, 8), ["head", "lock-a:…", "  held …", "and 2 m…"]);
        assert_eq!(fitted("head", table, 1, 3), ["he…", "an…"]);
        assert_eq!(cut("鍵鍵鍵", 5), "鍵鍵…", "a wide letter takes two columns");
    }
}
