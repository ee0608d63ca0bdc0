//! Finding and killing this process's children. As a subreaper it inherits every orphan below it, setsid'ed or
//! double-forked, so that killing children until there are none ends the whole tree.
//!
//! Nothing here allocates, unless `visit` does: the sentry works with it.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::job::kernel::{self, Whom, errno, has_children, kill, owned, read};

/// Kills and reaps this process's children until none is left. False if some may not be killed (another user's).
pub(super) fn sweep() -> bool {
    loop {
        while kernel::reap(Whom::Any).is_some() {}
        if !has_children() {
            return true;
        }
        let mut dying = false;
        each_child(&mut |pid| dying |= kill(pid, libc::SIGKILL));
        if !dying {
            return false;
        }
        kernel::await_death(Whom::Any);
    }
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
