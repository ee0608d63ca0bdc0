//! `vaultlock extend`: more time for a job that runs with `--max-run`, from inside it or from anywhere else.

use std::time::Duration;

use anyhow::anyhow;

use super::args::{self, Global};
use super::config::Config;
use super::{plan, print, stores};
use crate::exit::Exit;
use crate::ledger::Id;
use crate::ledger::extend::{self, Refusal};
use crate::name::Name;
use crate::shown::shown;
use crate::store::{self, Outcome};

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Others may change the lock between a look and the commit; so often in a row they do not.
const MOST_TRIES: u32 = 50;

/// Gives a job more time, and says how much it then has.
///
/// # Errors
/// There is no such job, or it has no limit; or the store does not answer, refuses or is damaged.
pub fn extend(typed: &args::Extend, global: &Global, config: &Config) -> Result<Exit, (Exit, anyhow::Error)> {
    let lock = Name::new(&typed.name).map_err(|error| (Exit::Usage, error.into()))?;
    let location = stores::locate(global, config, std::slice::from_ref(&lock))?;
    let around = plan::held_around(&location).into_iter().rev().find(|level| level.lock == lock.as_str());
    let session = typed.session.clone().or(around.map(|level| level.session));
    let author = Id::from_random(plan::random().map_err(|error| (Exit::Failed, error))?);
    let mut store = location.open(PATIENCE);
    let failed = |error: store::Error| (Exit::Failed, error.into());
    let mut view = store.view(&lock, None).map_err(failed)?;
    for _ in 0..MOST_TRIES {
        let (commit, extended) =
            extend::extend(&view, session.as_deref(), typed.by).map_err(|refusal| refused(&lock, &refusal))?;
        match store.commit(&lock, &author, &commit).map_err(failed)? {
            Outcome::Conflict(changed) => view = changed,
            Outcome::Done(_) => {
                let (name, limit) = (shown(lock.as_str(), 200), humantime::format_duration(extended.limit));
                let (session, until) = (extended.session, extended.until.rfc3339());
                return print(format!("{name}: the job of session {session} may run for {limit}, until {until}\n").as_bytes());
            }
        }
    }
    Err((Exit::Failed, anyhow!("{lock} changes all the time: nothing was extended, try again")))
}

fn refused(lock: &Name, refusal: &Refusal) -> (Exit, anyhow::Error) {
    let exit = match refusal {
        Refusal::Several(_) | Refusal::NoLimit => Exit::Usage,
        Refusal::Free | Refusal::Absent(_) | Refusal::Over => Exit::Busy,
    };
    (exit, anyhow!("{lock}: nothing was extended: {refusal}"))
}
