//! vaultlock: run a job under a named lock.
pub mod job;
pub mod time;
pub mod timing;
