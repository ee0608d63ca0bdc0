//! Versions of one lock's ledger: compare-and-swap by link(2), with no mutex that a stopped process could hold.
//!
//! A version is written aside and linked to its number; EEXIST is a conflict. Old numbers are removed, so a process
//! that was stopped for long could link a number that is free *again*. It finds out before it believes itself: the
//! ledger it started from has lost its name by then (numbers are removed in rising order), and a higher one is there.

use std::fs::File;
use std::io::Write;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};

use super::listing::{Listing, read_file};
use super::place::LockDir;
use super::trust::shown_path;
use super::{Error, failed};
use crate::ledger::{Id, Ledger, codec};
use crate::mutant::{self, Mutant};
use crate::name::Name;
use crate::time::Wall;

/// The versions of one lock's ledger.
pub struct Ledgers {
    dir: Listing,
    /// The version read last, kept open: whether it still has a name tells if it was superseded.
    base: Option<(u64, File)>,
}

impl Ledgers {
    pub fn open(lock: &LockDir) -> Result<Ledgers, Error> {
        Ok(Ledgers { dir: Listing::new(lock.part("ledger")?, lock.path.join("ledger"))?, base: None })
    }

    /// The current version's number; `None` if there is no ledger yet.
    pub fn latest(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.numbers()?.last().copied())
    }

    /// The current ledger; `None` if there is none yet.
    pub fn current(&mut self, lock: &Name, now: Wall) -> Result<Option<Ledger>, Error> {
        loop {
            let Some(version) = self.latest()? else {
                self.base = None;
                return Ok(None);
            };
            let name = version.to_string();
            // Gone since it was listed: somebody committed, and the next listing shows what.
            let Some(found) = read_file(&self.dir, self.dir.path(), &name, codec::LONGEST)? else { continue };
            let read = codec::unsealed(&found.text).and_then(|text| codec::read_ledger(text, lock.as_str(), version, now));
            let ledger = read.map_err(|damage| {
                Error::Damaged(format!(
                    "{} is damaged ({damage}): nothing was granted and nothing changed; move it away only when no job under \
                     this lock is running",
                    self.dir.path().join(&name).display()
                ))
            })?;
            self.base = Some((version, found.file));
            return Ok(Some(ledger));
        }
    }

    /// Links `ledger` as the successor of `version`; false if that has, or may have, another successor.
    pub fn link(&mut self, version: u64, ledger: &Ledger, author: &Id) -> Result<bool, Error> {
        let blind = mutant::on(Mutant::BlindCommit);
        if !self.based_on(version) && !blind {
            return Ok(false);
        }
        let next = ledger.version.to_string();
        let draft = format!(".{}", author.as_str());
        let written = self.write_aside(&draft, codec::sealed(&codec::write_ledger(ledger)).as_bytes())?;
        let linked = self.put_in_place(&draft, &next);
        if linked.is_err() {
            if blind {
                let _ = renameat(&self.dir, draft.as_str(), &self.dir, next.as_str());
            }
            let _ = unlinkat(&self.dir, draft.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        match linked {
            Ok(()) => {}
            Err(_) if blind => {}
            Err(Errno::EEXIST) => return Ok(false),
            Err(error) => return Err(failed("link", &self.dir.path().join(next), &error.into())),
        }
        // Stopped before the link for so long that the number was free again? Then it is out of date, and so am I.
        let numbers = self.numbers()?;
        let first_successor = blind || self.base_has_a_name() && numbers.last() == Some(&ledger.version);
        self.remove_below(&numbers);
        if first_successor {
            self.base = Some((ledger.version, written));
        }
        Ok(first_successor)
    }

    /// Gives the draft the version's name, if that is free: by one rename(2) where the file system has it, else by link(2).
    fn put_in_place(&self, draft: &str, next: &str) -> Result<(), Errno> {
        match renameat2(&self.dir, draft, &self.dir, next, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
            renamed => return renamed,
        }
        linkat(&self.dir, draft, &self.dir, next, LinkatFlags::empty())?;
        let _ = unlinkat(&self.dir, draft, UnlinkatFlags::NoRemoveDir);
        Ok(())
    }

    fn based_on(&self, version: u64) -> bool {
        self.base.as_ref().map_or(version == 0, |(base, _)| *base == version)
    }

    fn base_has_a_name(&self) -> bool {
        self.base.as_ref().is_none_or(|(_, file)| fstat(file).is_ok_and(|found| found.st_nlink > 0))
    }

    fn write_aside(&self, draft: &str, text: &[u8]) -> Result<File, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let written =
            openat(&self.dir, draft, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(std::io::Error::from).and_then(|fd| {
                let mut file = File::from(fd);
                file.write_all(text).map(|()| file)
            });
        written.map_err(|error| {
            let _ = unlinkat(&self.dir, draft, UnlinkatFlags::NoRemoveDir);
            failed("write", self.dir.path(), &error)
        })
    }

    /// In rising order, and no further than it goes: a version must not outlive its successor, or a stale link would
    /// look like the first. What stays is in nobody's way.
    fn remove_below(&self, numbers: &[u64]) {
        let Some((_, old)) = numbers.split_last() else { return };
        for number in old {
            match unlinkat(&self.dir, number.to_string().as_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(_) => return,
            }
        }
    }

    /// All version numbers there are, rising. The directory holds a handful of names, so that one getdents(2) returns
    /// them all as they were at one moment.
    fn numbers(&mut self) -> Result<Vec<u64>, Error> {
        let mut numbers = Vec::new();
        for name in self.dir.names()? {
            let number = name.parse::<u64>().ok().filter(|number| *number > 0 && number.to_string() == name);
            numbers.push(number.ok_or_else(|| {
                Error::Damaged(format!(
                    "{} is no version of a ledger: nothing was granted and nothing changed; find out who put it there",
                    shown_path(&self.dir.path().join(&name))
                ))
            })?);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}
