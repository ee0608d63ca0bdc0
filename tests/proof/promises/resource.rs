//! A resource that does what the README advises: it knows the highest fence it has seen, and refuses any lower one.
//!
//! A file with the mark and a journal of all writes, tried under one flock: the order of the journal is the order in
//! which the resource took them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

pub struct Resource {
    mark: PathBuf,
    journal: PathBuf,
}

/// One write that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    pub fence: u64,
    pub accepted: bool,
}

impl Resource {
    /// The resource that the lock of this name is for.
    pub fn of(dir: &Path, lock: &str) -> Resource {
        Resource { mark: dir.join(format!("mark-{lock}")), journal: dir.join(format!("journal-{lock}")) }
    }

    /// Tries to write with this fence.
    pub fn write(&self, fence: u64) -> io::Result<Tried> {
        let mut mark = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.mark)?;
        mark.lock()?;
        let mut text = String::new();
        mark.read_to_string(&mut text)?;
        let highest: u64 = if text.is_empty() { 0 } else { text.trim().parse().map_err(io::Error::other)? };
        let tried = Tried { fence, accepted: fence >= highest };
        if fence > highest {
            mark.rewind()?;
            // One width for all, so that no end of a longer number is left.
            mark.write_all(format!("{fence:020}\n").as_bytes())?;
        }
        let verdict = if tried.accepted { "accepted" } else { "refused" };
        let mut journal = OpenOptions::new().append(true).create(true).open(&self.journal)?;
        journal.write_all(format!("{verdict} {fence}\n").as_bytes())?;
        Ok(tried)
    }

    /// Whether nobody is writing.
    pub fn is_free(&self) -> io::Result<bool> {
        Ok(File::open(&self.mark)?.try_lock().is_ok())
    }

    /// All that was tried, in order.
    pub fn journal(&self) -> io::Result<Vec<Tried>> {
        let mut text = String::new();
        if let Ok(mut journal) = File::open(&self.journal) {
            journal.read_to_string(&mut text)?;
        }
        let whole = text.rfind('\n').map_or("", |last| &text[..last]);
        let tried = |line: &str| {
            let (verdict, fence) = line.split_once(' ')?;
            Some(Tried { fence: fence.parse().ok()?, accepted: verdict == "accepted" })
        };
        whole.lines().map(|line| tried(line).ok_or_else(|| io::Error::other(format!("{line:?} in a journal")))).collect()
    }
}
