//! What a directory can promise: the kernel's locks end with the process that holds them, if they are the kernel's own.

use std::path::Path;

use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::statvfs::fstatvfs;

use super::FileStore;
use super::place::Place;
use crate::store::{Error, Finding};

/// A claim needs a ticket, a bell and a ledger; below this a crowd may find no room.
const FEW: u64 = 1000;
const TMPFS: i64 = 0x0102_1994;

impl FileStore {
    /// Makes the store if it is not there, as a run would.
    pub(super) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let place = Place::open(&self.dir, self.real.as_deref(), self.max_ttl)?;
        place.prove_writable()?;
        let kind = fstatfs(place.fd()).map_err(|error| super::failed("statfs", &self.dir, &error.into()))?;
        let room = fstatvfs(place.fd()).map_err(|error| super::failed("statvfs", &self.dir, &error.into()))?;
        Ok(vec![
            Finding::fine(
                "liveness",
                "the kernel frees the lock of a claim whose processes are gone, at once: no lease and no clock is involved",
            ),
            Finding::fine("reach", "this host alone: runs on other hosts do not see these locks"),
            medium(&self.dir, kind.filesystem_type()),
            space(room.files_available(), room.blocks_available() * room.fragment_size()),
        ])
    }
}

fn medium(dir: &Path, kind: FsType) -> Finding {
    let lost = match kind.0 == TMPFS {
        true => "lies in memory: the locks end with the boot, as all claims do",
        false => "is a local file system",
    };
    Finding::fine("file system", format!("{} {lost}", dir.display()))
}

fn space(inodes: u64, bytes: u64) -> Finding {
    // Some file systems, such as btrfs, have no fixed number of inodes and say 0.
    if (1..FEW).contains(&inodes) || bytes < FEW * 4096 {
        let says = format!("{inodes} files and {} KiB are left: a full store lets nobody in, so make room", bytes / 1024);
        return Finding::partly("space", says);
    }
    Finding::fine("space", format!("{} MiB are left", bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Promise;

    #[test]
    fn a_store_that_fills_up_is_told_of() {
        for (inodes, bytes, promise) in [
            (100_000, 1 << 30, Promise::All),
            (0, 1 << 30, Promise::All),
            (10, 1 << 30, Promise::Part),
            (100_000, 1 << 20, Promise::Part),
        ] {
            assert_eq!(space(inodes, bytes).promise, promise, "{inodes} {bytes}");
        }
    }
}
