//! The processes of one run, each held by a descriptor so that no signal ever hits a stranger who got its number.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::log::Whom;
use crate::support::running::{children, comm};

/// What the worker is called; so are, for a moment, those that become the job.
const WORKER: &str = "vaultlock-w";

pub struct Process {
    pub pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// `None` if there is no such process any more.
    pub fn open(pid: i32) -> Option<Process> {
        // SAFETY: takes no pointers; the descriptor is new.
        let fd = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))?
        };
        Some(Process { pid, fd })
    }

    pub fn send(&self, signal: Signal) {
        let (fd, none) = (self.fd.as_raw_fd(), std::ptr::null_mut::<libc::siginfo_t>());
        // SAFETY: no siginfo is given. It fails where the process is gone, which is as good.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, none, 0) };
    }

    /// Waits for its end, reaped or not.
    pub fn await_end(&self) {
        while !matches!(poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE), Ok(1)) {}
    }

    pub fn is_gone(&self) -> bool {
        matches!(poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO), Ok(1))
    }
}

/// The processes of a run at one moment.
#[derive(Default)]
pub struct Family {
    client: Option<Arc<Process>>,
    sentry: Option<Arc<Process>>,
    worker: Option<Arc<Process>>,
    job: Option<Arc<Process>>,
    others: Vec<Arc<Process>>,
}

impl Family {
    /// Of vaultlock.
    pub fn of(sentry: &Arc<Process>) -> Family {
        let mut family = Family { sentry: Some(Arc::clone(sentry)), ..Family::default() };
        for Descendant { process, parent } in descendants(sentry.pid) {
            let is_worker = comm(process.pid) == WORKER;
            let is_below = |one: &Option<Arc<Process>>| one.as_ref().is_some_and(|one| one.pid == parent);
            if is_worker && family.worker.is_none() && is_below(&family.sentry) {
                family.worker = Some(process);
            } else if !is_worker && family.job.is_none() && is_below(&family.worker) {
                family.job = Some(process);
            } else {
                family.others.push(process);
            }
        }
        family.unless_gone(sentry)
    }

    /// Of a tool that is one process, whose child is the job.
    pub fn of_client(client: &Arc<Process>) -> Family {
        let mut family = Family { client: Some(Arc::clone(client)), ..Family::default() };
        for Descendant { process, parent } in descendants(client.pid) {
            if family.job.is_none() && parent == client.pid {
                family.job = Some(process);
            } else {
                family.others.push(process);
            }
        }
        family.unless_gone(client)
    }

    /// Gone meanwhile: the number, and all that was found by it, may be another's.
    fn unless_gone(self, first: &Process) -> Family {
        if first.is_gone() { Family::default() } else { self }
    }

    /// Those whom a fault means. None where they are not all there, so that a fault is what it is called.
    pub fn take(self, whom: Whom) -> Option<Vec<Arc<Process>>> {
        let Family { client, sentry, worker, job, others } = self;
        match whom {
            Whom::Client => Some(vec![client?]),
            Whom::All if client.is_some() => Some([client?, job?].into_iter().chain(others).collect()),
            Whom::Sentry => Some(vec![sentry?]),
            Whom::Worker => Some(vec![worker?]),
            Whom::Both => Some(vec![sentry?, worker?]),
            Whom::Job => Some(vec![job?]),
            Whom::All => Some([sentry?, worker?, job?].into_iter().chain(others).collect()),
            _ => None,
        }
    }
}

struct Descendant {
    process: Arc<Process>,
    parent: i32,
}

/// In the order of the tree: parents before their children, first-born first.
fn descendants(root: i32) -> Vec<Descendant> {
    let mut found: Vec<Descendant> = Vec::new();
    let mut parents = vec![root];
    while !parents.is_empty() {
        let mut next = Vec::new();
        for parent in parents {
            for pid in children(parent) {
                // Opened first: what then has this parent is the process that was listed.
                if let Some(process) = Process::open(pid).filter(|_| parent_of(pid) == Some(parent)) {
                    found.push(Descendant { process: Arc::new(process), parent });
                    next.push(pid);
                }
            }
        }
        parents = next;
    }
    found
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
