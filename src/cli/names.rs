//! Which words are the locks and which the command: `run NAME COMMAND...` leaves the `--` out, `run NAME... -- COMMAND` does
//! not, and a command may have a `--` of its own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{anyhow, bail};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use nix::unistd::{AccessFlags, access};

use super::args::{self, Args, Verb};
use crate::exit::Exit;
use crate::name::{self, Name};

/// One line to the store beats for all of them in turn.
const MOST_LOCKS: usize = 16;
/// Where programs are, beside `$PATH`: cron's has few of these.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";

/// Reads a command line; that of a `run` once more if it names several locks: all words before the first `--` are theirs.
///
/// # Errors
/// clap's own.
pub fn read(words: &[OsString]) -> Result<Args, clap::Error> {
    let args = Args::try_parse_from(words)?;
    match &args.verb {
        Verb::Run(typed) if names_several(typed, words) && !is_unclear(typed) => {}
        _ => return Ok(args),
    }
    let several = Args::command().mut_subcommand("run", |run| {
        run.mut_arg("name", |name| name.num_args(1..).action(ArgAction::Append))
            .mut_arg("words", |words| words.trailing_var_arg(false).last(true))
    });
    let mut matches = several.try_get_matches_from(words)?;
    let names = matches.subcommand_matches("run").and_then(|run| run.get_many::<String>("name"));
    let names: Vec<String> = names.into_iter().flatten().cloned().collect();
    let mut args = Args::from_arg_matches_mut(&mut matches)?;
    if let Verb::Run(typed) = &mut args.verb {
        typed.more = names[1..].to_vec();
        if typed.words.first().is_some_and(|word| word == "--") {
            typed.words.remove(0);
        }
    }
    Ok(args)
}

/// `run x git checkout -- f`: git is a program, so it may be the command, or one of three locks.
///
/// # Errors
/// It can't be told which.
pub fn refuse_unclear(typed: &args::Run, words: &[OsString]) -> anyhow::Result<()> {
    if names_several(typed, words) && is_unclear(typed) {
        let (name, program) = (&typed.name, typed.words[0].display());
        bail!(
            "{program} may be the command or a second lock: write vaultlock run {name:?} -- {program} ... if it is the command; \
             if it is a lock, name another one second, or write -- -- before the command"
        );
    }
    Ok(())
}

/// The locks that were named, in the order in which everybody takes them.
///
/// # Errors
/// A name that is none, or too many of them.
pub fn in_order(typed: &args::Run) -> Result<Vec<Name>, (Exit, anyhow::Error)> {
    sorted([&typed.name].into_iter().chain(&typed.more))
}

/// Locks in the order in which everybody takes them.
///
/// # Errors
/// A name that is none, or too many of them.
pub fn sorted<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<Vec<Name>, (Exit, anyhow::Error)> {
    let locks: Result<Vec<Name>, _> = names.into_iter().map(|name| Name::new(name)).collect();
    let locks = name::in_order(locks.map_err(|error| (Exit::Usage, error.into()))?);
    if locks.len() > MOST_LOCKS {
        return Err((Exit::Usage, anyhow!("{} locks are too many for one run: name {MOST_LOCKS} at most", locks.len())));
    }
    Ok(locks)
}

/// Whether a `--` follows that could have names before it.
fn names_several(typed: &args::Run, words: &[OsString]) -> bool {
    let before = words.len() - typed.words.len();
    let explicit = before > 0 && words[before - 1] == "--";
    typed.more.is_empty() && !explicit && typed.words.iter().any(|word| word == "--")
}

/// Whether the second word could be the command as well. Nobody means a command with `-- --` among its words.
fn is_unclear(typed: &args::Run) -> bool {
    let mut after = typed.words.iter().skip_while(|word| *word != "--").skip(1);
    after.next().is_none_or(|next| next != "--") && typed.words.first().is_some_and(|word| is_program(word))
}

fn is_program(word: &OsStr) -> bool {
    let is_here = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if word.as_encoded_bytes().contains(&b'/') {
        return is_here(Path::new(word));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(env::split_paths(PROGRAMS)).any(|dir| is_here(&dir.join(word)))
}
