//! The sentry: passes signals on to the worker, follows the job's stops, and ends everything when the worker dies or
//! does not renew in time. One thread; it allocates nothing, so that it works when memory is short.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::signal::Signal;

use crate::job::front::Behind;
use crate::job::kernel::{self, Whom, kill};
use crate::job::page::{Ladder, Page};
use crate::job::signals::{is_pending, undergo};
use crate::job::terminal::Terminal;
use crate::job::wire::{self, Heard, Message};
use crate::job::{FAILED, LOST, Verdict, tree};
use crate::mutant::{self, Mutant};
use crate::time::Tick;

const LATE: &[u8] = b"vaultlock: the lease was lost (vaultlock was stopped or starved): the job was killed\n";
const LATE_WITHOUT_JOB: &[u8] = b"vaultlock: the lease was lost (vaultlock was stopped or starved); no job was running\n";
const DEAD: &[u8] = b"vaultlock: vaultlock's worker process was killed, and the job with it\n";
const DEAD_BEFORE: &[u8] = b"vaultlock: vaultlock's worker process was killed before the job started\n";
const SURVIVORS: &[u8] = b"vaultlock: some processes of the job could not be killed: they belong to another user\n";

pub(super) struct Sentry {
    pub(super) page: &'static Page,
    pub(super) ladder: Ladder,
    pub(super) stop: Signal,
    pub(super) terminal: Option<Terminal>,
    pub(super) worker: i32,
    pub(super) signals: OwnedFd,
    pub(super) timer: OwnedFd,
    pub(super) from_worker: OwnedFd,
    pub(super) to_worker: OwnedFd,
    pub(super) behind: Option<Behind>,
}

/// Stands by until the worker has said how to end.
pub(super) fn stand(mut sentry: Sentry) -> ! {
    // The last signal taken, to tell a Ctrl-C that only the job got from an INT that we were sent ourselves.
    let mut interrupted = 0;
    sentry.watch_deadline(interrupted);
    loop {
        let fds = [sentry.from_worker.as_raw_fd(), sentry.signals.as_raw_fd(), sentry.timer.as_raw_fd()];
        let Ok([message, signal, time]) = kernel::poll(fds, -1) else { sentry.worker_died() };
        if message {
            sentry.obey(interrupted);
        } else if signal {
            while let Some(signal) = kernel::next_signal(sentry.signals.as_fd()) {
                if signal == libc::SIGINT || signal == libc::SIGQUIT {
                    interrupted = signal;
                }
                sentry.take(signal, interrupted);
            }
        } else if time {
            sentry.watch_deadline(interrupted);
        }
    }
}

impl Sentry {
    /// One message of the worker's.
    fn obey(&mut self, interrupted: i32) {
        match wire::hear_worker(&self.from_worker) {
            Heard::Nothing => {}
            Heard::One(Message::Stopped(signal)) => self.follow_stop(signal),
            Heard::One(Message::Detach) => {
                if let Some(behind) = self.behind.take() {
                    behind.part();
                }
            }
            Heard::One(Message::Over) | Heard::Death => self.worker_ended(interrupted),
        }
    }

    fn take(&self, signal: i32, interrupted: i32) {
        match signal {
            // The end-of-file says it too, but not while a child of the worker holds the pipe before its exec.
            libc::SIGCHLD => {
                if kernel::look(Whom::One(self.worker)).is_some() && !self.has_message() {
                    self.worker_ended(interrupted);
                }
            }
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                wire::pass(&self.to_worker, libc::SIGTSTP);
                undergo(kernel::pid(), signal);
                self.go_on(libc::SIGTSTP);
            }
            libc::SIGCONT => self.continue_job(),
            _ => wire::pass(&self.to_worker, signal),
        }
    }

    fn continue_job(&self) {
        if let (Some(terminal), Some(group)) = (&self.terminal, self.page.group()) {
            terminal.lend(group);
        }
        wire::pass(&self.to_worker, libc::SIGCONT);
    }

    fn has_message(&self) -> bool {
        kernel::poll([self.from_worker.as_raw_fd()], 0).is_ok_and(|[message]| message)
    }

    /// The job was stopped: be stopped the same way, so that the shell shows a stopped job and takes over.
    fn follow_stop(&self, signal: i32) {
        let (Some(terminal), Some(group)) = (&self.terminal, self.page.group()) else { return };
        if is_pending(libc::SIGCONT) {
            return;
        }
        terminal.take_back(group);
        // Nobody can stop on SIGSTOP's terms: in a group without a shell nothing would ever wake us.
        let signal = if signal == libc::SIGSTOP { libc::SIGTSTP } else { signal };
        undergo(0, signal);
        self.go_on(signal);
    }

    /// After a stop: CONT waits in the signalfd, or the next stop signal, which took its place. Neither waits where there
    /// was no stop because our group has no shell to continue it. Then the job goes on too; one that wants the terminal
    /// from the background would only stop again, and gets what the kernel sends to stopped groups that nobody can
    /// continue (setpgid(2)): a hangup first.
    fn go_on(&self, signal: i32) {
        if [libc::SIGCONT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].into_iter().any(is_pending) {
            return;
        }
        if signal != libc::SIGTSTP {
            wire::pass(&self.to_worker, libc::SIGHUP);
        }
        self.continue_job();
    }

    /// Looks whether the deadline has come, acts on it, and sets the timer to the next moment. Nobody tells when the
    /// deadline is armed: a job is only started with more than a beat left, so looking once a beat is in time.
    fn watch_deadline(&self, interrupted: i32) {
        let next = match (self.page.sent(), self.page.verdict()) {
            // Said, but the worker was stopped before it could end.
            (None, Some(_)) => self.worker_ended(interrupted),
            (None, None) => self.ladder.clock.now() + self.ladder.timing.beat,
            (Some(sent), _) => self.act(sent),
        };
        kernel::set_alarm(self.timer.as_fd(), next);
    }

    fn act(&self, sent: Tick) -> Tick {
        if mutant::on(Mutant::NoSentry) {
            return self.ladder.clock.now() + self.ladder.timing.beat;
        }
        let now = self.ladder.clock.now();
        let kill_at = match self.page.killing() {
            true => self.ladder.patience(sent),
            false => self.ladder.sentry_kill(sent),
        };
        if now >= kill_at {
            let line = if self.page.old_group().is_some() { LATE } else { LATE_WITHOUT_JOB };
            self.lose(LOST, line);
        }
        if now < self.ladder.sentry_stop(sent) {
            return self.ladder.sentry_stop(sent);
        }
        self.page.stop(self.stop as i32);
        kill_at
    }

    fn worker_ended(&self, interrupted: i32) -> ! {
        match self.page.verdict() {
            Some(verdict) => self.end(verdict, interrupted),
            None => self.worker_died(),
        }
    }

    fn worker_died(&self) -> ! {
        if mutant::on(Mutant::NoSentry) {
            kernel::leave(FAILED);
        }
        match self.page.old_group().is_none() && self.page.sent().is_none() {
            true => self.lose(FAILED, DEAD_BEFORE),
            false => self.lose(LOST, DEAD),
        }
    }

    /// Kills the job and everything below us, and exits.
    fn lose(&self, code: u8, line: &[u8]) -> ! {
        self.page.signal(libc::SIGKILL);
        kill(self.worker, libc::SIGKILL);
        let gone = tree::sweep(self.worker, self.signals.as_fd());
        // What keeps the lock is kept until then.
        self.page.watched_has_ended(-1);
        self.take_terminal_back();
        kernel::write(libc::STDERR_FILENO, line);
        if !gone {
            kernel::write(libc::STDERR_FILENO, SURVIVORS);
        }
        kernel::leave(code)
    }

    /// Ends as the worker said.
    fn end(&self, verdict: Verdict, interrupted: i32) -> ! {
        // It has nothing left to do. Wait, so that its descriptors (a lock's) are closed when our caller goes on, and no
        // zombie is left to a first process that reaps none.
        kill(self.worker, libc::SIGKILL);
        // Meanwhile: what is closed last of a file without a name takes the time to unmake it.
        let kept = self.terminal.as_ref().map_or(libc::STDERR_FILENO, Terminal::raw);
        kernel::close_between(libc::STDERR_FILENO, kept);
        kernel::close_between(kept, i32::MAX);
        kernel::await_death(Whom::One(self.worker));
        let typed = self.was_with_job();
        self.take_terminal_back();
        if let Verdict::Signal(signal @ (libc::SIGINT | libc::SIGQUIT)) = verdict
            && typed
            && signal != interrupted
        {
            die_of(signal);
        }
        kernel::leave(verdict.code())
    }

    fn was_with_job(&self) -> bool {
        self.terminal.as_ref().zip(self.page.old_group()).is_some_and(|(terminal, group)| terminal.is_with(group))
    }

    fn take_terminal_back(&self) {
        if let (Some(terminal), Some(group)) = (&self.terminal, self.page.old_group()) {
            terminal.take_back(group);
        }
    }
}

/// Dies of `signal` with our whole group, as if the terminal had sent it to us. Returns if we ignore it.
fn die_of(signal: i32) {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live and initialised. The core would be vaultlock's, not the job's.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
    undergo(0, signal);
}
