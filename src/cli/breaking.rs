//! `vaultlock break`: takes a lock from its holder, or its place from one that waits, and looks on until it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use nix::sys::signal::Signal;

use super::args::{self, Global};
use super::config::Config;
use super::status::who;
use super::{plan, print, stores};
use crate::exit::Exit;
use crate::ledger::breaking::Break;
use crate::ledger::codec::cut_label;
use crate::ledger::{Breaker, Id, Listed};
use crate::name::Name;
use crate::run::console::Verbosity;
use crate::session::Breaking;
use crate::session::breaking::{End, How, News, Step};
use crate::session::words::{Answer, Request};
use crate::shown::shown;
use crate::store::{Error, Store};
use crate::time::{Tick, Wall};

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Breaks a lock and says on standard output whom it was taken from.
///
/// # Errors
/// A name or a reason that is none; a store that does not answer, refuses or is damaged; one whose kernel keeps the lock.
pub fn break_lock(typed: &args::Break, global: &Global, config: &Config) -> Result<Exit, (Exit, anyhow::Error)> {
    let lock = Name::new(&typed.name).map_err(|error| (Exit::Usage, error.into()))?;
    if typed.reason.trim().is_empty() {
        return Err((Exit::Usage, anyhow!("--reason is empty: whoever loses the lock is told it")));
    }
    let location = stores::locate(global, config, std::slice::from_ref(&lock))?;
    let asked = Arc::new(AtomicBool::new(false));
    explain_on_interrupt(location.display(), asked.clone());
    let breaker = Breaker { by: plan::user_at_host(), reason: cut_label(&typed.reason) };
    let order = Break { session: typed.session.clone(), breaker, if_version: typed.if_version, force: typed.force };
    let author = Id::from_random(plan::random().map_err(|error| (Exit::Failed, error))?);
    let mut operation = Operation {
        verbosity: plan::verbosity(global),
        shown: shown(lock.as_str(), 200),
        lock,
        author,
        store: location.open(PATIENCE),
        breaking: Breaking::new(order),
        in_trouble: false,
        asked,
    };
    match operation.carry_out() {
        End::Gone(how) => print(operation.farewell(how).as_bytes()),
        End::Failed(error) => Err((Exit::Failed, error.into())),
        End::Kept => Err((Exit::Failed, anyhow!("{}: {}", operation.shown, KEPT))),
        end => {
            operation.note(&operation.nothing_done(&end, typed));
            Ok(Exit::Busy)
        }
    }
}

const KEPT: &str = "its holder lives, and on the file store its own processes keep the lock, whatever others do: break it without \
                    --force, or end the processes by hand";

struct Operation {
    verbosity: Verbosity,
    lock: Name,
    /// The lock's name for people.
    shown: String,
    /// It has no ticket: an id for the store to tell its drafts by.
    author: Id,
    store: Box<dyn Store>,
    breaking: Breaking,
    in_trouble: bool,
    asked: Arc<AtomicBool>,
}

impl Operation {
    fn carry_out(&mut self) -> End {
        let clock = self.store.kind().clock;
        loop {
            match self.breaking.next(clock.now()) {
                Step::Ask(request) => {
                    let answer = self.ask(request);
                    self.in_trouble &= answer.is_err();
                    self.breaking.answer(clock.now(), Wall::now(), answer);
                }
                Step::Wait(until) => thread::sleep(clock.now().until(until)),
                Step::Tell(news) => self.tell(news, clock.now()),
                Step::End(end) => return end,
            }
        }
    }

    fn ask(&mut self, request: Request) -> Result<Answer, Error> {
        match request {
            Request::View => self.store.view(&self.lock, None).map(Answer::View),
            Request::Commit(commit) => self.store.commit(&self.lock, &self.author, &commit).map(Answer::Outcome),
            other => unreachable!("{other:?} is for who has a ticket"),
        }
    }

    fn tell(&mut self, news: News, now: Tick) {
        match news {
            News::Asked(lapses_at) => {
                self.asked.store(true, Ordering::Relaxed);
                let left = Duration::from_secs(now.until(lapses_at).as_secs() + 1);
                let lapse = match lapses_at {
                    Tick::NEVER => String::new(),
                    _ => format!(" (if nothing is heard of it: {})", humantime::format_duration(left)),
                };
                self.note(&format!("{}: asked {} to stop; waiting until it is gone{lapse}", self.shown, self.target()));
            }
            News::Forced => self.note(&format!(
                "{}: --force gives it away at once: the job of {} runs on until its vaultlock notices, perhaps beside the next; \
                 only a fence keeps it from writing",
                self.shown,
                self.target()
            )),
            News::Trouble(trouble) => {
                if !std::mem::replace(&mut self.in_trouble, true) {
                    self.note(&format!("{}: {trouble}; trying again", self.shown));
                }
            }
        }
    }

    fn target(&self) -> String {
        let target = self.breaking.target().map(|Listed { ticket, .. }| &ticket.who);
        target.map_or_else(|| "it".to_owned(), |target| who(&target.label, &target.host, target.pid))
    }

    fn farewell(&self, how: How) -> String {
        let session = self.breaking.target().map_or_else(String::new, |target| target.ticket.id.session());
        let end = match how {
            How::Left => "it is gone",
            How::Swept => "it was dead, and was removed",
            How::Forced => "it was removed by force",
        };
        format!("{}: broken: {}, session {session}: {end}\n", self.shown, self.target())
    }

    fn nothing_done(&self, end: &End, typed: &args::Break) -> String {
        let lock = &self.shown;
        match end {
            End::Changed(version) => format!(
                "{lock}: nothing was done: its version is {version}, not {}; look at vaultlock status again",
                typed.if_version.unwrap_or_default()
            ),
            End::Crowded => format!("{lock}: nothing was done: as many requests to stop stand as can; try again in a while"),
            _ => format!(
                "{lock}: nothing was done: session {} neither holds it nor waits for it; vaultlock status shows who does",
                shown(&typed.session, 60)
            ),
        }
    }

    fn note(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            eprintln!("vaultlock: {text}");
        }
    }
}

/// Whoever interrupts is told whether the request stands.
fn explain_on_interrupt(store: String, asked: Arc<AtomicBool>) {
    let interrupted = move || {
        match asked.load(Ordering::Relaxed) {
            true => eprintln!("vaultlock: interrupted; it stays asked to stop"),
            false => eprintln!("vaultlock: interrupted while asking {store}"),
        }
        std::process::exit(Exit::Signal(Signal::SIGINT as i32).code().into());
    };
    // Refused where our caller ignores SIGINT; then it stays ignored.
    let _ = ctrlc::try_set_handler(interrupted);
}
