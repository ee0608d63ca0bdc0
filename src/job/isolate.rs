//! `--isolate`: the job in a PID namespace of its own, which the kernel ends as a whole when its process 1 dies.
//!
//! ```text
//! W  worker --- M  maker: makes the namespaces, then both of these as W's children (CLONE_PARENT), and goes
//!            |- I  process 1 of the namespace: reaps; dies with W
//!            \- J  job, in the namespace, yet W's own child: ends and stops are seen as without a namespace
//! ```
//!
//! A process with threads can't enter a user namespace (unshare(2)), hence M. It and I make only async-signal-safe calls.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use crate::job::SpawnError;
use crate::job::child::{Child, Report, Started};
use crate::job::kernel::{self, Whom, check, errno, kill};
use crate::job::program::Program;
use crate::job::signals;

/// Makes the namespace and the job in it. The job may already have reported a failure.
pub(super) fn start(child: &Child, program: &mut Program, reports: &OwnedFd) -> Result<(Started, Option<Report>), SpawnError> {
    let maps = Maps::prepare()?;
    let maker = match kernel::fork()? {
        0 => make(child, program, &maps),
        maker => maker,
    };
    // Only then is it sure what was reported: a maker killed half-way would leave us reading for ever.
    kernel::await_death(Whom::One(maker));
    let mut early = None;
    while let [true] = kernel::poll([reports.as_raw_fd()], 0)? {
        match Report::receive(reports) {
            Some(Report::Pids { init, job }) => return Ok((Started { job, init: Some(init) }, early)),
            Some(report) => early = Some(report),
            None => break,
        }
    }
    Err(match early {
        Some(report) => report.into_error("".as_ref()),
        None => SpawnError::Other(io::Error::other("the namespace's maker died")),
    })
}

/// The lines for uid_map and gid_map: our own ids stand for themselves (user_namespaces(7)).
struct Maps {
    user: Line,
    group: Line,
}

struct Line {
    text: [u8; 32],
    length: usize,
}

impl Maps {
    fn prepare() -> io::Result<Maps> {
        // SAFETY: these calls take nothing and can't fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        Ok(Maps { user: Line::new(user)?, group: Line::new(group)? })
    }
}

impl Line {
    fn new(id: u32) -> io::Result<Line> {
        let mut text = [0; 32];
        let mut rest = &mut text[..];
        write!(rest, "{id} {id} 1")?;
        let length = 32 - rest.len();
        Ok(Line { text, length })
    }

    fn bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// In M.
fn make(child: &Child, program: &mut Program, maps: &Maps) -> ! {
    kernel::die_with_parent();
    if kernel::parent() != child.worker {
        kernel::leave(0);
    }
    if let Err(error) = enter_namespaces(maps) {
        refuse(child, &error);
    }
    let init = match clone_sibling() {
        Ok(0) => be_init(),
        Ok(init) => init,
        Err(error) => refuse(child, &error),
    };
    match clone_sibling() {
        Ok(0) => {
            if let Err(error) = mount_proc() {
                refuse(child, &error);
            }
            child.run(program)
        }
        Ok(job) => Report::Pids { init, job }.send(child.to_parent),
        Err(error) => {
            kill(init, libc::SIGKILL);
            refuse(child, &error)
        }
    }
    kernel::leave(0)
}

fn refuse(child: &Child, error: &io::Error) -> ! {
    Report::Refused(error.raw_os_error().unwrap_or(0)).send(child.to_parent);
    kernel::leave(127)
}

/// With the privilege for it, without a user namespace: in one, set-uid programs and other users' files lose their meaning.
fn enter_namespaces(maps: &Maps) -> io::Result<()> {
    const SPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    // SAFETY: takes no pointers; this process has one thread.
    if let Err(error) = check(unsafe { libc::unshare(SPACES) }) {
        if error.raw_os_error() != Some(libc::EPERM) {
            return Err(error);
        }
        // SAFETY: as above.
        check(unsafe { libc::unshare(SPACES | libc::CLONE_NEWUSER) })?;
        // Without this the kernel lets nobody unprivileged write gid_map.
        put(c"/proc/self/setgroups", b"deny")?;
        put(c"/proc/self/uid_map", maps.user.bytes())?;
        put(c"/proc/self/gid_map", maps.group.bytes())?;
    }
    // The job's mounts stay its own; those made outside later still reach it.
    // SAFETY: the path is a C string; the other pointers may be null for a change of propagation.
    check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_SLAVE | libc::MS_REC, ptr::null()) }).map(drop)
}

/// Without it the job would see the processes outside, under numbers that mean nothing to it.
fn mount_proc() -> io::Result<()> {
    let (name, flags) = (c"proc".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    // SAFETY: the names are C strings; proc takes no data.
    check(unsafe { libc::mount(name, c"/proc".as_ptr(), name, flags, ptr::null()) }).map(drop)
}

/// A child of our parent's, in the new namespace.
fn clone_sibling() -> io::Result<i32> {
    // SAFETY: no memory is shared and no stack given, so this is fork(2) with another parent; flags alone, so that the
    // argument order of the architecture does not matter beyond the first.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    check(pid as i32)
}

/// In I: lets the kernel reap, and waits for SIGKILL.
fn be_init() -> ! {
    kernel::die_with_parent();
    signals::dispose(libc::SIGCHLD, libc::SIG_IGN);
    close_all();
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// The pipes, or nobody would see the worker's death; stdout, or our caller's reader would wait for us; the lock's.
fn close_all() {
    // SAFETY: takes no pointers; nothing in this process uses a descriptor any more.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) == -1 {
            for fd in 0..libc::sysconf(libc::_SC_OPEN_MAX).clamp(256, 65536) {
                libc::close(fd as i32);
            }
        }
    }
}

fn put(file: &CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: the path is a C string.
    let fd = kernel::owned(unsafe { libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    if kernel::write(fd.as_raw_fd(), text) { Ok(()) } else { Err(io::Error::from_raw_os_error(errno())) }
}
