//! Starting the job: everything is prepared before the fork, for the child of a process with threads may not allocate.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use libc::{c_char, c_int};

use crate::job::kernel::{self, Whom, check, errno, owned};
use crate::job::page::Page;
use crate::job::signals::Inherited;
use crate::job::terminal::{self, Terminal};
use crate::job::{Command, SpawnError, isolate};

/// Where programs are looked for without a PATH: confstr(3), _CS_PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
const SHELL: &CStr = c"/bin/sh";

/// A job whose program runs.
#[derive(Clone, Copy)]
pub(super) struct Started {
    pub(super) job: i32,
    /// Process 1 of the job's PID namespace, if it has one.
    pub(super) init: Option<i32>,
}

/// Starts the job and waits until its program runs.
pub(super) fn start(
    command: &Command,
    inherited: &Inherited,
    terminal: Option<&Terminal>,
    page: &Page,
    children: BorrowedFd,
) -> Result<Started, SpawnError> {
    let mut program = Program::prepare(command)?;
    let (reports, to_parent) = report_pipe()?;
    let child = Child {
        inherited,
        inherit: &command.inherit,
        // A job started in the background stays there.
        terminal: terminal.filter(|terminal| terminal.is_ours()).map(Terminal::raw),
        to_parent: to_parent.as_raw_fd(),
        worker: kernel::pid(),
    };
    let (started, early) = if command.isolate {
        isolate::start(&child, &mut program, &reports)?
    } else {
        (Started { job: child.spawn(&mut program)?, init: None }, None)
    };
    drop(to_parent);
    kernel::set_group(started.job, started.job);
    page.set_group(started.job);
    match early.or_else(|| await_exec(started.job, &reports, children)) {
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

/// What a new process tells the worker on its way to the program; end-of-file means that the program runs.
#[derive(Clone, Copy)]
pub(super) enum Report {
    /// The processes that isolate.rs made: the namespace's first, and the job.
    Pids { init: i32, job: i32 },
    /// The kernel refused a namespace.
    Refused(c_int),
    /// The program could not be executed.
    Exec(c_int),
}

impl Report {
    /// Writes it to the worker. Async-signal-safe.
    pub(super) fn send(self, to: RawFd) {
        let [kind, first, second] = match self {
            Report::Pids { init, job } => [0, init, job],
            Report::Refused(errno) => [1, errno, 0],
            Report::Exec(errno) => [2, errno, 0],
        }
        .map(i32::to_ne_bytes);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&kind);
        bytes[4..8].copy_from_slice(&first);
        bytes[8..].copy_from_slice(&second);
        kernel::write(to, &bytes);
    }

    /// Waits for a report; None at end-of-file.
    pub(super) fn receive(from: &OwnedFd) -> Option<Report> {
        let mut bytes = [0; 12];
        if kernel::read(from.as_raw_fd(), &mut bytes)? < bytes.len() {
            return None;
        }
        let word = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(match word(0) {
            0 => Report::Pids { init: word(4), job: word(8) },
            1 => Report::Refused(word(4)),
            _ => Report::Exec(word(4)),
        })
    }

    pub(super) fn into_error(self, program: &OsStr) -> SpawnError {
        match self {
            Report::Exec(libc::ENOENT | libc::ENOTDIR) => SpawnError::NotFound(program.into()),
            Report::Exec(errno) => {
                SpawnError::NotExecutable { program: program.into(), source: io::Error::from_raw_os_error(errno) }
            }
            Report::Refused(errno) => SpawnError::Isolate(io::Error::from_raw_os_error(errno)),
            Report::Pids { .. } => SpawnError::Other(io::Error::other("a report out of order")),
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

/// What the new process needs on its way to the program.
pub(super) struct Child<'a> {
    inherited: &'a Inherited,
    inherit: &'a [RawFd],
    terminal: Option<RawFd>,
    pub(super) to_parent: RawFd,
    pub(super) worker: i32,
}

impl Child<'_> {
    /// Makes the new process. With a terminal by a plain fork: a Ctrl-Z before the exec would stop a borrower of our
    /// memory, and us with it.
    fn spawn(&self, program: &mut Program) -> io::Result<i32> {
        let mut begin = || {
            if kernel::parent() != self.worker {
                kernel::leave(0);
            }
            self.become_job(program)
        };
        match self.terminal {
            None => kernel::vfork(&mut begin),
            Some(_) => match kernel::fork()? {
                0 => {
                    begin();
                    kernel::leave(127)
                }
                job => Ok(job),
            },
        }
    }

    /// In the new process: becomes the job. Async-signal-safe.
    pub(super) fn become_job(&self, program: &mut Program) -> ! {
        kernel::die_with_parent();
        kernel::set_group(0, 0);
        // SIGTTOU is blocked or ignored until the mask is given back.
        if let Some(terminal) = self.terminal {
            terminal::put(terminal, kernel::group());
        }
        for fd in self.inherit {
            // SAFETY: takes no pointers.
            unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) };
        }
        self.inherited.give_back();
        let errno = program.execute();
        Report::Exec(errno).send(self.to_parent);
        kernel::leave(127)
    }
}

/// A program in the form execve(2) wants, with every place it may be at.
pub(super) struct Program {
    candidates: Vec<CString>,
    argv: Vec<*const c_char>,
    /// For a script without `#!`: the shell, the script's place, the arguments.
    shell_argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// What the pointers point to.
    _strings: (Vec<CString>, Vec<CString>),
}

impl Program {
    fn prepare(command: &Command) -> io::Result<Program> {
        let environment = environment(&command.env);
        let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
        let candidates = candidates(&command.program, &path)?;
        let words = std::iter::once(&command.program).chain(&command.args);
        let words = words.map(|word| Ok(CString::new(word.as_bytes())?)).collect::<io::Result<Vec<_>>>()?;
        let pairs = environment.into_iter().map(|(name, value)| Ok(CString::new(joined(&[&name, OsStr::new("="), &value]))?));
        let pairs = pairs.collect::<io::Result<Vec<_>>>()?;
        let argv = pointers(&words);
        let mut shell_argv = vec![SHELL.as_ptr(), ptr::null()];
        shell_argv.extend(&argv[1..]);
        Ok(Program { candidates, shell_argv, argv, envp: pointers(&pairs), _strings: (words, pairs) })
    }

    /// execvpe(3) without its allocations. Returns the errno. Async-signal-safe.
    fn execute(&mut self) -> c_int {
        let mut denied = false;
        let mut last = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: candidate and arrays are C strings and null-ended arrays of such, alive in `self`.
            last = unsafe {
                libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
                if errno() == libc::ENOEXEC {
                    self.shell_argv[1] = candidate.as_ptr();
                    libc::execve(SHELL.as_ptr(), self.shell_argv.as_ptr(), self.envp.as_ptr());
                }
                errno()
            };
            match last {
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return last,
            }
        }
        if denied { libc::EACCES } else { last }
    }
}

/// The inherited environment with the command's changes.
fn environment(changes: &[(OsString, Option<OsString>)]) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<_, _> = std::env::vars_os().collect();
    for (name, value) in changes {
        match value {
            Some(value) => environment.insert(name.clone(), value.clone()),
            None => environment.remove(name),
        };
    }
    environment
}

/// Where `program` may be. A name without a slash is looked for in `path`, whose empty parts mean the current folder.
fn candidates(program: &OsStr, path: &OsStr) -> io::Result<Vec<CString>> {
    if program.is_empty() {
        return Ok(Vec::new());
    }
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![CString::new(program.as_bytes())?]);
    }
    let parts = path.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes);
    parts
        .map(|part| match part.is_empty() {
            true => Ok(CString::new(program.as_bytes())?),
            false => Ok(CString::new(joined(&[part, OsStr::new("/"), program]))?),
        })
        .collect()
}

fn joined(parts: &[&OsStr]) -> Vec<u8> {
    parts
        .iter()
        .fold(OsString::new(), |mut all, part| {
            all.push(part);
            all
        })
        .into_vec()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
