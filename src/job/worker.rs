//! The worker's view: what happens to the job, and what may be done to it.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::signal::Signal;

use crate::job::child::Started;
use crate::job::front::Behind;
use crate::job::kernel::{self, Whom, kill};
use crate::job::page::{Deadline, Ladder, Page};
use crate::job::signals::{self, Inherited};
use crate::job::spawn;
use crate::job::standby::LetGo;
use crate::job::terminal::Terminal;
use crate::job::wire::{self, Heard, Message, ToSentry};
use crate::job::{Command, End, Event, SpawnError, Verdict, tree};
use crate::time::Tick;

/// Another name than the sentry's: `killall vaultlock` must not hit both at once.
const NAME: &std::ffi::CStr = c"vaultlock-w";

/// The worker. It stays on the thread that [`super::split`] returned on: the kernel kills the job when the thread that
/// started it ends (prctl(2), PR_SET_PDEATHSIG).
pub struct Worker {
    pub(super) page: &'static Page,
    stop: Signal,
    terminal: Option<Terminal>,
    inherited: Inherited,
    sentry: i32,
    from_sentry: OwnedFd,
    to_sentry: ToSentry,
    /// SIGCHLD.
    pub(super) children: OwnedFd,
    timer: OwnedFd,
    /// The sentry's pipe and SIGCHLD in one, for one who waits for other things too.
    events: Option<OwnedFd>,
    pub(super) deadline: Deadline,
    pub(super) state: State,
    behind: Option<Behind>,
    /// The process that is stood by in place of a job.
    pub(super) watched: Option<i32>,
    /// Written to, it lets what stands by that process go.
    pub(super) let_go: LetGo,
    one_thread: PhantomData<*const ()>,
}

/// What split() hands over.
pub(super) struct Parts {
    pub(super) page: &'static Page,
    pub(super) ladder: Ladder,
    pub(super) stop: Signal,
    pub(super) terminal: Option<Terminal>,
    pub(super) inherited: Inherited,
    pub(super) sentry: i32,
    pub(super) from_sentry: OwnedFd,
    pub(super) to_sentry: OwnedFd,
    pub(super) behind: Option<Behind>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) started: Option<Started>,
    /// The job's leader has been reaped, its number is free.
    pub(super) reaped: bool,
    pub(super) end: Option<End>,
    told_end: bool,
    told_alone: bool,
    sentry_died: bool,
    /// The sentry is stopped, or about to be: it needs no word about the job's stop.
    sentry_stopped: bool,
}

impl Worker {
    pub(super) fn begin(parts: Parts) -> io::Result<Worker> {
        kernel::set_group(0, 0);
        kernel::become_subreaper()?;
        // SAFETY: the name is a C string of at most 15 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
        let killer = kernel::Killer::new(parts.ladder.clock)?;
        let to_sentry = ToSentry::new(parts.to_sentry);
        Ok(Worker {
            page: parts.page,
            stop: parts.stop,
            terminal: parts.terminal,
            inherited: parts.inherited,
            sentry: parts.sentry,
            from_sentry: parts.from_sentry,
            children: kernel::signal_fd(&signals::set_of(&[libc::SIGCHLD]))?,
            timer: kernel::alarm_fd(parts.ladder.clock)?,
            events: None,
            deadline: Deadline::new(parts.page, parts.ladder, killer),
            to_sentry,
            state: State::default(),
            behind: parts.behind,
            watched: None,
            let_go: None,
            one_thread: PhantomData,
        })
    }

    /// The deadline, for the heartbeat thread.
    pub fn deadline(&self) -> Deadline {
        self.deadline.clone()
    }

    /// Waits for the next event. None when `bell` is readable (it is not read) or `until` has come.
    ///
    /// # Errors
    /// When the kernel can't wait, for want of memory.
    pub fn next(&mut self, bell: BorrowedFd, until: Tick) -> io::Result<Option<Event>> {
        kernel::set_alarm(self.timer.as_fd(), until);
        loop {
            if let Some(event) = self.look_at_sentry().or_else(|| self.look_at_job()) {
                return Ok(Some(event));
            }
            let sentry = if self.state.sentry_died { -1 } else { self.from_sentry.as_raw_fd() };
            let fds = [sentry, self.children.as_raw_fd(), bell.as_raw_fd(), self.timer.as_raw_fd()];
            let [from_sentry, children, bell, timer] = kernel::poll(fds, -1)?;
            if children {
                self.drain_children();
            }
            if !from_sentry && !children && (bell || timer) {
                return Ok(None);
            }
        }
    }

    /// The next event, if there is one now.
    pub fn next_at_once(&mut self) -> Option<Event> {
        self.drain_children();
        self.look_at_sentry().or_else(|| self.look_at_job())
    }

    /// Can be read when [`Worker::next_at_once`] has something, until the sentry's death has been told.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn events(&mut self) -> io::Result<BorrowedFd<'_>> {
        if self.events.is_none() {
            self.events = Some(kernel::any_of([self.from_sentry.as_fd(), self.children.as_fd()])?);
        }
        Ok(self.events.as_ref().expect("just made").as_fd())
    }

    /// Starts the job; returns when its program runs. Once only.
    ///
    /// # Errors
    /// [`SpawnError`] says which exit code it deserves. Nothing runs then.
    ///
    /// # Panics
    /// When called a second time after a success.
    pub fn spawn(&mut self, command: &Command) -> Result<(), SpawnError> {
        assert!(self.state.started.is_none(), "one worker starts one job");
        let started = spawn::start(command, &self.inherited, self.terminal.as_ref(), self.page, self.children.as_fd())?;
        self.state.started = Some(started);
        Ok(())
    }

    /// Sends a signal to the job's whole process group, if there is still one.
    pub fn signal(&self, signal: Signal) {
        self.page.signal(signal as i32);
    }

    /// At the deadline: sends the stop signal given to [`super::split`], unless it was sent, by us or the sentry.
    /// Wakes a stopped job for it.
    pub fn stop(&self) {
        self.page.stop(self.stop as i32);
    }

    /// Whether the stop signal of the deadline has gone out. The sentry may have sent it while this process was frozen:
    /// the lease may have been renewed since, but the job has been told to end.
    pub fn stop_sent(&self) -> bool {
        self.page.stop_sent()
    }

    /// Tells the sentry that the job was stopped. It stops itself the same way, and continues by [`Event::Signal`] CONT.
    pub fn job_stopped(&mut self, signal: Signal) {
        if !self.state.sentry_stopped && self.terminal.is_some() {
            self.state.sentry_stopped = true;
            self.to_sentry.tell(Message::Stopped(signal as i32));
        }
    }

    /// The keeper stands: says so to the front, which ends with that, and lets go of all that is the caller's. The front is
    /// not waited for.
    ///
    /// # Errors
    /// There is no front any more, and nobody who hears it.
    pub fn detach(&mut self, line: &str) -> io::Result<()> {
        let Some(behind) = self.behind.take() else { return Ok(()) };
        let told = behind.tell(line);
        behind.detach();
        self.to_sentry.tell(Message::Detach);
        told
    }

    /// Gives the verdict to the sentry and exits. Processes that still run are left to themselves.
    pub fn finish(mut self, verdict: Verdict) -> ! {
        // An error has nowhere to go: whoever read our output has left.
        let _ = io::stdout().flush();
        let _ = io::stderr().flush();
        if !self.state.sentry_died {
            self.page.set_verdict(verdict);
            // It wakes up and tidies while this process takes its time to go.
            self.to_sentry.tell(Message::Over);
            self.wake_sentry();
        }
        if kernel::parent() != self.sentry
            && let (Some(terminal), Some(group)) = (&self.terminal, self.page.old_group())
        {
            terminal.take_back(group);
        }
        kernel::leave(verdict.code())
    }

    fn look_at_sentry(&mut self) -> Option<Event> {
        if self.state.sentry_died {
            return None;
        }
        match wire::hear_sentry(&self.from_sentry) {
            Heard::Nothing => None,
            Heard::Death => {
                self.state.sentry_died = true;
                Some(Event::SentryDied)
            }
            Heard::One(signal) => {
                match signal {
                    libc::SIGTSTP => self.state.sentry_stopped = true,
                    libc::SIGCONT => self.state.sentry_stopped = false,
                    _ => {}
                }
                Signal::try_from(signal).ok().map(Event::Signal)
            }
        }
    }

    fn look_at_job(&mut self) -> Option<Event> {
        if self.state.end.is_none() {
            if let Some(event) = self.next_stop() {
                return Some(event);
            }
            self.reap_until_job();
        }
        let end = self.state.end?;
        if self.is_isolated() {
            // The namespace's init can't die before the job is reaped; it takes all the others with it.
            self.kill_init();
            self.reap_job();
        }
        if self.state.told_alone || (self.state.told_end && !self.is_alone()) || (self.is_isolated() && !self.is_alone()) {
            return None;
        }
        if !self.state.told_end {
            self.state.told_end = true;
            return Some(Event::Ended(end));
        }
        self.state.told_alone = true;
        self.deadline.close();
        Some(Event::Alone)
    }

    fn next_stop(&mut self) -> Option<Event> {
        let change = kernel::next_stop(self.state.started?.job)?;
        let Some(signal) = change.stop() else {
            // Somebody continued the job behind the sentry's back.
            self.wake_sentry();
            return Some(Event::Continued);
        };
        Signal::try_from(signal).ok().map(Event::Stopped)
    }

    /// Reaps orphans until the job's leader turns up dead; that one stays, for its number is the group's.
    pub(super) fn reap_until_job(&mut self) {
        while let Some(change) = kernel::look(Whom::Any) {
            if self.is_leader(change.pid) {
                self.state.end = Some(change.end());
                return;
            }
            kernel::reap(Whom::One(change.pid));
        }
    }

    /// Reaps what is dead and says whether nothing else lives. One that had died since the children were listed may have
    /// left an orphan that was not: then they are listed again.
    fn is_alone(&self) -> bool {
        // One call in place of a walk through /proc: most jobs leave nobody behind.
        if !kernel::has_living_children() {
            return true;
        }
        loop {
            let (mut alone, mut buried) = (true, false);
            tree::each_child(&mut |pid| {
                if !self.is_leader(pid) {
                    match kernel::reap(Whom::One(pid)) {
                        Some(_) => buried = true,
                        None => alone &= !kernel::kill(pid, 0),
                    }
                }
            });
            if !(alone && buried) {
                return alone;
            }
        }
    }

    /// The sentry can take no verdict, and the shell sees no progress, while it is stopped.
    fn wake_sentry(&mut self) {
        if self.state.sentry_stopped && kernel::parent() == self.sentry {
            kill(self.sentry, libc::SIGCONT);
            self.state.sentry_stopped = false;
        }
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.state.started.is_some_and(|started| started.init.is_some())
    }

    pub(super) fn is_leader(&self, pid: i32) -> bool {
        !self.state.reaped && self.state.started.is_some_and(|started| started.job == pid)
    }

    pub(super) fn drain_children(&self) {
        while kernel::next_signal(self.children.as_fd()).is_some() {}
    }
}
