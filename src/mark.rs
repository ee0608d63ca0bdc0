//! A resource's high-water mark: the highest fencing number that has written to it, in a file that lives with it.
//!
//! Who is late does not know it: a job whose host stood still goes on where it stopped, with a lock that others have held
//! since. Only the resource can refuse it, by the number (Burrows, "The Chubby lock service", section 2.4, calls it a
//! sequencer). Whoever writes holds the file locked together with others of its number; whoever raises the mark has it alone.
//! So when the mark rises, nobody with a lower number is at work any more, and none begins.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::ledger::fence::LIMIT;
use crate::shown::system;

/// A number of 20 digits and the end of its line.
const LONGEST: usize = 21;

/// The file that holds a mark.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
}

/// Whether a number may write.
#[derive(Debug)]
pub enum Verdict {
    /// Yes, for as long as the file is open: while it is, nobody with a higher number begins.
    Admitted(File),
    /// No: the mark is this high.
    Late(u64),
    /// Not yet: who has another number is still at work. Try again.
    Busy,
}

/// Why a mark can't be read or raised.
#[derive(Debug, Error)]
pub enum Error {
    #[error("can't {what} {}: {}; whoever is fenced needs to read and write it", path.display(), system(error))]
    File { what: &'static str, path: PathBuf, error: io::Error },
    #[error("{0} is no regular file: name a file of its own for the high-water mark")]
    Strange(PathBuf),
    #[error("{0} holds no fencing number, and nothing is written through it: empty it if that is an accident")]
    Damaged(PathBuf),
}

impl Mark {
    /// The mark in this file.
    pub fn new(path: &Path) -> Mark {
        Mark { path: path.to_owned() }
    }

    /// The mark as it is now; 0 where there is no file, or an empty one.
    ///
    /// # Errors
    /// The file can't be read, or holds something else.
    pub fn read(&self) -> Result<u64, Error> {
        match self.open(false) {
            Err(Error::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            opened => self.number(&opened?),
        }
    }

    /// Raises the mark to `fence` unless it is there or above. Does not wait for others.
    ///
    /// # Errors
    /// The file can't be made, read, locked or written, or holds something else.
    pub fn admit(&self, fence: u64) -> Result<Verdict, Error> {
        let file = self.open(true)?;
        loop {
            // A glance that only says which lock to try: it may have fallen into the midst of a write.
            let raises = self.number(&file).is_ok_and(|mark| mark < fence);
            if !self.lock(&file, if raises { File::try_lock } else { File::try_lock_shared })? {
                return Ok(Verdict::Busy);
            }
            match self.number(&file)? {
                mark if mark > fence => return Ok(Verdict::Late(mark)),
                mark if mark < fence && raises => self.raise(&file, fence)?,
                mark if mark == fence && !raises => return Ok(Verdict::Admitted(file)),
                // One kind of lock does not become the other in one step (flock(2)): look again.
                _ => {}
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, make: bool) -> Result<File, Error> {
        // Not blocking, so that a pipe in its place is found out and not waited for.
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
        let opened = OpenOptions::new().read(true).write(make).create(make).custom_flags(flags).open(&self.path);
        let file = opened.map_err(|error| self.failed("open", error))?;
        match file.metadata().map_err(|error| self.failed("stat", error))?.is_file() {
            true => Ok(file),
            false => Err(Error::Strange(self.path.clone())),
        }
    }

    /// Whether the file could be locked in this way.
    fn lock(&self, file: &File, how: fn(&File) -> Result<(), TryLockError>) -> Result<bool, Error> {
        file.unlock().map_err(|error| self.failed("lock", error))?;
        match how(file) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(self.failed("lock", error)),
        }
    }

    fn number(&self, file: &File) -> Result<u64, Error> {
        let mut bytes = [0; LONGEST + 1];
        let length = file.read_at(&mut bytes, 0).map_err(|error| self.failed("read", error))?;
        match &bytes[..length] {
            [] => Ok(0),
            text => number_in(text).ok_or_else(|| Error::Damaged(self.path.clone())),
        }
    }

    /// All of it in one write of one length, over what was there: half a number is never read.
    fn raise(&self, file: &File, fence: u64) -> Result<(), Error> {
        let written = file.write_all_at(format!("{fence:0width$}\n", width = LONGEST - 1).as_bytes(), 0);
        written.map_err(|error| self.failed("write", error))?;
        // A mark that a power cut takes back would let in who is late, and so would a file that it takes away.
        file.sync_all().and_then(|()| self.sync_folder()).map_err(|error| self.failed("write", error))
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }

    fn failed(&self, what: &'static str, error: io::Error) -> Error {
        Error::File { what, path: self.path.clone(), error }
    }
}

fn number_in(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let is_number = digits.len() < LONGEST && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    (number < LIMIT).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_number_on_a_line_and_nothing_else() {
        for (text, number) in [
            ("0\n", Some(0)),
            ("7", Some(7)),
            ("00000001795738452788\n", Some(1_795_738_452_788)),
            ("9007199254740991", Some(LIMIT - 1)),
            ("9007199254740992", None),
            ("000000000000000000007\n", None),
            ("\n", None),
            ("+7\n", None),
            ("-7", None),
            ("7\n\n", None),
            (" 7", None),
            ("7\0", None),
        ] {
            assert_eq!(number_in(text.as_bytes()), number, "{text:?}");
        }
    }
}
