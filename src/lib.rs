//! vaultlock: run a job under a named lock.
pub mod bell;
pub mod exit;
pub mod job;
pub mod ledger;
pub mod name;
pub mod secret;
pub mod store;
pub mod time;
pub mod timing;
