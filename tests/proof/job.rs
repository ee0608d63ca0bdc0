//! The tortured job. It says in the log that it lives, every few milliseconds, from each of its processes, and whether
//! another job lives beside it. No shell, and nothing started per tick.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};
use vaultlock::time::{Clock, Tick};

use crate::log::{Log, Sign, What};

const BEAT: Duration = Duration::from_millis(5);
/// So many daemons, and so many children at each beat of a job that forks.
const SOME: usize = 3;
/// To kill and bury them takes a while. Most of them say nothing.
const MANY: usize = 60;
/// How long daemons go on after the leader's end: some just a little, some far beyond what a lock may allow.
const A_LITTLE: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_secs(3);
/// Above the lock's own descriptors: what a dead process held is released from the highest number down (Linux since 4.3),
/// so that a presence is never released later than the lock.
const HIGHEST: i32 = 200;
/// A dead process whose descriptors the kernel is still closing may hold its presence for so long; under load 80 ms were seen.
const CLOSING: Duration = Duration::from_secs(1);

words! {
    /// How the job behaves.
    Manner {
        Plain "plain",
        /// It ignores the stop signal.
        Stubborn "stubborn",
        /// It leaves daemons that end soon after it.
        Family "family",
        /// It leaves daemons that are to be killed.
        Daemons "daemons",
        /// It leaves more than can be killed at once.
        Crowd "crowd",
        /// It leaves one that changes its pid all the time and is to be killed.
        Hopper "hopper",
        /// Its children come and go all the time.
        Forks "forks",
    }
}

impl Manner {
    pub const ALL: [Manner; 7] =
        [Manner::Plain, Manner::Stubborn, Manner::Family, Manner::Daemons, Manner::Crowd, Manner::Hopper, Manner::Forks];

    /// Whether it has processes that do not die with its leader.
    pub fn leaves_some(self) -> bool {
        matches!(self, Manner::Family | Manner::Daemons | Manner::Crowd | Manner::Hopper)
    }

    /// Whether these end by themselves.
    pub fn ends(self) -> bool {
        !matches!(self, Manner::Daemons | Manner::Crowd | Manner::Hopper)
    }
}

/// What is said on the job's command line.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where log and presences are.
    pub dir: PathBuf,
    /// Several with commas between them, in the order in which they are taken; each has the next number.
    pub lock: String,
    pub job: u64,
    pub manner: Manner,
    pub span: Duration,
}

impl Order {
    /// The words after the program's name.
    pub fn words(&self) -> [String; 6] {
        let Order { dir, lock, job, manner, span } = self;
        [
            "job".to_owned(),
            dir.display().to_string(),
            lock.clone(),
            job.to_string(),
            manner.to_string(),
            span.as_millis().to_string(),
        ]
    }

    fn read(words: &[String]) -> Option<Order> {
        let [dir, lock, job, manner, span] = words else { return None };
        let (job, manner) = (job.parse().ok()?, manner.parse().ok()?);
        let span = Duration::from_millis(span.parse().ok()?);
        Some(Order { dir: dir.into(), lock: lock.clone(), job, manner, span })
    }
}

/// Where the log is in the folder of a proof.
pub fn log_path(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// The whole life of a job, by the words after `job`.
pub fn main(words: &[String]) -> ! {
    let Some(order) = Order::read(words) else {
        eprintln!("usage: proof job DIR LOCK NUMBER MANNER MILLISECONDS");
        exit(64);
    };
    end(order.job, live(&order))
}

/// Ends this job's process.
pub fn end(job: u64, lived: io::Result<()>) -> ! {
    if let Err(error) = lived {
        eprintln!("job {job}: {error}");
        exit(70);
    }
    leave()
}

fn live(order: &Order) -> io::Result<()> {
    let mut life = Life::begin(order)?;
    if order.manner == Manner::Stubborn {
        for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: ignoring a signal is no handler.
            unsafe { signal(ignored, SigHandler::SigIgn) }?;
        }
    }
    let end = Clock::Boottime.now() + order.span;
    match order.manner {
        Manner::Family => (0..SOME).try_for_each(|_| daemon(|| life.tick_until(end + A_LITTLE)))?,
        Manner::Daemons => (0..SOME).try_for_each(|_| daemon(|| life.tick_until(end + LONG)))?,
        Manner::Crowd => (0..MANY).try_for_each(|_| daemon(|| life.rest_until(end + LONG)))?,
        Manner::Hopper => daemon(|| life.hop_until(end + LONG))?,
        Manner::Forks => life.fork_until(end)?,
        Manner::Plain | Manner::Stubborn => {}
    }
    life.tick_until(end)?;
    life.say(What::End)
}

struct Life {
    log: Log,
    /// One for each lock.
    signs: Vec<(Sign, Presence)>,
}

impl Life {
    fn begin(order: &Order) -> io::Result<Life> {
        let fences = ["VAULTLOCK_FENCES", "VAULTLOCK_FENCE"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
        let mut fences = fences.split(' ').map(|fence| fence.parse().unwrap_or(0));
        let signs = order.lock.split(',').zip(order.job..).map(|(lock, job)| {
            let sign = Sign { lock: lock.to_owned(), job, fence: fences.next().unwrap_or(0), pid: std::process::id() };
            Ok((sign, Presence::of(&order.dir, lock)?))
        });
        let mut life = Life { log: Log::open(&log_path(&order.dir))?, signs: signs.collect::<io::Result<_>>()? };
        life.say(What::Start)?;
        for (sign, presence) in &mut life.signs {
            if !presence.is_had()? && presence.is_anothers()? {
                life.log.write(What::Overlap(sign.clone()))?;
            }
        }
        Ok(life)
    }

    fn say(&self, what: impl Fn(Sign) -> What) -> io::Result<()> {
        let pid = std::process::id();
        self.signs.iter().try_for_each(|(sign, _)| self.log.write(what(Sign { pid, ..sign.clone() })))
    }

    fn tick(&mut self) -> io::Result<()> {
        sleep(BEAT);
        let pid = std::process::id();
        for (sign, presence) in &mut self.signs {
            let what = if presence.is_had()? { What::Tick } else { What::Overlap };
            self.log.write(what(Sign { pid, ..sign.clone() }))?;
        }
        Ok(())
    }

    fn tick_until(&mut self, end: Tick) -> io::Result<()> {
        while Clock::Boottime.now() < end {
            self.tick()?;
        }
        Ok(())
    }

    /// Without a sign of life but the presence.
    fn rest_until(&mut self, end: Tick) -> io::Result<()> {
        sleep(Clock::Boottime.now().until(end));
        Ok(())
    }

    /// Each tick by another process.
    fn hop_until(&mut self, end: Tick) -> io::Result<()> {
        while Clock::Boottime.now() < end {
            self.tick()?;
            if is_parent()? {
                leave();
            }
        }
        Ok(())
    }

    /// Children and orphans that end at once.
    fn fork_until(&mut self, end: Tick) -> io::Result<()> {
        while Clock::Boottime.now() < end {
            for _ in 0..SOME {
                if !is_parent()? {
                    is_parent()?;
                    leave();
                }
            }
            self.tick()?;
            while waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some()) {}
        }
        Ok(())
    }
}

/// Runs `life` in a process out of reach of its session, its group and its parent.
pub fn daemon(life: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if is_parent()? {
        waitpid(Pid::from_raw(-1), None)?;
        return Ok(());
    }
    setsid()?;
    if !is_parent()? {
        let _ = life();
    }
    leave()
}

fn is_parent() -> io::Result<bool> {
    // SAFETY: this program has one thread.
    Ok(matches!(unsafe { fork() }?, ForkResult::Parent { .. }))
}

/// Ends at once: a child of a fork has nothing to flush.
pub fn leave() -> ! {
    // SAFETY: takes no pointers, does not return.
    unsafe { libc::_exit(0) }
}

/// The kernel's witness that a process of a job lives, even a frozen one: an flock on one open file, shared by all
/// processes of the job.
pub struct Presence {
    path: PathBuf,
    file: File,
    had: bool,
}

impl Presence {
    pub fn of(dir: &Path, lock: &str) -> io::Result<Presence> {
        let path = dir.join(format!("presence-{lock}"));
        let low = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        let high = fcntl(low.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(HIGHEST))?;
        // SAFETY: fcntl has just made this descriptor; nobody else owns it.
        let file = unsafe { std::os::fd::FromRawFd::from_raw_fd(high) };
        Ok(Presence { path, file, had: false })
    }

    pub fn is_had(&mut self) -> io::Result<bool> {
        // SAFETY: takes no pointers.
        let failed = !self.had && unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == -1;
        self.had = !failed;
        match failed.then(io::Error::last_os_error) {
            Some(error) if error.raw_os_error() != Some(libc::EWOULDBLOCK) => Err(error),
            _ => Ok(self.had),
        }
    }

    /// Whether somebody lives who has it, as opposed to a dead process whose descriptors are still being closed. What
    /// can't be seen from within a namespace counts as alive.
    pub fn is_anothers(&mut self) -> io::Result<bool> {
        let end = Clock::Boottime.now() + CLOSING;
        while !self.is_had()? {
            if self.is_open_elsewhere() || Clock::Boottime.now() > end {
                return Ok(true);
            }
            sleep(Duration::from_millis(1));
        }
        Ok(false)
    }

    fn is_open_elsewhere(&self) -> bool {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.any(|pid| {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            pid != std::process::id() && open.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == self.path))
        })
    }
}
