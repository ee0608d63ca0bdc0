//! Which signals sentry and worker take, and how the job gets back what the shell gave us.

use std::mem::{MaybeUninit, zeroed};

use libc::{c_int, sigset_t};

use crate::job::kernel::kill;

/// Taken unless the shell made us ignore them (nohup, a script's `&`): a blocked signal would reach a signalfd even so.
const PASSED_ON: [c_int; 10] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Taken in any case: while SIGCHLD is ignored the kernel reaps children behind our back.
const NEEDED: [c_int; 2] = [libc::SIGCHLD, libc::SIGCONT];

/// What the job is to get back.
pub struct Inherited {
    mask: sigset_t,
    taken: sigset_t,
    ignored: [bool; NEEDED.len()],
    pipe_ignored: bool,
}

/// Blocks every signal we want to hear of.
pub(super) fn take() -> Inherited {
    let mut taken = set_of(&NEEDED);
    for signal in PASSED_ON.into_iter().filter(|signal| !is_ignored(*signal)) {
        add(&mut taken, signal);
    }
    let ignored = NEEDED.map(is_ignored);
    for signal in NEEDED {
        dispose(signal, libc::SIG_DFL);
    }
    let pipe_ignored = is_ignored(libc::SIGPIPE);
    // A write to a dead peer must not kill us whoever the caller is.
    dispose(libc::SIGPIPE, libc::SIG_IGN);
    Inherited { mask: change_mask(libc::SIG_BLOCK, &taken), taken, ignored, pipe_ignored }
}

impl Inherited {
    /// The signals blocked by [`take`].
    pub(super) fn taken(&self) -> &sigset_t {
        &self.taken
    }

    /// Undoes [`take`]. Async-signal-safe.
    pub(super) fn give_back(&self) {
        for (signal, ignored) in NEEDED.into_iter().zip(self.ignored) {
            dispose(signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        }
        dispose(libc::SIGPIPE, if self.pipe_ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        change_mask(libc::SIG_SETMASK, &self.mask);
    }
}

impl Drop for Inherited {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Lets the kernel do to this process what `signal` does by default, after `target` (0: the whole group) was sent it.
pub(super) fn undergo(target: libc::pid_t, signal: c_int) {
    kill(target, signal);
    let set = set_of(&[signal]);
    change_mask(libc::SIG_UNBLOCK, &set);
    change_mask(libc::SIG_BLOCK, &set);
}

/// Blocks every signal that can be. Async-signal-safe.
pub(super) fn hold_all() {
    let mut all = set_of(&[]);
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigfillset(&mut all) };
    change_mask(libc::SIG_BLOCK, &all);
}

/// Whether `signal` is blocked and waiting.
pub(super) fn is_pending(signal: c_int) -> bool {
    let mut set = set_of(&[]);
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigpending(&mut set) == 0 && libc::sigismember(&set, signal) == 1 }
}

/// A set of just these signals.
pub(super) fn set_of(signals: &[c_int]) -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        add(&mut set, *signal);
    }
    set
}

/// Makes this process ignore `signal`, or not.
pub(super) fn dispose(signal: c_int, how: libc::sighandler_t) {
    // SAFETY: all zeroes is a valid sigaction; `how` is SIG_IGN or SIG_DFL, so no handler runs.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = how;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

fn is_ignored(signal: c_int) -> bool {
    // SAFETY: all zeroes is a valid sigaction; the call only reads the present one.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

fn add(set: &mut sigset_t, signal: c_int) {
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigaddset(set, signal) };
}

fn change_mask(how: c_int, set: &sigset_t) -> sigset_t {
    let mut before = set_of(&[]);
    // SAFETY: both sets are live and initialised. sigprocmask and pthread_sigmask are one call on Linux.
    unsafe { libc::sigprocmask(how, set, &mut before) };
    before
}
