//! Starting the job: everything is prepared before the fork, for the child of a process with threads may not allocate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::job::child::{Child, Report, Started};
use crate::job::kernel::{self, Whom, check, owned};
use crate::job::page::Page;
use crate::job::program::Program;
use crate::job::signals::Inherited;
use crate::job::terminal::Terminal;
use crate::job::{Command, SpawnError, isolate};

/// Starts the job and waits until its program runs.
pub(super) fn start(
    command: &Command,
    inherited: &Inherited,
    terminal: Option<&Terminal>,
    page: &Page,
    children: BorrowedFd,
) -> Result<Started, SpawnError> {
    let mut program = Program::prepare(command)?;
    let mut child = Child {
        inherited,
        inherit: &command.inherit,
        // A job started in the background stays there.
        terminal: terminal.filter(|terminal| terminal.is_ours()).map(Terminal::raw),
        to_parent: -1,
        worker: kernel::pid(),
    };
    let (started, report) = if command.isolate || child.terminal.is_some() {
        let (reports, to_parent) = report_pipe()?;
        child.to_parent = to_parent.as_raw_fd();
        let (started, early) = match command.isolate {
            true => isolate::start(&child, &mut program, &reports)?,
            false => (Started { job: child.fork(&mut program)?, init: None }, None),
        };
        drop(to_parent);
        kernel::set_group(started.job, started.job);
        page.set_group(started.job);
        (started, early.or_else(|| await_exec(started.job, &reports, children)))
    } else {
        let (job, report) = child.borrow(&mut program)?;
        page.set_group(job);
        (Started { job, init: None }, report)
    };
    match report {
        None => Ok(started),
        Some(report) => {
            // Its zombie, or the namespace around it, must be gone before the caller goes on.
            page.forget_group();
            if let Some(init) = started.init {
                kernel::kill(init, libc::SIGKILL);
            }
            kernel::await_death(Whom::One(started.job));
            started.init.and_then(|init| kernel::await_death(Whom::One(init)));
            if let Some(terminal) = terminal {
                terminal.take_back(started.job);
            }
            Err(report.into_error(&command.program))
        }
    }
}

/// Waits until the program runs (None) or can't. A Ctrl-Z may come while the kernel still loads it: nobody could
/// continue a job that nobody waits for, so it is made to go on and stopped again afterwards.
fn await_exec(job: i32, reports: &OwnedFd, children: BorrowedFd) -> Option<Report> {
    let mut stopped = None;
    loop {
        match kernel::poll([reports.as_raw_fd(), children.as_raw_fd()], -1) {
            Ok([true, _]) | Err(_) => break,
            Ok([false, _]) => while kernel::next_signal(children).is_some() {},
        }
        if let Some(signal) = kernel::next_stop(job).and_then(kernel::Change::stop) {
            stopped = Some(signal);
            kernel::kill(-job, libc::SIGCONT);
        }
    }
    let report = Report::receive(reports);
    if let (None, Some(signal)) = (report, stopped) {
        kernel::kill(-job, signal);
    }
    report
}

fn report_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: pipe2 fills the array of two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((owned(ends[0])?, owned(ends[1])?))
}
