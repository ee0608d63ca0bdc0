//! What was typed and what is printed: one file a verb.

pub mod args;
mod check;
mod claim;
mod fence;
mod keep;
mod later;
mod names;
mod plain;
mod plan;
mod policy;
mod status;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::CommandFactory;

use crate::exit::Exit;
use crate::run;
use args::{Args, Verb};

/// Carries out a command line. Returns unless the job was started: then the process ends with it.
///
/// # Errors
/// A chain of lower-case fragments that ends in what to do, and the code to end with.
pub fn main(words: Vec<OsString>) -> Result<Exit, (Exit, anyhow::Error)> {
    let args = match plain::read(&words).map_or_else(|| names::read(&words), Ok) {
        Ok(args) => args,
        Err(error) => return later::explain(error),
    };
    match args.verb {
        Verb::Run(typed) => run(*typed, &args.global, &words),
        Verb::Acquire(typed) => keep::acquire(&typed, &args.global),
        Verb::Release(typed) => keep::release(&typed),
        Verb::Check(typed) => check::check(&typed, &args.global),
        Verb::Status(typed) => status::status(&typed, &args.global),
        Verb::Fence(typed) => fence::fence(&typed, &args.global),
        Verb::Completions { shell } => completions(shell),
    }
}

fn run(typed: args::Run, global: &args::Global, words: &[OsString]) -> Result<Exit, (Exit, anyhow::Error)> {
    let resolved = plan::resolve(&typed, global, words)?;
    run::run(resolved.plan, resolved.store, resolved.notes, resolved.console).map_err(|error| (Exit::Failed, error))
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, (Exit, anyhow::Error)> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "vaultlock", &mut script);
    print(&script)
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
