//! Whether a store can be trusted: ours, nobody else's to write, on a local disk; and what was planted in it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{Uid, geteuid};

use super::{Error, failed};
use crate::shown::shown;

/// Local file systems on which flock(2) and link(2) mean what they say (statfs(2)). On others a lock may be local to
/// each client, or vanish with a lost network lease.
const LOCAL: [i64; 12] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0x2FC1_2FC1, // zfs
    0xF2F5_2010, // f2fs
    0x794C_7630, // overlayfs
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // jfs
    0x5265_4973, // reiserfs
    0x4D44,      // vfat, on which links fail loudly
];

/// `real` is the directory without links, where that is known.
pub fn checked(opened: Result<OwnedFd, Errno>, dir: &Path, real: Option<&Path>) -> Result<OwnedFd, Error> {
    let store = match opened {
        Ok(store) => store,
        Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(planted(dir, "not a directory of its own")),
        Err(error) => return Err(failed("open the store", dir, &error.into())),
    };
    let found = fstat(&store).map_err(|error| failed("stat", dir, &error.into()))?;
    refuse_foreign(&found, dir)?;
    refuse_open_parents(dir, real)?;
    let kind = fstatfs(&store).map_err(|error| failed("statfs", dir, &error.into()))?.filesystem_type().0;
    if !LOCAL.contains(&(kind as i64)) {
        return Err(Error::Refused(format!(
            "{} lies on a file system (type {kind:#x}) whose locks may not reach other hosts: name a local directory, or a \
             server such as redis://, with --store",
            dir.display()
        )));
    }
    Ok(store)
}

fn refuse_foreign(found: &FileStat, dir: &Path) -> Result<(), Error> {
    let me = geteuid();
    if Uid::from_raw(found.st_uid) != me {
        return Err(Error::Refused(format!(
            "the store {} belongs to user {}, not to you ({me}): use a store of your own",
            dir.display(),
            found.st_uid
        )));
    }
    if found.st_mode & 0o022 != 0 {
        return Err(Error::Refused(format!(
            "the store {} can be written by others: run chmod go-w on it, or use another",
            dir.display()
        )));
    }
    Ok(())
}

/// Whoever may write a directory above ours could put another in its place, unless the sticky bit forbids it.
fn refuse_open_parents(dir: &Path, real: Option<&Path>) -> Result<(), Error> {
    let real = match real {
        Some(real) => real.to_owned(),
        None => fs::canonicalize(dir).map_err(|error| failed("resolve", dir, &error))?,
    };
    for parent in real.ancestors().skip(1) {
        let found = fs::metadata(parent).map_err(|error| failed("stat", parent, &error))?;
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return Err(Error::Refused(format!(
                "user {} owns {} and may put another directory in the place of the store {}: use a store elsewhere",
                found.uid(),
                shown_path(parent),
                shown_path(dir)
            )));
        }
        if found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0 {
            return Err(Error::Refused(format!(
                "anyone may rename what is in {}, the store {} too: use a store elsewhere, or set the sticky bit there",
                parent.display(),
                dir.display()
            )));
        }
    }
    Ok(())
}

pub fn planted(path: &Path, what: &str) -> Error {
    Error::Damaged(format!(
        "{} is {what}, which vaultlock did not make: nothing was granted and nothing changed; find out who put it there",
        shown_path(path)
    ))
}

/// A path fit for a terminal: whoever put a file there chose its name.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy(), 4096)
}
