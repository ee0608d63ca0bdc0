//! The job's program in the form the kernel wants: prepared before the fork, for the child of a process with threads may
//! not allocate.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use libc::{c_char, c_int};

use crate::job::Command;
use crate::job::kernel::errno;

/// Where programs are looked for without a PATH: confstr(3), _CS_PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
const SHELL: &CStr = c"/bin/sh";

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
    pub(super) fn prepare(command: &Command) -> io::Result<Program> {
        let changed = changed(&command.env);
        let path = match changed.iter().find(|(name, _)| *name == "PATH") {
            Some((_, value)) => value.map(OsStr::to_owned),
            None => std::env::var_os("PATH"),
        };
        let candidates = candidates(&command.program, &path.unwrap_or_else(|| DEFAULT_PATH.into()))?;
        let words = std::iter::once(&command.program).chain(&command.args);
        let words = words.map(|word| Ok(CString::new(word.as_bytes())?)).collect::<io::Result<Vec<_>>>()?;
        let set = changed.iter().filter_map(|(name, value)| value.map(|value| [name, OsStr::new("="), value]));
        let pairs = set.map(|pair| Ok(CString::new(joined(&pair))?)).collect::<io::Result<Vec<_>>>()?;
        let mut envp = inherited(&changed);
        envp.extend(pointers(&pairs));
        let argv = pointers(&words);
        let mut shell_argv = vec![SHELL.as_ptr(), ptr::null()];
        shell_argv.extend(&argv[1..]);
        Ok(Program { candidates, shell_argv, argv, envp, _strings: (words, pairs) })
    }

    /// execvpe(3) without its allocations. Returns the errno. Async-signal-safe.
    pub(super) fn execute(&mut self) -> c_int {
        let mut denied = false;
        let mut last = libc::ENOENT;
        for candidate in &self.candidates {
            // A place where nothing is costs an execve(2) more than a look.
            // SAFETY: the candidate is a C string, alive in `self`.
            if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } == -1 && matches!(errno(), libc::ENOENT | libc::ENOTDIR) {
                last = errno();
                continue;
            }
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

/// What the command changes in the environment, each name once: the last word on it.
fn changed(changes: &[(OsString, Option<OsString>)]) -> Vec<(&OsStr, Option<&OsStr>)> {
    let mut changed: Vec<(&OsStr, Option<&OsStr>)> = Vec::with_capacity(changes.len());
    for (name, value) in changes {
        changed.retain(|(known, _)| *known != name);
        changed.push((name, value.as_deref()));
    }
    changed
}

/// The inherited environment but for what is changed, where it lies: this program never changes its own.
fn inherited(changed: &[(&OsStr, Option<&OsStr>)]) -> Vec<*const c_char> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut kept = Vec::with_capacity(64);
    // SAFETY: a null-ended array of C strings (environ(7)), which nobody in this process writes to.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            let pair = CStr::from_ptr(*at).to_bytes();
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or(pair);
            if changed.iter().all(|(known, _)| known.as_bytes() != name) {
                kept.push(*at);
            }
            at = at.add(1);
        }
    }
    kept
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
