//! What an engine finds out about its store for somebody who asks what it can promise.

use serde::Serialize;

/// How much of the promise stands: that a job is dead before another is let in, and that fences only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    All,
    /// In every case but one that the finding names.
    Part,
    None,
}

/// One thing about a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word or two: "persistence".
    pub about: &'static str,
    /// What it leaves of the promise.
    pub promise: Promise,
    /// A sentence, and what to do about it where something can be done. Words of the server in it are not yet fit for a terminal.
    pub says: String,
}

impl Finding {
    pub fn fine(about: &'static str, says: impl Into<String>) -> Finding {
        Finding { about, promise: Promise::All, says: says.into() }
    }

    pub fn partly(about: &'static str, says: impl Into<String>) -> Finding {
        Finding { about, promise: Promise::Part, says: says.into() }
    }

    pub fn fatal(about: &'static str, says: impl Into<String>) -> Finding {
        Finding { about, promise: Promise::None, says: says.into() }
    }
}
