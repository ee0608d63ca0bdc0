//! A store that is a server's, as a URL names it: every engine but the file store.

use std::fmt::Debug;

use super::{Store, Terms};

/// Where a server's store is and how to enter it, read and checked, but not touched.
pub trait Server: Debug {
    /// The store, not yet connected.
    fn open(&self, terms: &Terms) -> Box<dyn Store>;

    /// For messages: "redis at host:port". Shows no secret.
    fn display(&self) -> String;

    /// The same for every URL that means the same locks, whoever uses it: names what this host remembers of the store.
    fn identity(&self) -> String;

    /// The URL without user, password and `max_ttl`, for the job's environment.
    fn without_secrets(&self) -> String;

    /// Whether [`Server::without_secrets`] lacks something that the URL had.
    fn has_secret(&self) -> bool;

    /// Whether the URL itself holds a password: whoever reads it on a command line knows it.
    fn password_in_url(&self) -> bool;

    /// What whoever waits for a store that may have forgotten should know of one that was never used before.
    fn first_use(&self) -> &'static str {
        "for a server that was never used before, fresh=true in the store's URL skips this once"
    }
}
