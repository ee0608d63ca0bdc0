//! Options of `run` that the config file gives a lock, and `acquire` as far as it has them: they are read as if they had been typed first, so that whatever was typed
//! goes before them.

use std::ffi::OsString;

use anyhow::{Context, anyhow, bail};
use clap::{ArgAction, Command, CommandFactory};
use toml::{Table, Value};

use super::args::{Args, Verb};
use super::config::Config;
use super::names;
use crate::exit::Exit;
use crate::name::Name;

/// The command line with what the config file adds, and the words it then has.
///
/// # Errors
/// An option that `run` does not have, or whose value it does not take.
pub fn applied(args: Args, config: &Config, words: Vec<OsString>) -> Result<(Args, Vec<OsString>), (Exit, anyhow::Error)> {
    let (verb, locks) = match &args.verb {
        Verb::Run(typed) => ("run", names::in_order(typed)?),
        Verb::Acquire(typed) => ("acquire", names::sorted(&typed.names)?),
        _ => return Ok((args, words)),
    };
    let mut preset = preset(config, &locks).map_err(|error| (Exit::Failed, error))?;
    preset.retain(|word| has(verb, word));
    if preset.is_empty() {
        return Ok((args, words));
    }
    let at = 1 + verb_at(&words);
    let words: Vec<OsString> =
        words[..at].iter().cloned().chain(preset.iter().map(OsString::from)).chain(words[at..].iter().cloned()).collect();
    match names::read(&words) {
        Ok(args) => Ok((args, words)),
        Err(error) => {
            let said = super::later::told(&error);
            let added = preset.join(" ");
            Err((Exit::Usage, anyhow!("{said}\n\n{} adds {added}", config.path().display())))
        }
    }
}

/// `--option=value` for each, proven to be options that `run` understands.
fn preset(config: &Config, locks: &[Name]) -> anyhow::Result<Vec<String>> {
    let options = config.options_of(locks)?;
    if options.is_empty() {
        return Ok(Vec::new());
    }
    let told = || format!("the config file {}", config.path().display());
    let words = words(&options).with_context(told)?;
    let alone = ["vaultlock", "run"].into_iter().map(OsString::from);
    let alone: Vec<OsString> =
        alone.chain(words.iter().map(OsString::from)).chain(["x".into(), "--".into(), "x".into()]).collect();
    names::read(&alone).map_err(|error| anyhow!("{}", super::later::told(&error))).with_context(told)?;
    Ok(words)
}

/// Whether a verb has the option of a word `--option=value`.
fn has(verb: &str, word: &str) -> bool {
    let tree = Args::command();
    let key = word.trim_start_matches('-').split('=').next().unwrap_or_default();
    tree.find_subcommand(verb).is_some_and(|verb| takes_value(verb, key).is_some())
}

fn words(options: &Table) -> anyhow::Result<Vec<String>> {
    let tree = Args::command();
    let run = tree.find_subcommand("run").expect("there is a run");
    let mut words = Vec::new();
    for (key, value) in options {
        let Some(takes_value) = takes_value(run, key) else {
            bail!("run has no option --{key}: see vaultlock run --help");
        };
        match value {
            Value::Boolean(true) if !takes_value => words.push(format!("--{key}")),
            Value::Boolean(false) if !takes_value => {}
            Value::String(text) if takes_value => words.push(format!("--{key}={text}")),
            Value::Integer(number) if takes_value => words.push(format!("--{key}={number}")),
            Value::Float(number) if takes_value => words.push(format!("--{key}={number}")),
            _ if takes_value => bail!("{key} must be a text in quotes or a number"),
            _ => bail!("{key} must be true or false"),
        }
    }
    Ok(words)
}

/// Whether an option that can stand in a config file takes a value; `None` if there is none of this name. What names the job
/// itself is for each run to say.
fn takes_value(run: &Command, key: &str) -> Option<bool> {
    let arg = run.get_arguments().find(|arg| arg.get_long() == Some(key) && !arg.is_global_set())?;
    (!["command", "help"].contains(&key)).then(|| !matches!(arg.get_action(), ArgAction::SetTrue))
}

/// Where the verb stands: after options of all verbs, whose values may look like it.
fn verb_at(words: &[OsString]) -> usize {
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        match word {
            "--store" | "--config" => at += 2,
            word if word.starts_with('-') => at += 1,
            _ => break,
        }
    }
    at
}
