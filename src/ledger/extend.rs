//! More time for a job that may run for so long and no longer. Whoever asks has no ticket; it changes one number of one holder,
//! who hears of it with its next beat, and is woken for it.

use std::time::Duration;

use thiserror::Error;

use super::{Commit, Holder, View, commit};
use crate::shown::shown;
use crate::time::Wall;

/// What a job may do now.
#[derive(Debug, PartialEq, Eq)]
pub struct Extended {
    pub session: String,
    /// From its start.
    pub limit: Duration,
    /// On the store's clock; a job starts a little later than its claim enters.
    pub until: Wall,
}

/// Why nothing is to be extended.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("nobody holds it")]
    Free,
    #[error("session {} does not hold it; vaultlock status shows who does", shown(.0, 60))]
    Absent(String),
    #[error("several hold it: name one with --session ({})", .0.join(", "))]
    Several(Vec<String>),
    #[error("its job has no limit (--max-run), and may run on")]
    NoLimit,
    #[error("the time of its job is over, and it is being stopped")]
    Over,
}

/// The commit that gives a holder more time: the one of this session, or the only one.
///
/// # Errors
/// [`Refusal`] says why there is none.
pub fn extend(view: &View, session: Option<&str>, by: Duration) -> Result<(Commit, Extended), Refusal> {
    let mut ledger = view.ledger.clone();
    ledger.version += 1;
    let holder = choose(&mut ledger.holders, session)?;
    let limit_ms = holder.limit_ms.ok_or(Refusal::NoLimit)?;
    if view.living(&holder.id).is_none() {
        return Err(Refusal::Absent(holder.id.session()));
    }
    if holder.since.0.saturating_add(limit_ms) <= view.now.0 {
        return Err(Refusal::Over);
    }
    let limit_ms = limit_ms.saturating_add(by.as_millis() as u64);
    holder.limit_ms = Some(limit_ms);
    let until = Wall(holder.since.0.saturating_add(limit_ms));
    let extended = Extended { session: holder.id.session(), limit: Duration::from_millis(limit_ms), until };
    let wake = vec![holder.id.clone()];
    Ok((Commit { ledger: Some(ledger), show: false, ..commit::wake(view, wake) }, extended))
}

fn choose<'a>(holders: &'a mut [Holder], session: Option<&str>) -> Result<&'a mut Holder, Refusal> {
    match session {
        Some(session) => {
            let named = holders.iter_mut().find(|holder| holder.id.session() == session);
            named.ok_or_else(|| Refusal::Absent(session.to_owned()))
        }
        None => match holders {
            [] => Err(Refusal::Free),
            [only] => Ok(only),
            several => Err(Refusal::Several(several.iter().map(|holder| holder.id.session()).collect())),
        },
    }
}
