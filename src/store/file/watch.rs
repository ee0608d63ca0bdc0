//! Waiting without polling: the kernel says when the claim ahead ends, a FIFO when somebody wakes me.
//!
//! Each waiter watches the one ahead of it, and the first the holders. While a claim waits its worker alone keeps the
//! claim's FIFO open, so that whoever stands behind hears the end of it with poll(2). Where there is none to listen to, or a
//! worker died and its job lives on, a thread blocks in flock(2) for a shared lock on the ticket: a freed lock stays free, so
//! that no end is missed. (inotify ends at 128 instances a user.)

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};

use super::place::LockDir;
use super::tickets::{Place, Tickets};
use super::{Error, failed};
use crate::bell::{Bell, listen_and_mark};
use crate::ledger::Id;
use crate::time::{Clock, Tick};

/// A watcher runs one system call; the smallest stack the platform grants is plenty.
const WATCHER_STACK: usize = 64 * 1024;

/// How another's FIFO is opened.
const LISTEN: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What one waiter listens to.
#[derive(Default)]
pub struct Watch {
    targets: BTreeSet<Place>,
    watched: Arc<Mutex<BTreeSet<Id>>>,
    ended: Option<Bell>,
    fifo: Option<(Id, File)>,
    /// The FIFO of a target, open to hear its worker's end.
    ahead: Option<(Id, File)>,
    /// A target whose worker has ended; what is left of the claim only a thread can watch.
    headless: Option<Id>,
    /// Where the FIFOs are, once one was needed.
    bells: Option<OwnedFd>,
}

impl Watch {
    /// Chooses whose end would change things for one who waits: the living waiter ahead of it, or else the holders.
    pub fn aim(&mut self, targets: impl IntoIterator<Item = Place>) {
        self.targets.clear();
        self.targets.extend(targets);
    }

    /// Whether somebody's end would change things.
    pub fn is_in_queue(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Waits for the end of a target, a wake, or `bell`, until `until`. Returns at once the first time, and whenever a
    /// target is already gone: what was viewed before I listened may be out of date.
    pub fn wait(&mut self, dir: &LockDir, tickets: &Tickets, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error> {
        // A holder has one too, once its job takes long enough for it to wait: it may be asked to stop.
        if self.fifo.as_ref().is_none_or(|(known, _)| known != id) {
            self.fifo = Some((id.clone(), make_fifo(dir, self.bells(dir)?, id)?));
            return Ok(());
        }
        if !self.watch_targets(dir, tickets)? {
            return Ok(());
        }
        let ended = self.ended.as_ref().map(AsFd::as_fd);
        let woken = self.fifo.as_ref().map(|(_, fifo)| fifo.as_fd());
        let all: Vec<BorrowedFd> = [Some(bell), ended, woken].into_iter().flatten().collect();
        let ahead: Vec<BorrowedFd> = self.ahead.iter().map(|(_, fifo)| fifo.as_fd()).collect();
        let heard = listen_and_mark(&all, &ahead, until, Clock::Monotonic);
        if !ahead.is_empty() && heard.as_ref().is_ok_and(|heard| heard.last() == Some(&true)) {
            self.headless = self.ahead.take().map(|(id, _)| id);
        }
        if let Some(ended) = &self.ended {
            ended.hush();
        }
        if let Some((_, fifo)) = &mut self.fifo {
            empty(fifo);
        }
        heard.map(|_| ()).map_err(|error| Error::Unreachable(format!("can't wait: {error}")))
    }

    /// Takes away the FIFOs of claims that have ended; `me` has one only if it had to wait.
    pub fn forget(&mut self, dir: &LockDir, me: &Id, ids: &[Id]) {
        let waited = self.fifo.is_some();
        let mut belled = ids.iter().filter(|id| waited || *id != me).peekable();
        if belled.peek().is_none() {
            return;
        }
        let Ok(bells) = self.bells(dir) else { return };
        for id in belled {
            let _ = unlinkat(bells, id.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Wakes a waiter that listens; one that does not will look by itself. Whether it has a bell to listen to.
    pub fn wake(&mut self, dir: &LockDir, id: &Id) -> bool {
        let Ok(bells) = self.bells(dir) else { return false };
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(fifo) = openat(bells, id.as_str(), flags, Mode::empty()) else { return false };
        let _ = File::from(fifo).write(&[1]);
        // What is left to do here can wait for it.
        thread::yield_now();
        true
    }

    fn bells(&mut self, dir: &LockDir) -> Result<&OwnedFd, Error> {
        if self.bells.is_none() {
            self.bells = Some(dir.part("bells")?);
        }
        Ok(self.bells.as_ref().expect("just opened"))
    }

    /// Watches each target that it does not watch yet; false if one is gone already.
    fn watch_targets(&mut self, dir: &LockDir, tickets: &Tickets) -> Result<bool, Error> {
        let one = if self.targets.len() == 1 { self.targets.first().cloned() } else { None };
        let known =
            |ahead: &Option<(Id, File)>| one.as_ref().is_some_and(|one| ahead.as_ref().is_some_and(|(id, _)| *id == one.id));
        if known(&self.ahead) {
            return Ok(true);
        }
        self.ahead = None;
        if let Some(target) = one.filter(|one| self.headless.as_ref() != Some(&one.id))
            && let Ok(fifo) = openat(self.bells(dir)?, target.id.as_str(), LISTEN, Mode::empty())
        {
            // Only then: a FIFO that nobody writes to when it is opened never tells of an end.
            self.ahead = Some((target.id.clone(), File::from(fifo)));
            return tickets.lives(&target);
        }
        self.block_on_targets(tickets)
    }

    /// Starts a thread for each target that has none; false if one is gone already.
    fn block_on_targets(&mut self, tickets: &Tickets) -> Result<bool, Error> {
        if self.targets.is_empty() {
            return Ok(true);
        }
        let out_of = |error| Error::Unreachable(format!("can't watch the queue: {error}"));
        if self.ended.is_none() {
            self.ended = Some(Bell::new().map_err(out_of)?);
        }
        let ended = self.ended.as_ref().expect("just made");
        for target in &self.targets {
            if self.watched.lock().is_ok_and(|watched| watched.contains(&target.id)) {
                continue;
            }
            let Some(ticket) = tickets.reopen(target)? else { return Ok(false) };
            watch_end(target.id.clone(), ticket, self.watched.clone(), ended.clone()).map_err(out_of)?;
        }
        Ok(true)
    }
}

fn watch_end(target: Id, ticket: File, watched: Arc<Mutex<BTreeSet<Id>>>, ended: Bell) -> std::io::Result<()> {
    if let Ok(mut watched) = watched.lock() {
        watched.insert(target.clone());
    }
    let blocked = move || {
        while ticket.lock_shared().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
        // Another watcher of the same ticket is not held up: shared locks go together.
        if let Ok(mut watched) = watched.lock() {
            watched.remove(&target);
        }
        ended.ring();
    };
    thread::Builder::new().name("watch".into()).stack_size(WATCHER_STACK).spawn(blocked).map(drop)
}

fn make_fifo(dir: &LockDir, bells: &OwnedFd, id: &Id) -> Result<File, Error> {
    let path = dir.path.join("bells").join(id.as_str());
    match mkfifoat(bells, id.as_str(), Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed("make", &path, &error.into())),
    }
    // Open for both, so that it never ends and a waker always finds a reader.
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fifo = openat(bells, id.as_str(), flags, Mode::empty());
    fifo.map(File::from).map_err(|error| failed("open", &path, &error.into()))
}

fn empty(fifo: &mut File) {
    let mut rings = [0; 64];
    while fifo.read(&mut rings).is_ok_and(|read| read == rings.len()) {}
}
