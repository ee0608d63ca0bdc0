//! A disk small enough to be filled: a file system in memory that nobody else sees, and that is gone with its users.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// This thread sees it, and the threads and processes that it starts from now on.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// # Panics
    /// Unless root asks. A namespace of one's own is no way around: in there `/` belongs to nobody, and vaultlock trusts
    /// no store below a folder of a stranger.
    pub fn mount(kib: u32) -> Disk {
        let folder = tempfile::Builder::new().prefix("vl-disk-").tempdir().unwrap();
        let options = format!("size={kib}k,nr_inodes={},mode=700", kib * 2);
        let flat = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(flat, "/", flat, MsFlags::MS_REC | MsFlags::MS_PRIVATE, flat))
            .and_then(|()| mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())))
            .unwrap_or_else(|error| panic!("a small disk can be mounted by root alone: run this as root ({error})"));
        Disk { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Until not another byte goes in.
    pub fn fill(&self) {
        let mut ballast = File::options().append(true).create(true).open(self.ballast()).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
    }

    /// Until not another file can be made, though there is room.
    pub fn fill_with_names(&self) {
        let names = self.path().join("names");
        let _ = fs::create_dir(&names);
        let _ = (0..).take_while(|n| File::create(names.join(n.to_string())).is_ok()).count();
    }

    pub fn make_room(&self) {
        // Not by removing it: a process that is just being started may have it open still.
        if let Ok(ballast) = File::options().write(true).open(self.ballast()) {
            ballast.set_len(0).unwrap();
        }
        let _ = fs::remove_dir_all(self.path().join("names"));
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}
