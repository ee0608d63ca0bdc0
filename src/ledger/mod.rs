//! The lock itself: who holds it, who waits, and what follows from that. Pure: no clock, no I/O, no thread.
//!
//! A claim is a [`Ticket`] of its own; the [`Ledger`] holds only what must be agreed on and changes by
//! compare-and-swap on its version. A [`Commit`] may add only its author to the holders, and remove only its author
//! or claims it has proven dead.

pub mod breaking;
pub mod codec;
pub mod commit;
pub mod cycle;
pub mod decide;
mod enter;
pub mod extend;
pub mod fence;
pub mod policy;
mod queue;
mod rate;
pub mod rest;
pub mod room;
mod stops;
pub mod straight;
pub mod view;
pub mod watched;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Wall;

use policy::{Keep, Rated};
use rest::Rest;

pub use commit::{Commit, Guard};
pub use cycle::Cycle;
pub use decide::{Decision, Me, Why, decide};
pub use policy::Policy;
pub use straight::{Form, Straight};
pub use view::{Life, Listed, Memory, View};
pub use watched::Watched;

/// What one claim is known by in the store: 128 random bits, never used twice. Who knows it can act as the claim,
/// so it is not shown; [`Id::session`] is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// A fresh id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Id {
        Id(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public name of the claim: the head of the id's digest.
    pub fn session(&self) -> String {
        Sha256::digest(self.0.as_bytes())[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Id, Self::Error> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex { Ok(Id(text)) } else { Err("an id is not 32 hexadecimal digits") }
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.session())
    }
}

/// Whether a claim shares the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Exclusive,
    Shared,
}

/// Who is behind a claim, for people. It comes from another host: escape it before it is shown, and never act on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    pub label: String,
    pub host: String,
    pub pid: u32,
}

/// One claim's own record. Created once by one append, never changed, never created again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    pub fmt: u32,
    pub id: Id,
    pub mode: Mode,
    /// How many may hold the lock together, as this claim sees it.
    pub slots: u32,
    pub priority: i32,
    /// How many milliseconds earlier than it did this claim counts as having joined (priority times aging step).
    pub lead_ms: i64,
    pub ttl_ms: u64,
    pub who: Who,
    /// How long its job may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Policy::is_none")]
    pub policy: Policy,
    /// What the processes around this claim hold in this store, the outermost first: by it cycles of runs are found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Level>,
}

/// A lock that somebody holds, and the public name of the holding claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// The lock's raw name.
    pub lock: String,
    pub session: String,
}

impl Ticket {
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// A claim that has been let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub id: Id,
    pub mode: Mode,
    pub slots: u32,
    pub priority: i32,
    pub fence: u64,
    /// The holder's own ttl: others judge it by this, never by theirs.
    pub ttl_ms: u64,
    /// When it was let in, on the store's clock.
    pub since: Wall,
    pub who: Who,
    /// How long its job may run; anybody may make it longer, and the holder hears of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
    /// Claims of one group replace each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The slots that it wants kept for as long as it holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

impl Holder {
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// A request that a claim end. It removes nobody: the claim stops its job and leaves by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub id: Id,
    pub why: StopReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    Preempted,
    Broken(Breaker),
    Superseded,
    Reserved,
}

impl StopReason {
    /// The reason in one word, as scripts read it.
    pub fn word(&self) -> &'static str {
        match self {
            StopReason::Preempted => "preempted",
            StopReason::Broken(_) => "broken",
            StopReason::Superseded => "superseded",
            StopReason::Reserved => "reserved",
        }
    }
}

/// Who takes a lock from its holder, and why: an operator's words, to be escaped before they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub by: String,
    pub reason: String,
}

/// What everybody must agree on about one lock. Its size grows with holders, not with waiters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub fmt: u32,
    /// The lock's raw name: two names that a store folds into one are found out here.
    pub name: String,
    pub version: u64,
    /// The life of the store in which this ledger was last committed.
    pub epoch: String,
    /// The highest fence ever granted here.
    pub fence: u64,
    pub holders: Vec<Holder>,
    pub stops: Vec<Stop>,
    /// What a rate counts, while one is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rated: Option<Rated>,
    /// Who keeps its room for a time, gone or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests: Vec<Rest>,
}

impl Ledger {
    /// The ledger of a lock nobody has used yet: version 0, which no store keeps.
    pub fn blank(name: &str, epoch: &str) -> Ledger {
        Ledger {
            fmt: codec::FMT,
            name: name.to_owned(),
            version: 0,
            epoch: epoch.to_owned(),
            fence: 0,
            holders: Vec::new(),
            stops: Vec::new(),
            rated: None,
            rests: Vec::new(),
        }
    }

    pub fn holder(&self, id: &Id) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.id == *id)
    }
}
