//! Reading what is in a store: names of a directory, texts of its files, and nothing through a link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::geteuid;

use super::trust::planted;
use super::{Error, failed};

/// A directory that is listed again and again: one stream, rewound each time.
pub struct Listing {
    dir: Dir,
    path: PathBuf,
}

impl Listing {
    pub fn new(fd: OwnedFd, path: PathBuf) -> Result<Listing, Error> {
        let dir = Dir::from_fd(fd).map_err(|error| failed("list", &path, &error.into()))?;
        Ok(Listing { dir, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it now, without the dotted ones.
    pub fn names(&mut self) -> Result<Vec<String>, Error> {
        self.map(|name| Ok(name.to_owned()))
    }

    /// What those names mean, each read where it lies; `read` gives back, for the error, one that means nothing.
    pub fn map<T>(&mut self, mut read: impl FnMut(&str) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        for entry in self.dir.iter() {
            let entry = entry.map_err(|error| failed("list", &self.path, &error.into()))?;
            let name = entry.file_name().to_bytes();
            if !name.starts_with(b".") {
                all.push(read(&String::from_utf8_lossy(name))?);
            }
        }
        Ok(all)
    }
}

impl AsFd for Listing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A file of the store, open for reading, and its text.
pub struct Found {
    pub file: File,
    pub text: Vec<u8>,
}

/// Reads a file of the store: a plain file of ours, through no link, and without waiting on a planted FIFO. `None` if
/// there is none; no more of it than `longest` and a byte.
pub fn read_file(dir: impl AsFd, path: &Path, name: &str, longest: usize) -> Result<Option<Found>, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err(planted(&path.join(name), "a symbolic link")),
        Err(error) => return Err(failed("open", &path.join(name), &error.into())),
    };
    let found = fstat(&fd).map_err(|error| failed("stat", &path.join(name), &error.into()))?;
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(planted(&path.join(name), "not a plain file"));
    }
    if found.st_uid != geteuid().as_raw() {
        return Err(planted(&path.join(name), &format!("owned by user {}", found.st_uid)));
    }
    let file = File::from(fd);
    // One byte more than it has: a single read then sees its end.
    let mut text = vec![0; usize::try_from(found.st_size).unwrap_or(0).min(longest) + 1];
    let read = file.read_at(&mut text, 0).map_err(|error| failed("read", &path.join(name), &error))?;
    text.truncate(read);
    Ok(Some(Found { file, text }))
}
