//! Tickets of one lock: a locked file a claim, its place in the queue in its name.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::listing::{Listing, read_file};
use super::place::LockDir;
use super::trust::shown_path;
use super::{Error, OwnTickets, failed};
use crate::ledger::{Id, Life, Listed, Ticket, codec};
use crate::time::{Clock, Wall};

/// The ticket files of one lock.
pub struct Tickets {
    dir: Listing,
    mine: OwnTickets,
    /// Others' tickets, once read: they never change.
    known: BTreeMap<Id, Ticket>,
}

/// A ticket of this process: the file whose lock is the claim's life.
pub struct Mine {
    file: File,
    ticket: Ticket,
    /// Where it stands in the queue, once taken.
    place: Option<Place>,
}

/// A ticket's place, as its file name spells it: `order.seq.at.id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    order: i64,
    seq: u64,
    at: Wall,
    pub id: Id,
}

impl Tickets {
    pub fn open(lock: &LockDir) -> Result<Tickets, Error> {
        let dir = Listing::new(lock.part("tickets")?, lock.path.join("tickets"))?;
        Ok(Tickets { dir, mine: OwnTickets::new(), known: BTreeMap::new() })
    }

    /// Makes the ticket's file, locked, under a name nobody looks at yet: a ticket is never seen unlocked.
    pub fn prepare(&mut self, ticket: &Ticket) -> Result<&File, Error> {
        if !self.mine.contains_key(&ticket.id) {
            let file = self.make(ticket)?;
            self.mine.insert(ticket.id.clone(), Mine { file, ticket: ticket.clone(), place: None });
        }
        Ok(&self.mine[&ticket.id].file)
    }

    /// Puts the ticket into the queue; once.
    pub fn take(&mut self, ticket: &Ticket) -> Result<(), Error> {
        self.prepare(ticket)?;
        let mine = self.mine.get_mut(&ticket.id).expect("just prepared");
        if mine.place.is_some() {
            return Ok(());
        }
        // The kernel's clock numbers the tickets: everybody here reads the same one, and it never goes back.
        let joined = Clock::Monotonic.now().0;
        let order = (joined as i64).saturating_sub(ticket.lead_ms.saturating_mul(1_000_000));
        let place = Place { order, seq: joined, at: Wall::now(), id: ticket.id.clone() };
        let taken = renameat(&self.dir, unborn(&ticket.id).as_str(), &self.dir, place.file_name().as_str());
        taken.map_err(|error| failed("queue in", self.dir.path(), &error.into()))?;
        mine.place = Some(place);
        Ok(())
    }

    /// Does this ticket have its name? Nobody takes mine away but me, unless somebody meddles with the store.
    pub fn present(&mut self, id: &Id) -> Result<bool, Error> {
        match self.mine.get(id) {
            None => Ok(self.places()?.iter().any(|place| place.id == *id)),
            Some(Mine { file, place: Some(_), .. }) => {
                let found = fstat(file).map_err(|error| failed("stat", self.dir.path(), &error.into()))?;
                Ok(found.st_nlink > 0)
            }
            _ => Ok(false),
        }
    }

    /// Every ticket's place, in order.
    pub fn places(&mut self) -> Result<Vec<Place>, Error> {
        let path = self.dir.path().to_owned();
        let mut places = self.dir.map(|name| {
            Place::parse(name).ok_or_else(|| {
                Error::Damaged(format!(
                    "{} is no ticket: nothing was granted and nothing changed; find out who put it there",
                    shown_path(&path.join(name))
                ))
            })
        })?;
        places.sort_unstable();
        Ok(places)
    }

    /// The ticket at a place; `None` if it was dropped meanwhile.
    pub fn read(&mut self, place: &Place, now: Wall) -> Result<Option<Listed>, Error> {
        let (ticket, life) = match (self.mine.get(&place.id), self.known.get(&place.id)) {
            (Some(mine), _) => (mine.ticket.clone(), Life::Alive),
            (None, Some(known)) => {
                let ticket = known.clone();
                let Some(file) = self.reopen(place)? else { return Ok(None) };
                (ticket, self.probe(&file, place)?)
            }
            (None, None) => {
                let name = place.file_name();
                let found = read_file(&self.dir, self.dir.path(), &name, codec::LONGEST)?;
                let Some(found) = found else { return Ok(None) };
                let ticket = self.decode(&found.text, &name, &place.id)?;
                self.known.insert(place.id.clone(), ticket.clone());
                (ticket, self.probe(&found.file, place)?)
            }
        };
        let Place { order, seq, at, .. } = *place;
        Ok(Some(Listed { ticket, order, seq, at: at.min(now), life }))
    }

    /// Forgets the texts of all but these.
    pub fn keep_known(&mut self, listed: &[Listed]) {
        if self.known.len() > listed.len() {
            self.known.retain(|id, _| listed.iter().any(|listed| listed.ticket.id == *id));
        }
    }

    /// Whether the claim at a place lives; a ticket that was dropped is no life.
    pub fn lives(&self, place: &Place) -> Result<bool, Error> {
        let file = if self.mine.contains_key(&place.id) { return Ok(true) } else { self.reopen(place)? };
        file.map_or(Ok(false), |file| Ok(self.probe(&file, place)? == Life::Alive))
    }

    /// Whether a ticket's claim lives; `None` if there is no such ticket.
    pub fn life(&mut self, id: &Id) -> Result<Option<Life>, Error> {
        match self.places()?.into_iter().find(|place| place.id == *id) {
            Some(place) => Ok(self.read(&place, place.at)?.map(|listed| listed.life)),
            None => Ok(None),
        }
    }

    /// A file of another claim's ticket, to wait for its end; `None` if it was dropped.
    pub fn reopen(&self, place: &Place) -> Result<Option<File>, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let name = place.file_name();
        match openat(&self.dir, name.as_str(), flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(failed("open", &self.dir.path().join(name), &error.into())),
        }
    }

    /// Takes claims' names away.
    pub fn unlink_all(&mut self, ids: &[Id]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let others = if ids.iter().all(|id| self.mine.contains_key(id)) { Vec::new() } else { self.places()? };
        for id in ids {
            let known = self.mine.get(id).and_then(|mine| mine.place.clone());
            let name = match known.or_else(|| others.iter().find(|place| place.id == *id).cloned()) {
                Some(place) => place.file_name(),
                None => unborn(id),
            };
            match unlinkat(&self.dir, name.as_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(failed("remove", &self.dir.path().join(name), &error.into())),
            }
        }
        Ok(())
    }

    /// Ends claims whose names are gone: who waits for the lock's end finds no name any more.
    pub fn unlock_all(&mut self, ids: &[Id]) {
        for mine in ids.iter().filter_map(|id| self.mine.remove(id)) {
            // For every holder of this description, in the sentry and in what the job left behind too.
            let _ = mine.file.unlock();
        }
    }

    fn make(&self, ticket: &Ticket) -> Result<File, Error> {
        let name = unborn(&ticket.id);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made =
            openat(&self.dir, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(std::io::Error::from).and_then(|fd| {
                let mut file = File::from(fd);
                file.lock()?;
                file.write_all(codec::write_ticket(ticket).as_bytes())?;
                Ok(file)
            });
        made.map_err(|error| {
            let _ = unlinkat(&self.dir, name.as_str(), UnlinkatFlags::NoRemoveDir);
            failed("write a ticket in", self.dir.path(), &error)
        })
    }

    fn decode(&self, text: &[u8], name: &str, id: &Id) -> Result<Ticket, Error> {
        let complaint = match codec::read_ticket(text) {
            Ok(ticket) if ticket.id == *id => return Ok(ticket),
            Ok(_) => "it is kept under another id".to_owned(),
            Err(damage) => damage.to_string(),
        };
        Err(Error::Damaged(format!(
            "{} is damaged ({complaint}): nothing was granted and nothing changed; move it away only when no job under this \
             lock is running",
            self.dir.path().join(name).display()
        )))
    }

    /// A shared lock is granted only once the claim's exclusive one is gone for good: nobody ever locks a ticket again.
    fn probe(&self, file: &File, place: &Place) -> Result<Life, Error> {
        match file.try_lock_shared() {
            Ok(()) => Ok(Life::Dead),
            Err(TryLockError::WouldBlock) => Ok(Life::Alive),
            Err(TryLockError::Error(error)) => Err(failed("probe", &self.dir.path().join(place.file_name()), &error)),
        }
    }
}

impl Place {
    fn file_name(&self) -> String {
        format!("{}.{}.{}.{}", self.order, self.seq, self.at.0, self.id.as_str())
    }

    fn parse(name: &str) -> Option<Place> {
        let mut words = name.split('.');
        let (order, seq, at) = (spelled(words.next()?)?, spelled(words.next()?)?, Wall(spelled(words.next()?)?));
        let place = Place { order, seq, at, id: Id::try_from(words.next()?.to_owned()).ok()? };
        words.next().is_none().then_some(place)
    }
}

/// A number in its one spelling: two names must not be one place.
fn spelled<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let one_way = !digits.starts_with(['0', '+']) || text == "0";
    one_way.then(|| text.parse().ok())?
}

fn unborn(id: &Id) -> String {
    format!(".{}", id.as_str())
}
