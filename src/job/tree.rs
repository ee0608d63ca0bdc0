//! Finding and killing this process's children. As a subreaper it inherits every orphan below it, setsid'ed or
//! double-forked, so that killing children until there are none ends the whole tree.
//!
//! Nothing here allocates, unless `visit` does: the sentry works with it.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::job::kernel::{self, Whom, errno, has_children, kill, owned, read};

/// A death between a look at the children and the wait for the next one is told by SIGCHLD; this is for what is not told,
/// in milliseconds.
const LOOK_AGAIN: i32 = 20;

/// Kills and reaps this process's children until none is left, `last` after all others. False if some may not be killed
/// (another user's). `deaths` is a signalfd that takes SIGCHLD.
pub(super) fn sweep(last: i32, deaths: BorrowedFd) -> bool {
    loop {
        while kernel::next_signal(deaths).is_some() {}
        let mut dying = false;
        let round = kill_children(Some(last), &mut |pid| dying |= kill(pid, 0));
        if round == Round::Over {
            kernel::reap(Whom::One(last));
            return !has_children();
        }
        if round == Round::Alive && !dying {
            return false;
        }
        if round == Round::Alive {
            let _ = kernel::poll([deaths.as_raw_fd()], LOOK_AGAIN);
        }
    }
}

/// What a round of killing found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// Nobody lives, and nobody can have been overlooked.
    Over,
    /// Nobody lived, but one had died since the children were listed: it may have left an orphan that was not listed.
    Buried,
    /// Some lived, and have been killed if that was allowed.
    Alive,
}

/// One round: kills every child, then reaps the dead ones except `spared`; visits those that were alive.
///
/// In this order, for a reap can take seconds: it waits in the kernel while somebody reads the dead one's /proc.
pub(super) fn kill_children(spared: Option<i32>, visit_alive: &mut dyn FnMut(i32)) -> Round {
    let is_dead = |pid| kernel::look(Whom::One(pid)).is_some();
    let spared_was_dead = spared.is_none_or(is_dead);
    each_child(&mut |pid| {
        kill(pid, libc::SIGKILL);
    });
    let mut round = Round::Over;
    each_child(&mut |pid| match Some(pid) == spared {
        true if is_dead(pid) => {
            if !spared_was_dead && round == Round::Over {
                round = Round::Buried;
            }
        }
        false if kernel::reap(Whom::One(pid)).is_some() => {
            if round == Round::Over {
                round = Round::Buried;
            }
        }
        _ => {
            kill(pid, libc::SIGKILL);
            round = Round::Alive;
            visit_alive(pid);
        }
    });
    round
}

/// Visits the children of all of this process's threads, dead ones included. May miss some while others come and go.
pub(super) fn each_child(visit: &mut dyn FnMut(i32)) {
    let Some(tasks) = open(libc::AT_FDCWD, c"/proc/self/task", libc::O_DIRECTORY) else { return };
    let mut told = true;
    each_number(&tasks, &mut |task, _| match open_in(&tasks, task, c"children") {
        Some(children) => read_numbers(&children, visit),
        // A thread that has just ended has no file either.
        None => told &= errno() != libc::ENOENT || open_in(&tasks, task, c"stat").is_none(),
    });
    if !told {
        scan_all(visit);
    }
}

/// For kernels without CONFIG_PROC_CHILDREN: every process that names us as its parent.
fn scan_all(visit: &mut dyn FnMut(i32)) {
    let Some(all) = open(libc::AT_FDCWD, c"/proc", libc::O_DIRECTORY) else { return };
    let own = kernel::pid();
    each_number(&all, &mut |name, pid| {
        if open_in(&all, name, c"stat").and_then(|stat| parent_in(&stat)) == Some(own) {
            visit(pid);
        }
    });
}

/// proc_pid_stat(5): `pid (comm) state ppid`; the comm may hold anything, parentheses included.
fn parent_in(stat: &OwnedFd) -> Option<i32> {
    let mut text = [0; 256];
    let count = read(stat.as_raw_fd(), &mut text)?;
    let text = &text[..count];
    let after = text.iter().rposition(|byte| *byte == b')')? + 4;
    number(text.get(after..)?.split(|byte| *byte == b' ').next()?)
}

/// Visits numbers separated by spaces; one may be cut in two by the end of a read.
fn read_numbers(file: &OwnedFd, visit: &mut dyn FnMut(i32)) {
    let mut text = [0; 4096];
    let mut pid = 0;
    while let Some(count @ 1..) = read(file.as_raw_fd(), &mut text) {
        for byte in &text[..count] {
            match byte {
                b'0'..=b'9' => pid = pid * 10 + i32::from(byte - b'0'),
                _ if pid != 0 => visit(std::mem::take(&mut pid)),
                _ => {}
            }
        }
    }
    if pid != 0 {
        visit(pid);
    }
}

/// Visits a folder's entries that are numbers. Not `read_dir`: that allocates.
fn each_number(folder: &OwnedFd, visit: &mut dyn FnMut(&CStr, i32)) {
    /// Where linux_dirent64 keeps the record's length and the name.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    #[repr(align(8))]
    struct Records([u8; 4096]);
    let mut records = Records([0; 4096]);
    loop {
        let space = records.0.len();
        // SAFETY: the pointer and length are those of a live, aligned buffer.
        let count = unsafe { libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), records.0.as_mut_ptr(), space) };
        let Some(mut rest) = usize::try_from(count).ok().filter(|count| *count > 0).and_then(|count| records.0.get(..count))
        else {
            return;
        };
        while rest.len() > NAME {
            let length = usize::from(u16::from_ne_bytes([rest[LENGTH], rest[LENGTH + 1]]));
            if length <= NAME || length > rest.len() {
                return;
            }
            if let Ok(name) = CStr::from_bytes_until_nul(&rest[NAME..length])
                && let Some(value) = number(name.to_bytes())
            {
                visit(name, value);
            }
            rest = &rest[length..];
        }
    }
}

fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn open_in(folder: &OwnedFd, name: &CStr, file: &CStr) -> Option<OwnedFd> {
    let inner = open(folder.as_raw_fd(), name, libc::O_DIRECTORY)?;
    open(inner.as_raw_fd(), file, 0)
}

fn open(folder: RawFd, name: &CStr, flags: i32) -> Option<OwnedFd> {
    // SAFETY: the name is a C string.
    owned(unsafe { libc::openat(folder, name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | flags) }).ok()
}
