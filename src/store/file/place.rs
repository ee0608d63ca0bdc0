//! Where the file store lives, and whether it can be trusted: ours, nobody else's to write, on a local disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{LinkatFlags, Uid, UnlinkatFlags, User, geteuid, linkat, unlinkat};

use super::{Error, failed};
use crate::name::Name;
use crate::shown::shown;
use crate::time::{Clock, Tick};

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
    pub fn open(dir: &Path, max_ttl: Duration) -> Result<Place, Error> {
        let boot_id = read_boot_id()?;
        let store = match open_dir(dir) {
            Err(Errno::ENOENT) => {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(|error| failed("make the store", dir, &error))?;
                open_dir(dir)
            }
            opened => opened,
        };
        let store = checked(store, dir)?;
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
            opened => checked(opened, dir)?,
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
        let mut names = Vec::new();
        for entry in self.dir.iter() {
            let entry = entry.map_err(|error| failed("list", &self.path, &error.into()))?;
            let name = entry.file_name().to_bytes();
            if !name.starts_with(b".") {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(names)
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

fn checked(opened: Result<OwnedFd, Errno>, dir: &Path) -> Result<OwnedFd, Error> {
    let store = match opened {
        Ok(store) => store,
        Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(planted(dir, "not a directory of its own")),
        Err(error) => return Err(failed("open the store", dir, &error.into())),
    };
    let found = fstat(&store).map_err(|error| failed("stat", dir, &error.into()))?;
    refuse_foreign(&found, dir)?;
    refuse_open_parents(dir)?;
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
fn refuse_open_parents(dir: &Path) -> Result<(), Error> {
    let real = fs::canonicalize(dir).map_err(|error| failed("resolve", dir, &error))?;
    for parent in real.ancestors().skip(1) {
        let mode = fs::metadata(parent).map_err(|error| failed("stat", parent, &error))?.mode();
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(Error::Refused(format!(
                "anyone may rename what is in {}, the store {} too: use a store elsewhere, or set the sticky bit there",
                parent.display(),
                dir.display()
            )));
        }
    }
    Ok(())
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

fn planted(path: &Path, what: &str) -> Error {
    Error::Damaged(format!(
        "{} is {what}, which vaultlock did not make: nothing was granted and nothing changed; find out who put it there",
        shown_path(path)
    ))
}

/// A path fit for a terminal: whoever put a file there chose its name.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy(), 4096)
}
