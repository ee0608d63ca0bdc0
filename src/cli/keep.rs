//! `vaultlock acquire` and `vaultlock release`: a lock across the steps of a script, kept by a process that stays behind.

use std::io::{IsTerminal, stdout};

use anyhow::anyhow;

use super::args::{self, Global, OnLoss};
use super::config::Config;
use super::plan;
use crate::exit::Exit;
use crate::job::{Process, WatchError};
use crate::run;
use crate::run::handle::{Answer, Ask, Handle};
use crate::run::work::Keep;

/// Takes the locks, leaves a keeper behind, and prints its handle.
///
/// # Errors
/// The code to end with, and why.
pub fn acquire(typed: &args::Acquire, global: &Global, config: &Config) -> Result<Exit, (Exit, anyhow::Error)> {
    let is_stopped = typed.on_loss == OnLoss::Stop;
    let process = match typed.while_pid {
        Some(pid) => Process::find(pid, is_stopped).map_err(unwatched)?,
        None if stdout().is_terminal() => Process::parent(is_stopped).map_err(unwatched)?,
        None => {
            let error = anyhow!(
                "--while-pid is needed where standard output is no terminal: h=$(vaultlock acquire NAME --while-pid $$) keeps the \
                 lock while this shell lives"
            );
            return Err((Exit::Usage, error));
        }
    };
    let handle = Handle::random().map_err(|error| (Exit::Failed, anyhow!("the kernel gives no random numbers: {error}")))?;
    let resolved = plan::resolve_keep(typed, Keep { process, is_stopped, handle }, global, config)?;
    run::run(resolved.plan, resolved.store, resolved.notes, resolved.console).map_err(|error| (Exit::Failed, error))
}

/// Gives back what a handle stands for, and returns when that is done.
///
/// # Errors
/// It is no handle, or not the holder's any more, or the store could not be told.
pub fn release(typed: &args::Release) -> Result<Exit, (Exit, anyhow::Error)> {
    match handle(&typed.handle)?.ask(Ask::Release, None) {
        Ok(Answer::Yes) => Ok(Exit::Success),
        Ok(Answer::Lost) => Err((Exit::Lost, no_holder())),
        Ok(Answer::Failed(trouble)) => Err((
            Exit::Failed,
            anyhow!("the lock could not be given back; it comes free by itself, on a server when its lease ends: {trouble}"),
        )),
        Err(error) => Err((Exit::Failed, anyhow::Error::new(error).context("can't speak to the keeper of this handle"))),
    }
}

/// The handle that was typed.
///
/// # Errors
/// It is none. It is not quoted: it may be one with something too much.
pub fn handle(typed: &str) -> Result<Handle, (Exit, anyhow::Error)> {
    Handle::parse(typed).ok_or_else(|| {
        (Exit::Usage, anyhow!("this is no handle: pass on what vaultlock acquire printed, vl- and 32 digits and letters"))
    })
}

pub fn no_holder() -> anyhow::Error {
    anyhow!(
        "this handle holds no lock (any more): it was released or lost, its process ended, or it is another user's or another \
         host's"
    )
}

fn unwatched(error: WatchError) -> (Exit, anyhow::Error) {
    let exit = if matches!(error, WatchError::Kernel { .. }) { Exit::Failed } else { Exit::Usage };
    (exit, anyhow::Error::new(error).context("--while-pid"))
}
