//! The words sentry and worker share, above all the deadline, and who acts on it when.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::job::Verdict;
use crate::job::kernel::{self, Killer};
use crate::job::process;
use crate::mutant::{self, Mutant};
use crate::time::{Clock, Tick};
use crate::timing::Timing;

/// The longest head start the worker has over the sentry; waking up took 28 ms on a loaded machine.
const HEAD_START: Duration = Duration::from_millis(50);

/// A page in both processes; all zeroes at the start.
pub(super) struct Page {
    /// When the last acknowledged beat was sent (ns on the clock); 0: not armed.
    sent: AtomicU64,
    /// The job's process group; 0: none yet, or its leader is reaped and the number free for strangers.
    group: AtomicI32,
    /// The group the job had, for comparison with the terminal's only: never signal it.
    once: AtomicI32,
    /// A descriptor of the process that is watched in place of a job, plus one; 0: none.
    watched: AtomicI32,
    /// Whoever swaps it first sends the stop signal at the deadline.
    stop_sent: AtomicBool,
    /// The worker is ending the tree: the sentry lets it until [`Ladder::patience`].
    killing: AtomicBool,
    /// How to end, as [`Verdict::word`] spells it; 0: not said yet. Said here and not through the pipe, it is known also where
    /// only the worker's death was heard.
    verdict: AtomicI32,
}

impl Page {
    /// Maps the page; it stays for the life of the process.
    pub(super) fn map() -> io::Result<&'static Page> {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping, page-aligned, zeroed (valid atomics) and never unmapped.
        unsafe {
            let page = libc::mmap(std::ptr::null_mut(), size_of::<Page>(), prot, flags, -1, 0);
            if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(&*page.cast::<Page>()) }
        }
    }

    /// The send time of the last acknowledged beat, unless not armed.
    pub(super) fn sent(&self) -> Option<Tick> {
        Some(Tick(self.sent.load(SeqCst))).filter(|sent| sent.0 != 0)
    }

    pub(super) fn set_verdict(&self, verdict: Verdict) {
        self.verdict.store(verdict.word(), SeqCst);
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        Verdict::from_word(self.verdict.load(SeqCst))
    }

    pub(super) fn killing(&self) -> bool {
        self.killing.load(SeqCst)
    }

    /// The job's group, while signals to it can't hit a stranger.
    pub(super) fn group(&self) -> Option<i32> {
        Some(self.group.load(SeqCst)).filter(|group| *group != 0)
    }

    /// The number of the group the job had: for the terminal, not for signals.
    pub(super) fn old_group(&self) -> Option<i32> {
        Some(self.once.load(SeqCst)).filter(|group| *group != 0)
    }

    pub(super) fn set_group(&self, group: i32) {
        self.once.store(group, SeqCst);
        self.group.store(group, SeqCst);
    }

    /// Comes before the leader is reaped.
    pub(super) fn forget_group(&self) {
        self.group.store(0, SeqCst);
    }

    /// The watched process, which signals are for as well.
    pub(super) fn watched(&self) -> Option<RawFd> {
        Some(self.watched.load(SeqCst) - 1).filter(|watched| *watched >= 0)
    }

    pub(super) fn set_watched(&self, process: RawFd) {
        self.watched.store(process + 1, SeqCst);
    }

    /// It is let go: nothing is sent to it from now on.
    pub(super) fn forget_watched(&self) {
        self.watched.store(0, SeqCst);
    }

    /// Sends a signal to the job's whole group, and to the watched process.
    pub(super) fn signal(&self, signal: i32) {
        if let Some(watched) = self.watched() {
            process::signal(watched, signal);
        }
        if let Some(group) = self.group() {
            kernel::kill(-group, signal);
        }
    }

    /// Whether the watched process, if there is one, ends within so many milliseconds; -1 is for ever.
    pub(super) fn watched_has_ended(&self, millis: i32) -> bool {
        self.watched().is_none_or(|watched| process::has_ended(watched, millis))
    }

    /// Whether the stop signal of the deadline has gone out.
    pub(super) fn stop_sent(&self) -> bool {
        self.stop_sent.load(SeqCst)
    }

    /// Sends the stop signal unless the other process has. A stopped job is woken, for it could not act on it.
    pub(super) fn stop(&self, signal: i32) {
        if self.group().is_some() && !self.stop_sent.swap(true, SeqCst) {
            self.signal(signal);
            self.signal(libc::SIGCONT);
        }
    }
}

/// Who acts when: the worker at the [`Timing`]'s own moments, the sentry a little later, the kernel's timer last.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    pub clock: Clock,
    pub timing: Timing,
}

impl Ladder {
    /// When the sentry sends the stop signal.
    pub fn sentry_stop(&self, sent: Tick) -> Tick {
        self.timing.stop_at(sent) + self.head_start(sent)
    }

    /// When the sentry kills everything.
    pub fn sentry_kill(&self, sent: Tick) -> Tick {
        self.timing.kill_at(sent) + self.head_start(sent)
    }

    /// When the sentry kills everything although the worker has begun to: half-way to the dead line.
    pub fn patience(&self, sent: Tick) -> Tick {
        self.timing.kill_at(sent) + self.slack(sent) / 2
    }

    /// When the kernel kills the worker, and the job with it; later once the worker has begun to end the tree.
    pub fn last_resort(&self, sent: Tick, killing: bool) -> Tick {
        let sentry = if killing { self.patience(sent) } else { self.sentry_kill(sent) };
        sentry + self.head_start(sent)
    }

    fn head_start(&self, sent: Tick) -> Duration {
        HEAD_START.min(self.slack(sent) / 8)
    }

    fn slack(&self, sent: Tick) -> Duration {
        self.timing.kill_at(sent).until(self.timing.dead_by(sent))
    }
}

/// The moment by which the job must be dead, moved forward by the heartbeat. Three watch it: the worker's own loop,
/// the sentry, and a kernel timer that kills the worker (and thereby the job) should both be frozen.
#[derive(Clone)]
pub struct Deadline(Arc<Watch>);

struct Watch {
    page: &'static Page,
    ladder: Ladder,
    killer: Killer,
    /// True when the tree is gone. The lock keeps the word and the timer in step.
    over: Mutex<bool>,
}

impl Deadline {
    pub(super) fn new(page: &'static Page, ladder: Ladder, killer: Killer) -> Deadline {
        Deadline(Arc::new(Watch { page, ladder, killer, over: Mutex::new(false) }))
    }

    /// A beat that was sent at `sent` has been acknowledged. Never moves backwards; does nothing once the job's tree is gone.
    /// If the time to kill for `sent` is already past, this process is killed at once.
    pub fn renew(&self, sent: Tick) {
        let watch = &*self.0;
        let over = watch.over.lock().unwrap_or_else(PoisonError::into_inner);
        if *over || sent.0 == 0 {
            return;
        }
        let before = watch.page.sent.fetch_max(sent.0, SeqCst);
        if before >= sent.0 {
            return;
        }
        watch.arm(sent);
    }

    /// Disarms: nothing needs to be killed any more. The next renewal arms again.
    pub fn clear(&self) {
        let _over = self.0.over.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.disarm();
    }

    /// The send time of the last acknowledged beat, unless not armed.
    pub fn sent(&self) -> Option<Tick> {
        self.0.page.sent()
    }

    /// Disarms for good: later renewals change nothing.
    pub fn close(&self) {
        *self.0.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.disarm();
    }

    /// The worker begins to end the tree: sentry and kernel wait a little longer. Says for how long at the most.
    pub(super) fn begin_killing(&self) -> Option<Duration> {
        let watch = &*self.0;
        let _over = watch.over.lock().unwrap_or_else(PoisonError::into_inner);
        watch.page.killing.store(true, SeqCst);
        let sent = watch.page.sent()?;
        watch.arm(sent);
        let patience = watch.ladder.clock.now().until(watch.ladder.patience(sent));
        Some(patience.saturating_sub(watch.ladder.head_start(sent)))
    }
}

impl Watch {
    fn arm(&self, sent: Tick) {
        if mutant::on(Mutant::NoKernelTimer) {
            return;
        }
        self.killer.set(self.ladder.last_resort(sent, self.page.killing()));
    }

    fn disarm(&self) {
        self.page.sent.store(0, SeqCst);
        self.killer.set(Tick::NEVER);
    }
}
