//! What was typed and what is printed: one file a verb.

pub mod args;
mod breaking;
mod check;
mod claim;
pub mod complete;
pub mod config;
mod doctor;
mod extend;
mod fence;
mod keep;
mod later;
mod names;
mod plain;
mod plan;
mod policy;
mod preset;
mod status;
mod stores;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};

use crate::exit::Exit;
use crate::run;
use args::{Args, Global, Verb};
use config::Config;

/// Carries out a command line. Returns unless the job was started: then the process ends with it.
///
/// # Errors
/// A chain of lower-case fragments that ends in what to do, and the code to end with.
pub fn main(words: Vec<OsString>) -> Result<Exit, (Exit, anyhow::Error)> {
    if complete::answered(&words).map_err(|error| (Exit::Failed, error.into()))? {
        return Ok(Exit::Success);
    }
    let args = match plain::read(&words).map_or_else(|| names::read(&words), Ok) {
        Ok(args) => args,
        Err(error) => return later::explain(error),
    };
    match &args.verb {
        Verb::Run(_) => run(args, words),
        Verb::Acquire(_) => acquire(args, words),
        Verb::Release(typed) => keep::release(typed),
        Verb::Check(typed) => check::check(typed, &args.global),
        Verb::Extend(typed) => extend::extend(typed, &args.global, &config(&args.global)?),
        Verb::Status(typed) => status::status(typed, &args.global, &config(&args.global)?),
        Verb::Doctor(typed) => doctor::doctor(typed, &args.global, &config(&args.global)?),
        Verb::Break(typed) => breaking::break_lock(typed, &args.global, &config(&args.global)?),
        Verb::Fence(typed) => fence::fence(typed, &args.global),
        Verb::Completions { shell } => print(&complete::script(*shell)),
    }
}

fn run(args: Args, words: Vec<OsString>) -> Result<Exit, (Exit, anyhow::Error)> {
    let config = config(&args.global)?;
    let (args, words) = preset::applied(args, &config, words)?;
    let Verb::Run(typed) = &args.verb else { unreachable!("options make no other verb of it") };
    let resolved = plan::resolve(typed, &args.global, &config, &words)?;
    run::run(resolved.plan, resolved.store, resolved.notes, resolved.console).map_err(|error| (Exit::Failed, error))
}

fn acquire(args: Args, words: Vec<OsString>) -> Result<Exit, (Exit, anyhow::Error)> {
    let config = config(&args.global)?;
    let (args, _) = preset::applied(args, &config, words)?;
    let Verb::Acquire(typed) = &args.verb else { unreachable!("options make no other verb of it") };
    keep::acquire(typed, &args.global, &config)
}

fn config(global: &Global) -> Result<Config, (Exit, anyhow::Error)> {
    Config::find(global.config.as_deref()).map_err(|error| (Exit::Failed, error))
}

/// Puts an answer on standard output.
fn print(answer: &[u8]) -> Result<Exit, (Exit, anyhow::Error)> {
    let mut out = io::stdout();
    match out.write_all(answer).and_then(|()| out.flush()) {
        // Nobody reads on: `vaultlock status | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(error) => Err((Exit::Failed, anyhow::Error::new(error).context("can't write the answer"))),
        Ok(()) => Ok(Exit::Success),
    }
}
