//! Ledgers and tickets as text in a store. What can't be read in full is refused, never repaired and never reset:
//! a lock whose state is damaged grants nothing.

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::policy::FURTHEST_LEAD;
use super::room::MOST_HOLDERS;
use super::stops::MOST_STOPS;
use super::{Breaker, Holder, Ledger, Level, Stop, StopReason, Ticket, fence};
use crate::name::Name;
use crate::time::Wall;
use crate::timing::LONGEST_TTL;

/// The format this program reads and writes. One that added a rule this program does not know has another number.
pub const FMT: u32 = 1;

/// Documents longer than this are refused before they are parsed.
pub const LONGEST: usize = 128 * 1024;
/// Labels, hosts and ids of others longer than this are not ours.
pub const LONGEST_LABEL: usize = 200;
/// The levels of a ticket's chain: more enclosing runs than that are left out.
pub const LONGEST_CHAIN: usize = 64;

/// Why a stored document grants nothing.
#[derive(Debug, Error)]
pub enum Damage {
    #[error("{0} bytes are more than any honest {1} has")]
    Long(usize, &'static str),
    #[error("not a {0}: {1}")]
    Syntax(&'static str, String),
    #[error("written in format {0}, which this version does not know: upgrade vaultlock here")]
    Format(u32),
    #[error("it belongs to the lock {0:?}: two names fell together in this store")]
    Name(String),
    #[error("its digest does not fit: it was cut, damaged or edited")]
    Seal,
    #[error("{0}")]
    Value(&'static str),
}

/// The ledger's text.
pub fn write_ledger(ledger: &Ledger) -> String {
    serde_json::to_string(ledger).expect("a ledger is plain data with string keys")
}

/// The ticket's text.
pub fn write_ticket(ticket: &Ticket) -> String {
    serde_json::to_string(ticket).expect("a ticket is plain data with string keys")
}

/// The text with its digest on a line of its own. One flipped digit of a holder's id or ttl would read well, and make a
/// stranger or a dead one of a living holder. SHA-1, for it is against damage and not against forgery, and a Redis server's
/// scripts have it too.
pub fn sealed(text: &str) -> String {
    format!("{text}\n{}\n", digest(text.as_bytes()))
}

/// The text that was sealed.
///
/// # Errors
/// [`Damage`] if it is not what was sealed, to the byte.
pub fn unsealed(text: &[u8]) -> Result<&[u8], Damage> {
    if text.len() > LONGEST {
        return Err(Damage::Long(text.len(), "ledger"));
    }
    let body = text.iter().position(|byte| *byte == b'\n').map_or(text, |end| &text[..end]);
    let seal = format!("\n{}\n", digest(body));
    if text[body.len()..] == *seal.as_bytes() { Ok(body) } else { Err(Damage::Seal) }
}

/// Reads a ledger kept under `name` at `version`.
///
/// # Errors
/// [`Damage`] if any byte of it is not what this program would have written there by `now`.
pub fn read_ledger(text: &[u8], name: &str, version: u64, now: Wall) -> Result<Ledger, Damage> {
    let ledger: Ledger = parse(text, "ledger", |ledger: &Ledger| ledger.fmt)?;
    if ledger.name != name {
        return Err(Damage::Name(ledger.name));
    }
    let checks = [
        (ledger.version == version && version > 0, "its version is not the one it is kept under"),
        (fence::plausible(ledger.fence, now), "its fence lies years ahead of the clock"),
        (ledger.holders.len() <= MOST_HOLDERS, "it has more holders than any lock can have"),
        (ledger.holders.iter().all(|h| h.fence <= ledger.fence), "a holder's fence is above the lock's"),
        (ledger.holders.iter().all(|h| honest_ttl(h.ttl_ms)), "a holder's ttl is out of range"),
        (ledger.holders.iter().all(|h| h.who.label.len() <= LONGEST_LABEL * 2), "a holder's label is too long"),
        (ledger.holders.iter().all(honest_rules), "a holder's rules are out of range"),
        (distinct(ledger.holders.iter().map(|h| &h.id)), "a holder stands in it twice"),
        (ledger.stops.len() <= MOST_STOPS, "it asks more claims to stop than any lock has"),
        (ledger.stops.iter().all(honest_stop), "a request to stop says too much"),
        (ledger.rests.len() <= MOST_HOLDERS, "more of its holders rest than any lock can have"),
        (ledger.rests.iter().all(|rest| rest.honest() && honest_rules(&rest.holder)), "a rest in it is out of range"),
        (ledger.rated.as_ref().is_none_or(|rated| rated.honest()), "its rate is out of range"),
    ];
    refuse_first(&checks)?;
    Ok(ledger)
}

/// Reads a ticket.
///
/// # Errors
/// [`Damage`] if any byte of it is not what this program would have written.
pub fn read_ticket(text: &[u8]) -> Result<Ticket, Damage> {
    let ticket: Ticket = parse(text, "ticket", |ticket: &Ticket| ticket.fmt)?;
    refuse_first(&[
        (honest_ttl(ticket.ttl_ms), "its ttl is out of range"),
        (ticket.slots >= 1, "it asks for no slot"),
        ((-FURTHEST_LEAD..=FURTHEST_LEAD).contains(&ticket.lead_ms), "its lead is out of range"),
        (ticket.policy.honest(), "its rules are out of range"),
        (ticket.who.label.len() <= LONGEST_LABEL * 2, "its label is too long"),
        (ticket.chain.len() <= LONGEST_CHAIN && ticket.chain.iter().all(honest_level), "its chain holds what is no lock"),
    ])?;
    Ok(ticket)
}

/// Cuts a label of ours to what others accept, at a character.
pub fn cut_label(label: &str) -> String {
    let mut end = label.len().min(LONGEST_LABEL);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label[..end].to_owned()
}

fn digest(text: &[u8]) -> String {
    sha1_smol::Sha1::from(text).digest().to_string()
}

fn parse<T: DeserializeOwned>(text: &[u8], what: &'static str, fmt: impl Fn(&T) -> u32) -> Result<T, Damage> {
    #[derive(serde::Deserialize)]
    struct Format {
        fmt: u32,
    }
    if text.len() > LONGEST {
        return Err(Damage::Long(text.len(), what));
    }
    let parsed = match serde_json::from_slice::<T>(text) {
        Ok(parsed) => parsed,
        // A newer format has fields this program refuses: say that it is newer, not that a field is unknown.
        Err(error) => match serde_json::from_slice::<Format>(text) {
            Ok(Format { fmt }) if fmt != FMT => return Err(Damage::Format(fmt)),
            _ => return Err(Damage::Syntax(what, error.to_string())),
        },
    };
    match fmt(&parsed) {
        FMT => Ok(parsed),
        other => Err(Damage::Format(other)),
    }
}

fn refuse_first(checks: &[(bool, &'static str)]) -> Result<(), Damage> {
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, complaint)) => Err(Damage::Value(complaint)),
        None => Ok(()),
    }
}

fn honest_level(level: &Level) -> bool {
    Name::new(&level.lock).is_ok() && level.session.len() <= 20
}

fn honest_ttl(ttl_ms: u64) -> bool {
    ttl_ms >= 1 && ttl_ms <= LONGEST_TTL.as_millis() as u64
}

fn honest_rules(holder: &Holder) -> bool {
    let group = holder.group.as_ref().is_none_or(|group| group.len() <= LONGEST_LABEL);
    group && holder.slots >= 1 && holder.keep.is_none_or(|keep| keep.slots >= 1)
}

fn honest_stop(stop: &Stop) -> bool {
    let StopReason::Broken(Breaker { by, reason }) = &stop.why else { return true };
    by.len() <= LONGEST_LABEL && reason.len() <= LONGEST_LABEL
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut items: Vec<T> = items.collect();
    let all = items.len();
    items.sort();
    items.dedup();
    items.len() == all
}
