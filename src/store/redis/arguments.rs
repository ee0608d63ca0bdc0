//! What the scripts are given: claims and commits in words.

use super::reply::holder_ids;
use crate::ledger::codec::{LONGEST, sealed, write_ledger};
use crate::ledger::{Commit, Form, Guard, Id, Straight};
use crate::name::Name;
use crate::store::Error;
use crate::time::Clock;

pub(super) fn straight_args(form: Form, straight: &Straight) -> Vec<Vec<u8>> {
    let numbers = [straight.remembered, straight.wall.0, form.leap_ms, form.far_behind_ms, form.most];
    [form.at_rest, form.entered].into_iter().chain(numbers.map(|number| number.to_string())).map(bytes).collect()
}

pub(super) fn commit_args(lock: &Name, id: &Id, commit: &Commit, channels: String) -> Result<Vec<Vec<u8>>, Error> {
    let text = commit.ledger.as_ref().map(|ledger| sealed(&write_ledger(ledger))).unwrap_or_default();
    if text.len() > LONGEST {
        return Err(Error::Refused(format!("the ledger of {lock:?} would be too long: use fewer holders or shorter labels")));
    }
    let mut args = vec![
        bytes(id.as_str()),
        bytes(commit.version.to_string()),
        bytes(commit.epoch.as_str()),
        bytes(text),
        bytes(commit.ledger.as_ref().map_or(0, |ledger| ledger.version).to_string()),
        bytes(commit.ledger.as_ref().map(holder_ids).unwrap_or_default()),
        bytes(commit.settle.as_deref().unwrap_or_default()),
        bytes(lock.as_str()),
        bytes(channels),
        bytes(if commit.show { "1" } else { "0" }),
        bytes(commit.drop.len().to_string()),
    ];
    args.extend(commit.drop.iter().map(|id| bytes(id.as_str())));
    args.push(bytes(commit.guards.len().to_string()));
    for guard in &commit.guards {
        let (kind, whom, count) = match guard {
            Guard::Absent(whom) => ("absent", whom, String::new()),
            Guard::Present(whom) => ("present", whom, String::new()),
            Guard::Still(whom, count) => ("still", whom, count.map(|count| count.to_string()).unwrap_or_default()),
        };
        args.extend([bytes(kind), bytes(whom.as_str()), bytes(count)]);
    }
    args.extend(commit.wake.iter().map(|id| bytes(id.as_str())));
    Ok(args)
}

pub(super) fn random_mark() -> String {
    let mut random = [0u8; 16];
    // Marks must differ, not be secret: without randomness the time does.
    if getrandom::getrandom(&mut random).is_err() {
        random = u128::from(Clock::Boottime.now().0).to_be_bytes();
    }
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn bytes(text: impl Into<String>) -> Vec<u8> {
    text.into().into_bytes()
}
