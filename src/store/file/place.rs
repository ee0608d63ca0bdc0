//! Where the file store lives: the directory of this boot, and a lock's own directory in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, User, geteuid, linkat, unlinkat};

use super::listing::{Listing, read_file};
use super::trust::{checked, planted, shown_path};
use super::{Error, failed};
use crate::name::Name;
use crate::time::{Clock, Tick};

const OPEN_DIR: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Dotted: no lock's folder can have this name.
const MAX_TTL: &str = ".max_ttl";
const PRIVATE: Mode = Mode::S_IRWXU;

/// The directory where nothing was said: root's in /run, others' under the home of the passwd database. Not by
/// `$HOME` or `$XDG_*`: cron, su and units set them differently, and two jobs of one user would use two stores.
///
/// # Errors
/// This user has no home there.
pub fn default_dir() -> Result<PathBuf, Error> {
    if geteuid().is_root() {
        return Ok(PathBuf::from("/run/vaultlock"));
    }
    let user = User::from_uid(geteuid()).ok().flatten();
    match user {
        Some(user) if user.dir.is_absolute() && user.dir != Path::new("/") => Ok(user.dir.join(".local/state/vaultlock")),
        _ => Err(Error::Refused(format!(
            "user {} has no home directory in the passwd database: name a store with --store",
            geteuid()
        ))),
    }
}

/// The directory of this boot, in a store that has passed every check.
pub struct Place {
    path: PathBuf,
    boot_id: String,
    boot: OwnedFd,
}

/// One lock's directory.
pub struct LockDir {
    pub path: PathBuf,
    fd: OwnedFd,
}

impl Place {
    /// Opens the store, making what is missing.
    pub fn open(dir: &Path, real: Option<&Path>, max_ttl: Duration) -> Result<Place, Error> {
        let boot_id = read_boot_id()?;
        let store = match open_dir(dir) {
            Err(Errno::ENOENT) => {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(|error| failed("make the store", dir, &error))?;
                open_dir(dir)
            }
            opened => opened,
        };
        let store = checked(store, dir, real)?;
        let path = dir.join(&boot_id);
        let boot = match openat(&store, boot_id.as_str(), OPEN_DIR, Mode::empty()) {
            Err(Errno::ENOENT) => {
                sweep_earlier_boots(&store, dir, &boot_id);
                sub_dir(&store, &path, &boot_id)
            }
            opened => opened.map_err(|error| failed("open", &path, &error.into())),
        }?;
        let place = Place { path, boot_id, boot };
        place.agree_on(max_ttl)?;
        Ok(place)
    }

    /// Opens the store if it is there and was used since the last boot.
    pub fn find(dir: &Path, max_ttl: Duration) -> Result<Option<Place>, Error> {
        let boot_id = read_boot_id()?;
        let store = match open_dir(dir) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => checked(opened, dir, None)?,
        };
        let path = dir.join(&boot_id);
        match openat(&store, boot_id.as_str(), OPEN_DIR, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            Ok(boot) => {
                let place = Place { path, boot_id, boot };
                place.agree_on(max_ttl)?;
                Ok(Some(place))
            }
            Err(error) => Err(failed("open", &path, &error.into())),
        }
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.boot
    }

    /// Writes a file as a claim would, locks it, and takes it away.
    pub fn prove_writable(&self) -> Result<(), Error> {
        let name = aside("rehearsal", &self.path)?;
        let path = self.path.join(&name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let made = openat(&self.boot, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let written = made.map_err(io::Error::from).and_then(|fd| {
            let mut file = File::from(fd);
            file.write_all(b"x")?;
            file.try_lock().map_err(io::Error::from)
        });
        let _ = unlinkat(&self.boot, name.as_str(), UnlinkatFlags::NoRemoveDir);
        written.map_err(|error| failed("write and lock", &path, &error))
    }

    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The lock's directory, made if it is missing.
    pub fn lock_dir(&self, lock: &Name) -> Result<LockDir, Error> {
        let spelled = lock.spelled();
        let path = self.path.join(&spelled);
        if let Ok(fd) = openat(&self.boot, spelled.as_str(), OPEN_DIR, Mode::empty()) {
            return Ok(LockDir { path, fd });
        }
        self.make_lock_dir(&spelled, &path, lock)?;
        Ok(LockDir { fd: sub_dir(&self.boot, &path, &spelled)?, path })
    }

    /// Under a hidden name until the lock's own is in it: a process that is killed or out of room on the way must not
    /// leave a lock that is never listed.
    fn make_lock_dir(&self, spelled: &str, path: &Path, lock: &Name) -> Result<(), Error> {
        let aside = aside(spelled, path)?;
        let dir = sub_dir(&self.boot, path, &aside)?;
        let made = write_once(&dir, path, "name", lock.as_str()).and_then(|()| {
            match renameat(&self.boot, aside.as_str(), &self.boot, spelled) {
                // Somebody else was first, or something is in the way: opening it will tell.
                Ok(()) | Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => Ok(()),
                Err(error) => Err(failed("make", path, &error.into())),
            }
        });
        // Nothing is left of it where the rename went well.
        let _ = unlinkat(&self.boot, format!("{aside}/name").as_str(), UnlinkatFlags::NoRemoveDir);
        let _ = unlinkat(&self.boot, aside.as_str(), UnlinkatFlags::RemoveDir);
        made
    }

    /// Whether the lock has a directory here.
    pub fn has(&self, lock: &Name) -> bool {
        openat(&self.boot, lock.spelled().as_str(), OPEN_DIR, Mode::empty()).is_ok()
    }

    /// The names of the locks used in this boot, sorted.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let mut names = Vec::new();
        for entry in names_in(&self.boot, &self.path)? {
            let Ok(dir) = openat(&self.boot, entry.as_str(), OPEN_DIR, Mode::empty()) else { continue };
            // Somebody is just making this one: the next listing will have it.
            let Some(text) = read_short(&dir, &self.path.join(&entry), "name")? else { continue };
            let name = Name::new(&text).ok().filter(|name| name.spelled() == entry);
            names.push(name.ok_or_else(|| {
                let path = self.path.join(&entry).join("name");
                Error::Damaged(format!("{} does not hold the name of that lock; nothing was changed", shown_path(&path)))
            })?);
        }
        names.sort();
        Ok(names)
    }

    fn agree_on(&self, max_ttl: Duration) -> Result<(), Error> {
        let mine = max_ttl.as_millis().to_string();
        let theirs = match read_short(&self.boot, &self.path, MAX_TTL)? {
            Some(theirs) => theirs,
            None => {
                write_once(&self.boot, &self.path, MAX_TTL, &mine)?;
                read_short(&self.boot, &self.path, MAX_TTL)?.unwrap_or_default()
            }
        };
        if theirs == mine {
            return Ok(());
        }
        match theirs.parse() {
            Ok(ms) => Err(Error::Refused(format!(
                "this store's max_ttl is {}, and you ask for {}: use the same max_ttl in every store URL",
                humantime::format_duration(Duration::from_millis(ms)),
                humantime::format_duration(max_ttl),
            ))),
            Err(_) => {
                let path = self.path.join(MAX_TTL);
                Err(Error::Damaged(format!("{} is damaged; nothing was granted and nothing changed", path.display())))
            }
        }
    }
}

impl LockDir {
    /// One of the lock's own directories, made if it is missing.
    pub fn part(&self, name: &str) -> Result<OwnedFd, Error> {
        match openat(&self.fd, name, OPEN_DIR, Mode::empty()) {
            Ok(fd) => Ok(fd),
            Err(_) => sub_dir(&self.fd, &self.path.join(name), name),
        }
    }
}

/// Reads a small text file; `None` if there is none.
fn read_short(dir: &OwnedFd, path: &Path, name: &str) -> Result<Option<String>, Error> {
    let found = read_file(dir, path, name, 4096)?;
    Ok(found.map(|found| String::from_utf8_lossy(&found.text).into_owned()))
}

/// A hidden name for what is not ready yet. A pid is not enough: containers that share the directory count their own.
fn aside(name: &str, path: &Path) -> Result<String, Error> {
    let mut random = [0; 8];
    getrandom::getrandom(&mut random).map_err(|error| failed("name a file in", path, &error.into()))?;
    Ok(format!(".{name}.{:016x}", u64::from_ne_bytes(random)))
}

/// Writes a small text file that nobody has written yet; whoever is first wins.
fn write_once(dir: &OwnedFd, path: &Path, name: &str, text: &str) -> Result<(), Error> {
    let at = path.join(name);
    let aside = aside(name, path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(dir, aside.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let written = fd.map_err(io::Error::from).and_then(|fd| File::from(fd).write_all(text.as_bytes()));
    let linked = written.and_then(|()| match linkat(dir, aside.as_str(), dir, name, LinkatFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    });
    let _ = unlinkat(dir, aside.as_str(), UnlinkatFlags::NoRemoveDir);
    linked.map_err(|error| failed("write", &at, &error))
}

pub fn read_boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let mut text = [0; 64];
    let read = File::open(path).and_then(|file| file.read_at(&mut text, 0));
    let read = read.map_err(|error| failed("read", path, &error))?;
    Ok(String::from_utf8_lossy(&text[..read]).trim().to_owned())
}

fn names_in(dir: &OwnedFd, path: &Path) -> Result<Vec<String>, Error> {
    let fd = openat(dir, ".", OPEN_DIR, Mode::empty()).map_err(|error| failed("list", path, &error.into()))?;
    Listing::new(fd, path.to_owned())?.names()
}

/// Opens a directory whose last component is no symbolic link. Links further up may be the system's own (/var/run).
fn open_dir(dir: &Path) -> Result<OwnedFd, Errno> {
    open(dir, OPEN_DIR, Mode::empty())
}

fn sub_dir(parent: &OwnedFd, path: &Path, name: &str) -> Result<OwnedFd, Error> {
    match mkdirat(parent, name, PRIVATE) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed("make", path, &error.into())),
    }
    match openat(parent, name, OPEN_DIR, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::ELOOP | Errno::ENOTDIR) => Err(planted(path, "not a directory of its own")),
        Err(error) => Err(failed("open", path, &error.into())),
    }
}

/// Claims of earlier boots are all dead. What was written to since this boot began is somebody's, whatever its name says,
/// and what can't be removed is in nobody's way.
fn sweep_earlier_boots(store: &OwnedFd, dir: &Path, boot_id: &str) {
    let uptime = Clock::Boottime.now().since(Tick(0));
    let Some(booted) = SystemTime::now().checked_sub(uptime) else { return };
    for name in names_in(store, dir).unwrap_or_default() {
        let like_a_boot_id = name.len() == 36 && name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let path = dir.join(&name);
        let written = fs::symlink_metadata(&path).and_then(|found| found.modified());
        if like_a_boot_id && name != boot_id && written.is_ok_and(|written| written < booted) {
            let _ = fs::remove_dir_all(path);
        }
    }
}
