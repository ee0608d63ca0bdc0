//! Locks in PostgreSQL: a row a lock, a row a claim, and never an advisory lock, which a pooler would leave with a stranger.
//! The tables are in man/postgres.sql, the statements in sql/; leases are told dead by watching their beats.
//!
//! Every verb is one message of simple statements, hence one round trip and one transaction that no slow client can hold
//! open. It needs no state of a session, so it works through PgBouncer in transaction mode. Only LISTEN does not, and where
//! it is not the server's own process that answers, a waiter looks again by itself.
//!
//! The epoch is the system identifier with the WAL's timeline: a restart loses nothing (no commit of ours is asynchronous),
//! a fail-over may. A server with fsync off may lose something in any restart, so there each is a new epoch.

mod address;
mod connection;
mod examine;
#[cfg(test)]
mod forms;
mod habits;
mod message;
mod refusal;
mod reply;
mod scram;
mod statements;
mod tls;
mod url;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use address::Address;
pub use habits::Surroundings;

use self::connection::{Connection, Fault};
use self::message::Brought;
use self::reply::{Reply, Seen};
use self::statements::{MOST_WAITERS, Statements};
use super::wire::Budget;
use super::{Beat, Error, Finding, Kind, Liveness, Outcome, Store, Terms};
use crate::bell;
use crate::ledger::codec::{LONGEST, write_ledger};
use crate::ledger::{Commit, Form, Id, Straight, Ticket, View};
use crate::name::Name;
use crate::time::{Clock, Tick, Wall};

const CLOCK: Clock = Clock::Boottime;
/// So often a verb is asked again that came upon a store without tables or without a record of its life.
const MOST_TRIES: u32 = 3;
/// Through a pooler nobody is woken: who is next looks so often, and the others the less the further back they stand.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const LONGEST_LOOK: Duration = Duration::from_secs(3);
/// The caller's bell is not heard while asking to be woken, so that may not take long.
const LONGEST_LISTEN: Duration = Duration::from_secs(1);

/// A store in one PostgreSQL database.
pub struct Postgres {
    address: Address,
    terms: Terms,
    line: Option<Connection>,
    /// Whether the server's own process is at the other end of the line.
    direct: bool,
    /// Whether it refused to wake us.
    deaf: bool,
    /// Tickets that were last seen waiting, and how many stood before them.
    waiting: BTreeMap<Id, usize>,
}

impl Postgres {
    /// A store that connects when it is first used.
    pub fn open(address: Address, terms: &Terms) -> Postgres {
        Postgres { address, terms: terms.clone(), line: None, direct: false, deaf: false, waiting: BTreeMap::new() }
    }

    /// Carries statements out, and makes the tables first where there are none.
    fn ask(&mut self, make: &dyn Fn(&Statements<'_>) -> String) -> Result<(Vec<Brought>, (Wall, Wall)), Error> {
        let sent = Wall::now();
        match self.ask_once(make)? {
            Ok(brought) => return Ok((brought, (sent, Wall::now()))),
            Err(said) if lacks_tables(&said) => self.make_tables()?,
            Err(said) => return Err(self.refused(&said)),
        }
        let sent = Wall::now();
        match self.ask_once(make)? {
            Ok(brought) => Ok((brought, (sent, Wall::now()))),
            Err(said) => Err(self.refused(&said)),
        }
    }

    /// One round trip; the server's own complaint is an answer.
    fn ask_once(&mut self, make: &dyn Fn(&Statements<'_>) -> String) -> Result<Result<Vec<Brought>, message::Complaint>, Error> {
        let budget = Budget::new(self.terms.request);
        let mut line = self.line(budget)?;
        let statements = Statements { schema: &self.address.prefix, max_ttl: self.terms.max_ttl, within: budget.whole };
        match line.ask(&make(&statements), budget) {
            Ok(brought) => {
                // Put back only after an answer in full: what else is under way would be taken for the next verb's.
                self.line = Some(line);
                Ok(Ok(brought))
            }
            Err(Fault::Said(said)) => {
                if !said.is_fatal() {
                    self.line = Some(line);
                }
                Ok(Err(*said))
            }
            Err(Fault::Line(error)) => Err(refusal::line(&self.address, &line.host, &error, budget.whole)),
            Err(Fault::Strange) => Err(refusal::stranger(&line.host)),
        }
    }

    /// The line, opened anew if it ended while idle. It is taken out: who fails does not put it back.
    fn line(&mut self, budget: Budget) -> Result<Connection, Error> {
        if let Some(mut line) = self.line.take()
            && line.overheard().is_ok()
        {
            return Ok(line);
        }
        Connection::open(&self.address, budget)
    }

    fn make_tables(&mut self) -> Result<(), Error> {
        match self.ask_once(&|statements| statements.schema())? {
            Ok(_) => Ok(()),
            // Somebody made them at the same time: IF NOT EXISTS looks before the other's are there.
            Err(said) if matches!(said.code.as_str(), "23505" | "42P06" | "42P07" | "42710" | "XX000" | "40P01") => Ok(()),
            Err(said) => Err(self.refused(&said)),
        }
    }

    fn refused(&self, said: &message::Complaint) -> Error {
        let host = self.line.as_ref().map_or(&self.address.hosts[0], |line| &line.host);
        refusal::said(&self.address, host, said)
    }

    /// A verb that ends in a view; whether it was done as well, where it says so.
    fn seen(&mut self, lock: &Name, id: Option<&Id>, make: &dyn Fn(&Statements<'_>) -> String) -> Result<(View, bool), Error> {
        for _ in 0..MOST_TRIES {
            let (brought, between) = self.ask(make)?;
            let reply = Reply { address: &self.address, lock, max_ttl: self.terms.max_ttl, between, brought };
            let done = reply.was_done();
            match reply.view(id)? {
                Seen::View(view, backend) => {
                    self.direct = self.line.as_ref().is_some_and(|line| line.is_direct(backend.0));
                    self.note(&view, id);
                    return Ok((*view, done));
                }
                // Nothing was done while the record was stale, so the verb is asked again as it was.
                Seen::Stale => {
                    let mark = random_mark();
                    self.ask(&|statements| statements.remember(&mark))?;
                }
            }
        }
        Err(refusal::damaged(&self.address, "the store's record", "it does not stay as it is written"))
    }

    fn note(&mut self, view: &View, id: Option<&Id>) {
        let Some(id) = id else { return };
        if view.ticket(id).is_some() && view.ledger.holder(id).is_none() {
            self.waiting.insert(id.clone(), view.ahead);
        } else {
            self.waiting.remove(id);
        }
    }

    fn join(&mut self, lock: &Name, ticket: &Ticket, straight: Option<(Form, &Straight)>) -> Result<View, Error> {
        let make = |statements: &Statements<'_>| statements.take(lock, ticket, straight.clone());
        let (mut view, _) = self.seen(lock, Some(&ticket.id), &make)?;
        // Another made the store's record between the statement that takes and the one that looks. Whose id is gone for good
        // is told so once more.
        if view.ticket(&ticket.id).is_none() && view.waiting < MOST_WAITERS {
            view = self.seen(lock, Some(&ticket.id), &make)?.0;
        }
        if view.ticket(&ticket.id).is_none() && view.waiting >= MOST_WAITERS {
            return Err(refusal::full(&self.address, view.waiting));
        }
        Ok(view)
    }

    /// Asks to be woken, once a line; whether this was it.
    fn listens_anew(&mut self, id: &Id) -> bool {
        let channel = statements::channel(id);
        let Some(mut line) = self.line.take() else { return false };
        if line.listens.as_ref() == Some(&channel) {
            self.line = Some(line);
            return false;
        }
        let budget = Budget::new(self.terms.request.min(LONGEST_LISTEN));
        match line.ask(&statements::listen(&channel), budget) {
            Ok(_) => {
                line.listens = Some(channel);
                self.line = Some(line);
            }
            // It can't, so it is not asked again.
            Err(Fault::Said(said)) if !said.is_fatal() => {
                self.deaf = true;
                self.line = Some(line);
            }
            Err(_) => {}
        }
        true
    }

    /// Until something comes on the line, the bell rings, or it is time.
    fn listen(&mut self, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            let Some(line) = &mut self.line else {
                bell::listen(&[bell], until, CLOCK).map_err(broken)?;
                return Ok(());
            };
            // Before the wait: TLS may have read ahead what poll(2) can't see any more.
            match line.overheard() {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                // The server may be back without its memory: whoever waits or holds looks at once.
                Err(_) => {
                    self.line = None;
                    return Ok(());
                }
            }
            let rung = bell::listen(&[line.fd(), bell], until, CLOCK).map_err(broken)?;
            if rung[1] || CLOCK.now() >= until {
                return Ok(());
            }
        }
    }
}

impl Store for Postgres {
    fn kind(&self) -> Kind {
        Kind { engine: "postgres", clock: CLOCK, liveness: Liveness::Beats }
    }

    fn allow(&mut self, request: Duration) {
        self.terms.request = request;
    }

    fn prepare(&mut self, _lock: &Name, _ticket: &Ticket) -> Result<Vec<RawFd>, Error> {
        Ok(Vec::new())
    }

    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error> {
        self.join(lock, ticket, None)
    }

    fn enter(&mut self, lock: &Name, ticket: &Ticket, straight: &Straight) -> Result<View, Error> {
        let form = Form::of(lock.as_str(), ticket, straight.wall);
        self.join(lock, ticket, form.map(|form| (form, straight)))
    }

    fn beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error> {
        let (brought, between) = self.ask(&|statements| statements.beat(lock, id, with))?;
        let reply = Reply { address: &self.address, lock, max_ttl: self.terms.max_ttl, between, brought };
        let beat = reply.beat(id)?;
        if beat == Beat::Gone {
            self.waiting.remove(id);
        }
        Ok(beat)
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        self.seen(lock, id, &|statements| statements.view(lock, id)).map(|(view, _)| view)
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        if commit.ledger.as_ref().is_some_and(|ledger| write_ledger(ledger).len() > LONGEST) {
            return Err(Error::Refused(format!("the ledger of {lock:?} would be too long: use fewer holders or shorter labels")));
        }
        let (view, done) = self.seen(lock, Some(id), &|statements| statements.commit(lock, id, commit))?;
        Ok(if done { Outcome::Done(Some(view)) } else { Outcome::Conflict(view) })
    }

    fn wait(&mut self, _lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        match self.waiting.get(id).copied() {
            // A holder learns of requests by its beats.
            None => self.listen(until, bell),
            Some(_) if self.direct && !self.deaf => {
                // Nobody woke it before it listened: so its owner looks once more.
                if self.listens_anew(id) { Ok(()) } else { self.listen(until, bell) }
            }
            Some(ahead) => self.listen(until.min(CLOCK.now() + pause(ahead)), bell),
        }
    }

    fn locks(&mut self) -> Result<Vec<Name>, Error> {
        let (mut brought, _) = self.ask(&|statements| statements.names())?;
        let (names, life) = (brought.pop().unwrap_or_default(), brought.pop().unwrap_or_default());
        if life.rows.front().and_then(|row| row.first()?.as_deref()).is_none_or(str::is_empty) {
            return Err(refusal::standby(&self.address, &self.address.hosts[0]));
        }
        let read = |row: Vec<Option<String>>| Name::new(&row.into_iter().next()??).ok();
        let names = names.rows.into_iter().map(read).collect::<Option<Vec<Name>>>();
        let mut names = names.ok_or_else(|| refusal::damaged(&self.address, "the list of locks", "it holds what is no name"))?;
        names.sort();
        Ok(names)
    }

    fn examine(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

fn lacks_tables(said: &message::Complaint) -> bool {
    matches!(said.code.as_str(), "42P01" | "3F000")
}

/// How long to look away where nobody wakes: by half more or less, so that a crowd does not look in step.
fn pause(ahead: usize) -> Duration {
    let usual = (LOOK_AGAIN * (ahead as u32 + 1).min(100)).min(LONGEST_LOOK);
    let mut random = [0u8];
    // Without randomness all look at once, which is slow but right.
    let _ = getrandom::getrandom(&mut random);
    usual / 2 + usual * u32::from(random[0]) / 256
}

fn random_mark() -> String {
    let mut random = [0u8; 16];
    // Marks must differ, not be secret: without randomness the time does.
    if getrandom::getrandom(&mut random).is_err() {
        random = u128::from(CLOCK.now().0).to_be_bytes();
    }
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn broken(error: std::io::Error) -> Error {
    Error::Refused(format!("can't wait for postgres: {}; this is a fault in vaultlock, please report it", error.kind()))
}
