//! vaultlock: run a job under a named lock.
//!
//! ```text
//! cli/              what was typed, what is printed; one file a verb
//! run/              guard (events in, orders out) and the one loop
//! session/          a claim from first word to last; the only meeting of ledger and store
//! store/ | job/     the outsides: where locks are kept | processes and signals
//! mark              another outside: a resource's high-water mark
//! ledger/           the lock itself: who holds, who waits, what follows. Pure
//! name time timing duration exit secret shown bell mutant    words, numbers, a bell, and how to be wrong
//! ```
//!
//! Imports point down only, and `store` and `job` never meet; tests/house.rs keeps it so.

pub mod bell;
pub mod cli;
pub mod duration;
pub mod exit;
pub mod job;
pub mod ledger;
pub mod mark;
pub mod mutant;
pub mod name;
pub mod run;
pub mod secret;
pub mod session;
pub mod shown;
pub mod store;
pub mod time;
pub mod timing;
