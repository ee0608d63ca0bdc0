//! A claim from its first word to its last: the only meeting of ledger and store.
//!
//! [`Claim`] is the protocol, pure: it is told the time and the store's answers, and says what to do next. [`Session`]
//! does it: one thread turns it and is the heartbeat. A run's claims, one or several, are a [`Bundle`].

pub mod breaking;
pub mod bundle;
pub mod claim;
mod entangled;
mod holding;
mod leaving;
pub mod notes;
mod together;
mod trouble;
mod turn;
mod waiting;
pub mod words;

pub use breaking::Breaking;
pub use bundle::Bundle;
pub use claim::Claim;
pub use notes::Notes;
pub use turn::{Order, Orders, Session, Turn};
pub use words::{Ending, Loss, News, Standing};
