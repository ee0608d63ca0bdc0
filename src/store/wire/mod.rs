//! The way to a server, whatever is spoken on it: sockets, TLS, and a budget of time that a verb shares with all its system calls.

mod budget;
mod dial;
pub mod hosts;
mod stream;
pub mod tls;
pub mod words;

pub use budget::Budget;
pub use dial::{host, one};
pub use stream::Stream;
