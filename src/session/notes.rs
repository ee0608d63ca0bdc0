//! What this host remembers of a lock between two runs: the highest fence it was granted, and what it has seen.
//!
//! A store that was wiped starts counting again; the hosts that used it do not. And a caller that does not wait has no
//! time to watch a dead holder lapse: the next one on this host has thereby watched.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ledger::Watched;
use crate::ledger::watched::Row;
use crate::name::Name;
use crate::time::Tick;

/// More than this is no note of ours.
const LONGEST: u64 = 256 * 1024;

/// The notes on one lock. Losing them costs a floor under the fence or a longer wait, never safety, so that a host
/// without a place for them still works.
#[derive(Debug)]
pub struct Notes {
    dir: PathBuf,
    name: String,
    fence: Option<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    boot: String,
    rows: Vec<Row>,
}

impl Notes {
    /// Notes in `dir`, which is made when there is something to note.
    pub fn new(dir: PathBuf, lock: &Name) -> Notes {
        Notes { dir, name: lock.spelled(), fence: None }
    }

    /// The highest fence this host remembers; 0 if none.
    pub fn fence(&mut self) -> u64 {
        self.fence = open_note(&self.path("fence"), false).ok();
        let mut text = [0; 32];
        let read = self.fence.as_ref().map_or(0, |file| file.read_at(&mut text, 0).unwrap_or(0));
        std::str::from_utf8(&text[..read]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Remembers a granted fence. Written in one piece over the last one: a number needs no second file.
    ///
    /// # Errors
    /// The place can't be made or written.
    pub fn remember(&mut self, fence: u64) -> io::Result<()> {
        if self.fence.is_none() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            self.fence = Some(open_note(&self.path("fence"), true)?);
        }
        let file = self.fence.as_ref().expect("just opened");
        file.write_all_at(format!("{fence:020}\n").as_bytes(), 0)
    }

    /// What earlier callers on this host saw of the lock since it booted.
    pub fn watched(&self, now: Tick) -> Watched {
        let mut text = Vec::new();
        let read = open_note(&self.path("seen"), false).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        let seen = read.ok().and_then(|_| serde_json::from_slice::<Seen>(&text).ok());
        match seen {
            Some(seen) if Some(&seen.boot) == boot_id().as_ref() => Watched::from_rows(seen.rows, now),
            _ => Watched::default(),
        }
    }

    /// Leaves what was seen to the next caller.
    ///
    /// # Errors
    /// The place can't be made or written.
    pub fn leave(&self, watched: &Watched) -> io::Result<()> {
        let Some(boot) = boot_id() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let text = serde_json::to_vec(&Seen { boot, rows: watched.rows() }).map_err(io::Error::other)?;
        let aside = self.path(&format!("seen.{}", std::process::id()));
        let written = open_note(&aside, true).and_then(|mut file| {
            file.set_len(0)?;
            file.write_all(&text)
        });
        written.and_then(|()| fs::rename(&aside, self.path("seen"))).inspect_err(|_| {
            let _ = fs::remove_file(&aside);
        })
    }

    fn path(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.name))
    }
}

fn open_note(path: &Path, make: bool) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().read(true).write(true).create(make).mode(0o600).custom_flags(flags).open(path)
}

fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}
