//! The names of the keys. A lock's spelled name holds no slash and begins with no dot, so none of them fall together.

use crate::ledger::Id;
use crate::name::Name;

/// The keys of one lock.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    base: String,
}

impl Keys {
    pub fn of(prefix: &str, lock: &Name) -> Keys {
        Keys { base: format!("{prefix}/{}", lock.spelled()) }
    }

    pub fn ledger(&self) -> String {
        format!("{}/ledger", self.base)
    }

    /// A holder's ticket.
    pub fn holder(&self, id: &Id) -> String {
        format!("{}{}", self.holders(), id.as_str())
    }

    pub fn holders(&self) -> String {
        format!("{}/h/", self.base)
    }

    /// A holder's beats.
    pub fn beats(&self, id: &Id) -> String {
        format!("{}{}", self.all_beats(), id.as_str())
    }

    pub fn all_beats(&self) -> String {
        format!("{}/b/", self.base)
    }

    /// The ticket of one that waits for as long as it has waited.
    pub fn plain(&self, id: &Id) -> String {
        format!("{}{}", self.queue(), id.as_str())
    }

    pub fn queue(&self) -> String {
        format!("{}/q/", self.base)
    }

    /// The ticket of one that counts as having joined earlier or later than it did.
    pub fn led(&self, id: &Id) -> String {
        format!("{}{}", self.led_queue(), id.as_str())
    }

    pub fn led_queue(&self) -> String {
        format!("{}/r/", self.base)
    }

    /// An id that must not come again.
    pub fn gone(&self, id: &Id) -> String {
        format!("{}/x/{}", self.base, id.as_str())
    }

    /// Beats, holders and ledger, which lie one beside the other, are read as one.
    pub fn held(&self) -> (String, String) {
        (self.all_beats(), format!("{}\0", self.ledger()))
    }

    /// For messages.
    pub fn base(&self) -> &str {
        &self.base
    }
}

/// The store's record.
pub(super) fn record(prefix: &str) -> String {
    format!("{prefix}/.store")
}

/// The lease of a waiter's ticket: known before it is granted, so that asking twice makes one.
pub(super) fn lease(id: &Id) -> i64 {
    let head = i64::from_str_radix(&id.as_str()[..15], 16).expect("an id is 32 hexadecimal digits");
    head.max(1)
}

/// The lease of an id that must not come again, where its ticket has none.
pub(super) fn grave_lease(id: &Id) -> i64 {
    let tail = i64::from_str_radix(&id.as_str()[16..31], 16).expect("an id is 32 hexadecimal digits");
    tail.max(1)
}

/// The last part of a key is an id.
pub(super) fn id(key: &[u8]) -> Option<Id> {
    let key = std::str::from_utf8(key).ok()?;
    Id::try_from(key.rsplit('/').next()?.to_owned()).ok()
}
