//! The bare kernel calls: those nix has not, and those that must not allocate because they run after a fork.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use libc::{c_int, pid_t, sigset_t};

use crate::job::End;
use crate::mutant::{self, Mutant};
use crate::time::{Clock, Tick};

/// The way from clone to exec calls nothing deep.
const BORROWED_STACK: usize = 32 * 1024;

/// The result of a call that says -1 for "see errno".
pub(super) fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(super) fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub(super) fn owned(result: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn pid() -> pid_t {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::getpid() }
}

pub(super) fn parent() -> pid_t {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::getppid() }
}

pub(super) fn group() -> pid_t {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::getpgrp() }
}

/// fork(2). In the child of a process with threads only async-signal-safe calls may follow.
pub(super) fn fork() -> io::Result<pid_t> {
    // SAFETY: split() forks while there is one thread; spawn()'s child keeps to async-signal-safe calls until exec.
    check(unsafe { libc::fork() })
}

/// A child on a stack of its own that borrows this process's memory, while this thread waits, until it executes a
/// program or exits: posix_spawn(3)'s way, at a fifth of what a fork costs. `run` must not return and must keep to
/// async-signal-safe calls.
pub(super) fn vfork<F: FnMut()>(run: &mut F) -> io::Result<pid_t> {
    extern "C" fn begin<F: FnMut()>(run: *mut libc::c_void) -> c_int {
        // SAFETY: the pointer is the one to `run` below; the parent's thread is suspended and does not touch it.
        unsafe { (*run.cast::<F>())() };
        127
    }
    /// Neither on the heap, which would have to grow for it, nor on this thread's stack, which would be touched page by
    /// page: of this only the pages that are used come into being.
    static STACK: Mutex<[u128; BORROWED_STACK / size_of::<u128>()]> = Mutex::new([0; BORROWED_STACK / size_of::<u128>()]);
    let mut stack = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack's end is aligned to 16 bytes; stack and `run` outlive the child's use of them, because this call
    // returns only when the child has left this memory. All our signals are blocked, so no handler runs on it.
    check(unsafe { libc::clone(begin::<F>, stack.as_mut_ptr_range().end.cast(), flags, (&raw mut *run).cast()) })
}

/// kill(2); false when there is nobody, or nobody we may signal.
pub(super) fn kill(target: pid_t, signal: c_int) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(target, signal) == 0 }
}

/// Ends this process without running anything of it.
pub(super) fn leave(code: u8) -> ! {
    // SAFETY: takes no pointers, does not return.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Closes every descriptor above the one and below the other; on a kernel without the call they are left to the exit.
pub(super) fn close_between(above: RawFd, below: RawFd) {
    if below - above > 1 {
        // SAFETY: takes no pointers. The caller uses none of them any more.
        unsafe { libc::syscall(libc::SYS_close_range, above + 1, below - 1, 0) };
    }
}

pub(super) fn set_group(pid: pid_t, group: pid_t) {
    // SAFETY: takes no pointers. A failure means that the other side has done it, or that the child is gone.
    unsafe { libc::setpgid(pid, group) };
}

pub(super) fn become_subreaper() -> io::Result<()> {
    if mutant::on(Mutant::NoSubreaper) {
        return Ok(());
    }
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Lets others run on this processor first.
pub(super) fn step_aside() {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::sched_yield() };
}

/// SIGKILL for this process when the THREAD that forked it is gone.
pub(super) fn die_with_parent() {
    if mutant::on(Mutant::NoParentDeath) {
        return;
    }
    // SAFETY: takes no pointers; can't fail with a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// A signal for this process when the THREAD that forked it is gone; 0: none any more.
pub(super) fn notice_parents_death(signal: c_int) {
    // SAFETY: takes no pointers; can't fail with a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) };
}

/// Reads once; None on EAGAIN, `Some(0)` at end-of-file or on an error.
pub(super) fn read(fd: RawFd, into: &mut [u8]) -> Option<usize> {
    loop {
        // SAFETY: the pointer and length are those of a live buffer.
        match unsafe { libc::read(fd, into.as_mut_ptr().cast(), into.len()) } {
            -1 if errno() == libc::EINTR => continue,
            -1 if errno() == libc::EAGAIN => return None,
            -1 => return Some(0),
            count => return Some(count as usize),
        }
    }
}

/// Writes once; false when nobody reads, or the pipe is full.
pub(super) fn write(fd: RawFd, bytes: &[u8]) -> bool {
    // SAFETY: the pointer and length are those of a live buffer.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) == bytes.len() as isize }
}

/// Waits until a descriptor is ready; negative ones are skipped; `millis` -1 waits for ever. Says which are ready.
pub(super) fn poll<const N: usize>(fds: [RawFd; N], millis: c_int) -> io::Result<[bool; N]> {
    let mut set = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: the pointer and count are those of a live array.
    match check(unsafe { libc::poll(set.as_mut_ptr(), N as libc::nfds_t, millis) }) {
        Ok(_) => Ok(set.map(|fd| fd.revents != 0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(error) => Err(error),
    }
}

/// A descriptor that can be read while one of these can: epoll(7).
pub(super) fn any_of<const N: usize>(fds: [BorrowedFd; N]) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let any = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    for fd in fds {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: the event is live and initialised.
        check(unsafe { libc::epoll_ctl(any.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) })?;
    }
    Ok(any)
}

/// A non-blocking signalfd(2) for `set`.
pub(super) fn signal_fd(set: &sigset_t) -> io::Result<OwnedFd> {
    // SAFETY: the set is live and initialised.
    owned(unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })
}

/// The next signal of a signalfd.
pub(super) fn next_signal(fd: BorrowedFd) -> Option<c_int> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    let count = read(fd.as_raw_fd(), &mut info)?;
    // ssi_signo is the structure's first word.
    (count == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

/// A non-blocking timerfd(2) on `clock`, not armed.
pub(super) fn alarm_fd(clock: Clock) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::timerfd_create(clock.id().as_raw(), libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })
}

/// Arms a timerfd for `at`; `Tick::NEVER` disarms it. Forgets that it has fired.
pub(super) fn set_alarm(fd: BorrowedFd, at: Tick) {
    let when = once_at(at);
    // SAFETY: `when` is live and valid; the old value is not asked for.
    unsafe { libc::timerfd_settime(fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &when, std::ptr::null_mut()) };
}

/// A timer that kills this process, stopped or not.
pub(super) struct Killer(usize);

impl Killer {
    pub(super) fn new(clock: Clock) -> io::Result<Killer> {
        // SAFETY: all zeroes is a valid sigevent, timer_create fills `timer`.
        unsafe {
            let mut event: libc::sigevent = zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            let mut timer: libc::timer_t = zeroed();
            check(libc::timer_create(clock.id().as_raw(), &mut event, &mut timer))?;
            // As a number it may cross threads; timer_t is a pointer only by its C type.
            Ok(Killer(timer as usize))
        }
    }

    /// SIGKILL at `at`; never with `Tick::NEVER`.
    pub(super) fn set(&self, at: Tick) {
        let when = once_at(at);
        // SAFETY: the timer is never deleted; `when` is live and valid.
        unsafe { libc::timer_settime(self.0 as libc::timer_t, libc::TIMER_ABSTIME, &when, std::ptr::null_mut()) };
    }
}

/// Zero would disarm, so the first nanosecond stands for "long ago".
fn once_at(at: Tick) -> libc::itimerspec {
    // SAFETY: all zeroes is a valid itimerspec.
    let mut when: libc::itimerspec = unsafe { zeroed() };
    if at != Tick::NEVER {
        let at = at.0.max(1);
        when.it_value.tv_sec = (at / 1_000_000_000) as libc::time_t;
        when.it_value.tv_nsec = (at % 1_000_000_000) as libc::c_long;
    }
    when
}

/// What waitid(2) found out about a child.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) pid: pid_t,
    code: c_int,
    status: c_int,
}

impl Change {
    /// How it ended, for a child that did.
    pub(super) fn end(self) -> End {
        match self.code {
            libc::CLD_EXITED => End::Code(self.status as u8),
            _ => End::Signal(self.status),
        }
    }

    /// The stop signal, or None for a child that was continued.
    pub(super) fn stop(self) -> Option<c_int> {
        (self.code == libc::CLD_STOPPED).then_some(self.status)
    }
}

/// Which children a wait is about.
#[derive(Clone, Copy)]
pub(super) enum Whom {
    Any,
    One(pid_t),
}

/// The next stop or continuation of `pid`, each told once. Never reaps.
pub(super) fn next_stop(pid: pid_t) -> Option<Change> {
    wait(Whom::One(pid), libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG)
}

/// A dead child, left unreaped.
pub(super) fn look(whom: Whom) -> Option<Change> {
    wait(whom, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Reaps one child if one is dead.
pub(super) fn reap(whom: Whom) -> Option<Change> {
    wait(whom, libc::WEXITED | libc::WNOHANG)
}

/// Waits for a child's death and reaps it; None when there is no such child.
pub(super) fn await_death(whom: Whom) -> Option<Change> {
    wait(whom, libc::WEXITED)
}

/// Whether any child of this process is alive. All of them at one moment, and who dies leaves its own to us in that same
/// moment: if none is, nobody below us lives.
pub(super) fn has_living_children() -> bool {
    // SAFETY: all zeroes is a valid siginfo_t; waitid fills it. Who is dead can't stop and is no child to wait for here.
    unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let none = libc::waitid(libc::P_ALL, 0, &mut info, libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT) == -1;
        !(none && errno() == libc::ECHILD)
    }
}

/// Whether this process has children at all, dead or alive.
pub(super) fn has_children() -> bool {
    // SAFETY: all zeroes is a valid siginfo_t; waitid fills it.
    unsafe {
        let mut info: libc::siginfo_t = zeroed();
        libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

fn wait(whom: Whom, options: c_int) -> Option<Change> {
    let (kind, id) = match whom {
        Whom::Any => (libc::P_ALL, 0),
        Whom::One(pid) => (libc::P_PID, pid as libc::id_t),
    };
    loop {
        // SAFETY: all zeroes is a valid siginfo_t; waitid fills it with a child's fields or leaves it zero.
        unsafe {
            let mut info: libc::siginfo_t = zeroed();
            if libc::waitid(kind, id, &mut info, options) == 0 {
                let change = Change { pid: info.si_pid(), code: info.si_code, status: info.si_status() };
                return (change.pid != 0).then_some(change);
            }
        }
        if errno() != libc::EINTR {
            return None;
        }
    }
}
