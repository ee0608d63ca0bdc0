//! `vaultlock fence`: what the resource says to a job that is late.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::execvp;

use super::args::{self, Global};
use crate::exit::Exit;
use crate::ledger::fence::LIMIT;
use crate::mark::{self, Mark, Verdict};
use crate::shown;

/// Programs expect the lower descriptors to be free.
const LOWEST_FREE: i32 = 20;
/// A longer wait for others is worth a word.
const SHORT: Duration = Duration::from_secs(1);
/// From one look at a file that others have locked to the next, while the wait is short.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Becomes COMMAND, which has the mark's file open and locked for as long as any of its processes runs.
///
/// # Errors
/// The number is late, the mark can't be read or raised, or COMMAND can't be executed.
pub fn fence(typed: &args::Fence, global: &Global) -> Result<Exit, (Exit, anyhow::Error)> {
    let file = typed.file.display();
    if !(1..LIMIT).contains(&typed.fence) {
        return Err((Exit::Usage, anyhow!("{} is no fencing number: pass on $VAULTLOCK_FENCE", typed.fence)));
    }
    let locked = admitted(typed, global.quiet).map_err(|error| (Exit::Failed, error.into()))?.map_err(|mark| {
        let late = anyhow!(
            "fence {} is below {mark}, the high-water mark of {file}: another has held the lock since; the command was not run, \
             start the job again under the lock",
            typed.fence
        );
        (Exit::Late, late)
    })?;
    // A duplicate without the close-on-exec flag; the lock is of both.
    fcntl(&locked, FcntlArg::F_DUPFD(LOWEST_FREE)).map_err(|error| failed(&typed.words, error))?;
    execute(&typed.words).map_err(|error| failed(&typed.words, error)).map(|never| match never {})
}

/// The file, locked as soon as everybody with another number is done; or how high the mark is.
fn admitted(typed: &args::Fence, quiet: bool) -> Result<Result<File, u64>, mark::Error> {
    let (mark, started, mut told) = (Mark::new(&typed.file), Instant::now(), quiet);
    loop {
        match mark.admit(typed.fence)? {
            Verdict::Admitted(locked) => return Ok(Ok(locked)),
            Verdict::Late(mark) => return Ok(Err(mark)),
            Verdict::Busy => {}
        }
        if started.elapsed() > SHORT && !std::mem::replace(&mut told, true) {
            let file = typed.file.display();
            eprintln!("vaultlock: waiting until a command that was fenced with another number is done with {file}");
        }
        thread::sleep(if started.elapsed() < SHORT { LOOK_AGAIN } else { LOOK_AGAIN * 10 });
    }
}

fn execute(words: &[OsString]) -> Result<Infallible, Errno> {
    let words = words.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<Vec<_>, _>>();
    let words = words.map_err(|_| Errno::EINVAL)?;
    execvp(&words[0], &words)
}

fn failed(words: &[OsString], error: Errno) -> (Exit, anyhow::Error) {
    let exit = match error {
        Errno::ENOENT | Errno::ENOTDIR => Exit::NotFound,
        Errno::EMFILE | Errno::EINVAL => Exit::Failed,
        _ => Exit::NotExecutable,
    };
    let why = shown::system(&error.into());
    (exit, anyhow!("can't execute {}: {why}; the mark is raised, and nothing was run", words[0].display()))
}
