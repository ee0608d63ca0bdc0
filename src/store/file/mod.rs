//! The file store: locks of one host, in a directory, without a server.
//!
//! ```text
//! <dir>/<boot id>/<lock>/ledger/<version>     the ledger; the highest version is the current one
//! <dir>/<boot id>/<lock>/tickets/<place>.<id> one file a claim, flock(2)ed for as long as the claim lives
//! <dir>/<boot id>/<lock>/bells/<id>           a FIFO to wake a waiter, and to hear of its end
//! ```
//!
//! A ticket's lock is held by worker, sentry and job together and is freed by the kernel when the last of them is
//! gone: no lease, no clock, and no process that a SIGSTOP could turn into an obstacle. The boot id is part of the path
//! because a reboot ends every claim.

pub mod address;
mod examine;
mod ledgers;
mod listing;
mod place;
mod tickets;
mod trust;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ledger::{Commit, Guard, Id, Ledger, Life, Memory, Straight, Ticket, View, view::FIRST};
use crate::name::Name;
use crate::shown;
use crate::time::{Clock, Tick, Wall};

use super::{Beat, Error, Finding, Kind, Liveness, Outcome, Store};
use ledgers::Ledgers;
use place::{LockDir, Place};
use tickets::{Mine, Place as TicketPlace, Tickets};
use watch::Watch;

pub use place::default_dir;

/// A store in a directory of this host.
pub struct FileStore {
    dir: PathBuf,
    /// The same without links, if that is known.
    real: Option<PathBuf>,
    max_ttl: Duration,
    place: Option<Place>,
    open: BTreeMap<Name, OpenLock>,
}

/// One lock's directories, and what this process has there.
struct OpenLock {
    dir: LockDir,
    ledgers: Ledgers,
    tickets: Tickets,
    watch: Watch,
}

impl FileStore {
    /// A store in `dir`, which is made on first use. Touches nothing yet.
    pub fn new(dir: &Path, max_ttl: Duration) -> FileStore {
        FileStore { dir: dir.to_owned(), real: None, max_ttl, place: None, open: BTreeMap::new() }
    }

    /// Spares it to find out what its path is without links.
    #[must_use]
    pub fn known_as(mut self, real: Option<&PathBuf>) -> FileStore {
        self.real = real.cloned();
        self
    }

    /// The lock's directories, made if they are missing.
    fn lock(&mut self, lock: &Name) -> Result<&mut OpenLock, Error> {
        if !self.open.contains_key(lock) {
            if self.place.is_none() {
                self.place = Some(Place::open(&self.dir, self.real.as_deref(), self.max_ttl)?);
            }
            let dir = self.place.as_ref().expect("just opened").lock_dir(lock)?;
            let opened = OpenLock { ledgers: Ledgers::open(&dir)?, tickets: Tickets::open(&dir)?, watch: Watch::default(), dir };
            self.open.insert(lock.clone(), opened);
        }
        Ok(self.open.get_mut(lock).expect("just inserted"))
    }
}

impl Store for FileStore {
    fn kind(&self) -> Kind {
        Kind { engine: "file store", clock: Clock::Monotonic, liveness: Liveness::Kernel }
    }

    fn allow(&mut self, _request: Duration) {}

    fn prepare(&mut self, lock: &Name, ticket: &Ticket) -> Result<Vec<RawFd>, Error> {
        Ok(vec![self.lock(lock)?.tickets.prepare(ticket)?.as_raw_fd()])
    }

    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error> {
        let taken = self.lock(lock)?.tickets.take(ticket).and_then(|()| self.view(lock, Some(&ticket.id)));
        if taken.is_err() {
            // What a refused caller leaves behind would stand in the queue of a lock that nobody can sweep.
            let tickets = &mut self.lock(lock)?.tickets;
            let _ = tickets.unlink_all(std::slice::from_ref(&ticket.id));
            tickets.unlock_all(std::slice::from_ref(&ticket.id));
        }
        taken
    }

    /// A rename and a link are two steps whatever is done.
    fn enter(&mut self, lock: &Name, ticket: &Ticket, _straight: &Straight) -> Result<View, Error> {
        self.take(lock, ticket)
    }

    fn beat(&mut self, lock: &Name, id: &Id, _with: &[Id]) -> Result<Beat, Error> {
        let epoch = self.epoch(lock)?;
        let lock = self.lock(lock)?;
        if !lock.tickets.present(id)? {
            return Ok(Beat::Gone);
        }
        let version = lock.ledgers.latest()?.unwrap_or(0);
        Ok(Beat::Alive { version, epoch, others: Vec::new(), quiet: None })
    }

    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error> {
        let max_ttl = self.max_ttl;
        let now = Wall::now();
        if id.is_none() && !self.is_known(lock)? {
            return blank(lock, max_ttl, now);
        }
        let epoch = self.epoch(lock)?;
        let opened = self.lock(lock)?;
        // The ledger first: a claim it names and the tickets lack has left since.
        let ledger = match opened.ledgers.current(lock, now)? {
            Some(ledger) => ledger,
            None => Ledger::blank(lock.as_str(), &epoch),
        };
        opened.look(ledger, epoch, id, now, max_ttl)
    }

    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error> {
        let (epoch, max_ttl) = (self.epoch(lock)?, self.max_ttl);
        let opened = self.lock(lock)?;
        let done = epoch == commit.epoch && opened.hold(&commit.guards)? && opened.write(id, commit)?;
        let mut missed = false;
        if done {
            // The bells first: a bell whose ticket is gone would be swept by nobody.
            opened.watch.forget(&opened.dir, id, &commit.drop);
            opened.tickets.unlink_all(&commit.drop)?;
            // Before the locks come free: it need not be woken by their ends as well.
            for id in &commit.wake {
                missed |= !opened.watch.wake(&opened.dir, id);
            }
            opened.tickets.unlock_all(&commit.drop);
            // Who has just been let in has a job to start first.
            if commit.show || !commit.wake.is_empty() || commit.drop.contains(id) {
                opened.ledgers.tidy();
            }
        }
        match (done, &commit.ledger) {
            (true, _) if !commit.show && !missed => {
                opened.watch.aim([]);
                Ok(Outcome::Done(None))
            }
            // Linked a moment ago: what is current needs no second reading.
            (true, Some(ledger)) => {
                opened.look(ledger.clone(), epoch, Some(id), Wall::now(), max_ttl).map(|view| Outcome::Done(Some(view)))
            }
            (true, None) => self.view(lock, Some(id)).map(|view| Outcome::Done(Some(view))),
            (false, _) => self.view(lock, Some(id)).map(Outcome::Conflict),
        }
    }

    fn wait(&mut self, lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        let opened = self.lock(lock)?;
        if opened.watch.is_in_queue() {
            opened.ledgers.make_ready();
        }
        opened.watch.wait(&opened.dir, &opened.tickets, id, until, bell)
    }

    fn locks(&mut self) -> Result<Vec<Name>, Error> {
        match Place::find(&self.dir, self.max_ttl)? {
            Some(place) => place.names(),
            None => Ok(Vec::new()),
        }
    }

    fn examine(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

impl FileStore {
    fn epoch(&mut self, lock: &Name) -> Result<String, Error> {
        self.lock(lock)?;
        Ok(self.place.as_ref().expect("a lock is open").boot_id().to_owned())
    }

    /// Whether the lock was used since the last boot. Who only looks makes nothing.
    fn is_known(&mut self, lock: &Name) -> Result<bool, Error> {
        if self.place.is_none() {
            self.place = Place::find(&self.dir, self.max_ttl)?;
        }
        Ok(self.place.as_ref().is_some_and(|place| place.has(lock)))
    }
}

/// A lock that nobody has used.
fn blank(lock: &Name, max_ttl: Duration, now: Wall) -> Result<View, Error> {
    let epoch = place::read_boot_id()?;
    let ledger = Ledger::blank(lock.as_str(), &epoch);
    Ok(View { ledger, tickets: Vec::new(), waiting: 0, ahead: 0, epoch, memory: Memory::Intact, max_ttl, now })
}

impl OpenLock {
    fn look(&mut self, ledger: Ledger, epoch: String, id: Option<&Id>, now: Wall, max_ttl: Duration) -> Result<View, Error> {
        let places = self.tickets.places()?;
        let (holding, waiting): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| ledger.holder(&place.id).is_some());
        let mine = id.and_then(|id| waiting.iter().position(|place| place.id == *id));
        let (count, ahead) = (waiting.len(), mine.unwrap_or(waiting.len()));
        let mut view = View { ledger, tickets: Vec::new(), waiting: count, ahead, epoch, memory: Memory::Intact, max_ttl, now };
        for place in &holding {
            view.tickets.extend(self.tickets.read(place, now)?);
        }
        let mut wait = waiting.iter().enumerate().peekable();
        let mut last = mine.map(|at| self.tickets.read(&waiting[at], now)).transpose()?.flatten();
        // The dead among the first are listed beside them: who is not listed counts as alive.
        let (mut living, mut wanted) = (0, FIRST);
        while let Some((at, place)) = wait.next_if(|_| living < wanted) {
            let listed = if mine == Some(at) { last.take() } else { self.tickets.read(place, now)? };
            living += usize::from(listed.as_ref().is_some_and(|listed| listed.life == Life::Alive));
            view.tickets.extend(listed);
            if living == wanted {
                view.tickets.extend(last.clone());
                wanted = view.enough(id);
                view.tickets.truncate(view.tickets.len() - usize::from(last.is_some()));
            }
        }
        view.tickets.extend(last);
        self.tickets.keep_known(&view.tickets);
        self.aim(&view, &holding, mine.map(|mine| &waiting[..mine]))?;
        Ok(view)
    }

    /// Watches whose end would change things for one who waits behind these: the last of them that lives, or else the holders.
    fn aim(&mut self, view: &View, holding: &[TicketPlace], before: Option<&[TicketPlace]>) -> Result<(), Error> {
        let Some(before) = before else {
            self.watch.aim([]);
            return Ok(());
        };
        for place in before.iter().rev() {
            if self.tickets.lives(place)? {
                self.watch.aim([place.clone()]);
                return Ok(());
            }
        }
        let lives = |place: &&TicketPlace| view.ticket(&place.id).is_some_and(|listed| listed.life == Life::Alive);
        self.watch.aim(holding.iter().filter(lives).cloned());
        Ok(())
    }

    /// Dead is for ever on this engine (nobody can take a freed ticket again), so what was judged dead needs no second
    /// look; what the ledger's version does not cover is looked at here.
    fn hold(&mut self, guards: &[Guard]) -> Result<bool, Error> {
        for guard in guards {
            let holds = match guard {
                Guard::Absent(id) => !self.tickets.places()?.iter().any(|place| place.id == *id),
                Guard::Still(id, None) => self.tickets.life(id)? != Some(Life::Alive),
                Guard::Still(_, Some(_)) => false,
                Guard::Present(id) => self.tickets.present(id)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write(&mut self, id: &Id, commit: &Commit) -> Result<bool, Error> {
        match &commit.ledger {
            Some(ledger) => self.ledgers.link(commit.version, ledger, id),
            None => Ok(true),
        }
    }
}

/// A failed file operation in words.
fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
        io::ErrorKind::ReadOnlyFilesystem => "choose a store that can be written, with --store",
        io::ErrorKind::PermissionDenied => "run as the store's owner, or choose another store with --store",
        _ => "choose another store with --store, or mend this one",
    };
    let error = shown::system(error);
    Error::Refused(format!("can't {what} {}: {error}; {remedy}", path.display()))
}

type OwnTickets = BTreeMap<Id, Mine>;
