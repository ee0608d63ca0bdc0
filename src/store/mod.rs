//! Where locks are kept: verbs without lock semantics, one engine a file or folder.

mod engines;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod file;
mod finding;
pub mod locate;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
mod server;
#[cfg(feature = "server")]
// No engine uses all of it.
#[cfg_attr(
    not(all(feature = "redis", feature = "postgres", feature = "etcd", feature = "zookeeper")),
    allow(dead_code, unused_imports)
)]
mod wire;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use finding::{Finding, Promise};
pub use server::Server;
use thiserror::Error;

use crate::ledger::{Commit, Id, Straight, Ticket, View};
use crate::name::Name;
use crate::time::{Clock, Tick, Wall};

/// One store, used by one thread at a time. Every engine must pass the same suite (tests/engines.rs).
///
/// Each verb returns within the request time the store was opened with. A verb that failed with
/// [`Error::Unreachable`] may or may not have been carried out: only [`Store::view`] tells.
pub trait Store: Send {
    /// What this engine is and how its claims are told alive.
    fn kind(&self) -> Kind;

    /// How long one request may take from now on. Engines that ask nobody take no notice.
    fn allow(&mut self, request: Duration);

    /// Readies a ticket before the process forks, and says which descriptors the claim's processes must keep open
    /// for it: the claim lives as long as any of them does.
    fn prepare(&mut self, lock: &Name, ticket: &Ticket) -> Result<Vec<RawFd>, Error>;

    /// Appends a ticket to the queue. Idempotent by id: asking again changes nothing, renews nothing, and an id once
    /// gone never returns. The engine numbers the tickets.
    fn take(&mut self, lock: &Name, ticket: &Ticket) -> Result<View, Error>;

    /// As [`Store::take`]; a ticket that it appends to a plain lock becomes the holder in the same step, with the ledger that
    /// [`Straight::commit`] makes of it. An engine that can't do both at once only takes.
    fn enter(&mut self, lock: &Name, ticket: &Ticket, straight: &Straight) -> Result<View, Error>;

    /// Renews an existing ticket; never makes one. `with` are the claims the caller watches.
    fn beat(&mut self, lock: &Name, id: &Id, with: &[Id]) -> Result<Beat, Error>;

    /// The lock as it is now, no older than the caller's own last write or its wake; `id` is the asker's ticket.
    fn view(&mut self, lock: &Name, id: Option<&Id>) -> Result<View, Error>;

    /// Carries out a commit, all or nothing, wakes whom it names, and shows the lock afterwards if it asks for that.
    fn commit(&mut self, lock: &Name, id: &Id, commit: &Commit) -> Result<Outcome, Error>;

    /// Returns when the ticket was woken or `bell` rings, and by `until`. A hint: it may return early, and nothing but
    /// speed may depend on it. A wake between the caller's last view and this call is not missed.
    fn wait(&mut self, lock: &Name, id: &Id, until: Tick, bell: BorrowedFd<'_>) -> Result<(), Error>;

    /// The locks that have a ledger or a ticket here, in name order.
    fn locks(&mut self) -> Result<Vec<Name>, Error>;

    /// What this store can promise, and whether our rights there suffice. Leaves nothing behind but what a first use makes.
    fn examine(&mut self) -> Result<Vec<Finding>, Error>;
}

/// What an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// For messages: "file store", "redis".
    pub engine: &'static str,
    /// The clock its leases run on.
    pub clock: Clock,
    pub liveness: Liveness,
}

/// How it comes out that a claim is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The kernel frees a dead claim's lock: nothing lapses by time.
    Kernel,
    /// The store ends a lease that is not renewed: a claim without a ticket is dead.
    Leases,
    /// The store only counts beats, and who wants to know must watch them.
    Beats,
}

impl Kind {
    /// Whether the store itself knows when a claim is dead.
    pub fn knows_the_dead(&self) -> bool {
        self.liveness != Liveness::Beats
    }
}

/// A server's clock is believed while it is no further than this from ours, in milliseconds.
const CLOCKS_AGREE: u64 = 1000;

/// Whether a server's clock is to be believed that showed `server` at some moment between these two of ours.
pub fn clocks_agree(server: Wall, (sent, got): (Wall, Wall)) -> bool {
    server.0 + CLOCKS_AGREE >= sent.0 && server.0 <= got.0 + CLOCKS_AGREE
}

/// The answer to a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    Alive {
        version: u64,
        epoch: String,
        /// The beats of those asked for, where the engine counts beats; a missing one has no ticket.
        others: Vec<(Id, u64)>,
        /// For how long the first of `others` has been quiet, by the store's clock: a hint when to listen again.
        quiet: Option<Duration>,
    },
    Gone,
}

/// The answer to a commit.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a view if the commit asked for one, or if one to be woken is not there any more.
    Done(Option<View>),
    /// Something the commit relied on has changed; the view shows what is so now. It may also have been carried out and
    /// overtaken since.
    Conflict(View),
}

/// What went wrong, by what the caller can do about it.
#[derive(Debug, Error)]
pub enum Error {
    /// No answer, or the line broke: try again, and take nothing for granted.
    #[error("{0}")]
    Unreachable(String),
    /// The store answered that it will not: wrong password, read-only, full, not a store of ours. Trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// The store holds something this program did not write. Nothing is granted and nothing repaired.
    #[error("{0}")]
    Damaged(String),
}

/// What every engine is opened with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long one request may take.
    pub request: Duration,
    pub max_ttl: Duration,
}
