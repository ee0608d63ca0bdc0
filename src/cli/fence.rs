//! `vaultlock fence`: what the resource says to a job that is late.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use anyhow::anyhow;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::execvp;

use super::args::{self, Global};
use crate::exit::Exit;
use crate::ledger::fence::LIMIT;
use crate::mark::{Mark, Verdict};

/// Programs expect the lower descriptors to be free.
const LOWEST_FREE: i32 = 20;

/// Becomes COMMAND, which has the mark's file open and locked for as long as any of its processes runs.
///
/// # Errors
/// The number is late, the mark can't be read or raised, or COMMAND can't be executed.
pub fn fence(typed: &args::Fence, global: &Global) -> Result<Exit, (Exit, anyhow::Error)> {
    let file = typed.file.display();
    if !(1..LIMIT).contains(&typed.fence) {
        return Err((Exit::Usage, anyhow!("{} is no fencing number: pass on $VAULTLOCK_FENCE", typed.fence)));
    }
    let waits = || {
        if !global.quiet {
            eprintln!("vaultlock: waiting until a command that was fenced with another number is done with {file}");
        }
    };
    let verdict = Mark::new(&typed.file).admit(typed.fence, waits).map_err(|error| (Exit::Failed, error.into()))?;
    let locked = match verdict {
        Verdict::Admitted(locked) => locked,
        Verdict::Late(mark) => {
            let fence = typed.fence;
            let late = anyhow!(
                "fence {fence} is below {mark}, the high-water mark of {file}: another has held the lock since; the command was \
                 not run, start the job again under the lock"
            );
            return Err((Exit::Late, late));
        }
    };
    // A duplicate without the close-on-exec flag; the lock is of both.
    fcntl(&locked, FcntlArg::F_DUPFD(LOWEST_FREE)).map_err(|error| failed(&typed.words, error))?;
    execute(&typed.words).map_err(|error| failed(&typed.words, error)).map(|never| match never {})
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
    (exit, anyhow!("can't execute {}: {}", words[0].display(), error.desc()))
}
