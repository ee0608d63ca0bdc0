//! `vaultlock check`: is the lock still held? A keeper knows by its own deadline, and is asked; a job of `run` asks the store.

use std::env;
use std::time::Duration;

use anyhow::anyhow;

use super::args::{self, Global};
use super::{keep, plan, stores};
use crate::exit::Exit;
use crate::ledger::{Level, View};
use crate::name::Name;
use crate::run::handle::{Answer, Ask};

/// How long a keeper or a store may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends with 0 while the lock is held.
///
/// # Errors
/// It is not held any more, or nobody can tell.
pub fn check(typed: &args::Check, global: &Global) -> Result<Exit, (Exit, anyhow::Error)> {
    let Some(handle) = &typed.handle else { return check_run(global) };
    match keep::handle(handle)?.ask(Ask::Check, Some(PATIENCE)) {
        Ok(Answer::Yes) => Ok(Exit::Success),
        Ok(Answer::Lost | Answer::Failed(_)) => Err((Exit::Lost, keep::no_holder())),
        Err(error) => Err((
            Exit::Failed,
            anyhow::Error::new(error).context("the keeper of this handle does not answer: nobody can tell what it holds"),
        )),
    }
}

/// Whether the run that this process belongs to holds all its locks. The store is asked, not the worker: what counts is that
/// nobody else can have been let in, and that is what stands there.
fn check_run(global: &Global) -> Result<Exit, (Exit, anyhow::Error)> {
    let names = innermost().ok_or_else(|| {
        (Exit::Usage, anyhow!("there is no run around this process: name the HANDLE that vaultlock acquire printed"))
    })?;
    if env::var_os("VAULTLOCK_SESSION").is_none() {
        return Err((Exit::Lost, anyhow!("this job runs without the lock (--if-unavailable run)")));
    }
    let config = super::config(global)?;
    let location = stores::locate(global, &config, &names)?;
    let around = plan::held_around(&location);
    let mut store = location.open(PATIENCE);
    for name in names {
        let level = around.iter().rev().find(|level| level.lock == name.as_str());
        let view = store.view(&name, None).map_err(|error| (Exit::Failed, error.into()))?;
        if !level.is_some_and(|level| holds(&view, level)) {
            return Err((Exit::Lost, anyhow!("{name} is not held by this run any more")));
        }
    }
    Ok(Exit::Success)
}

/// The locks of the innermost run around this process.
fn innermost() -> Option<Vec<Name>> {
    match env::var("VAULTLOCK_NAMES") {
        Ok(names) => names.split(' ').map(Name::from_word).collect(),
        Err(_) => Some(vec![Name::new(&env::var("VAULTLOCK_NAME").ok()?).ok()?]),
    }
}

fn holds(view: &View, level: &Level) -> bool {
    view.ledger.holders.iter().any(|holder| holder.id.session() == level.session && view.living(&holder.id).is_some())
}
