//! Hearing that one's ticket was woken: a connection of its own that is subscribed to the ticket's channel.
//!
//! Whatever comes on it counts as a wake, the confirmation of the subscription too: so the first wait of a ticket returns
//! as soon as the server lists it, its owner looks once more, and no wake in between is missed.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::address::Address;
use super::connection::Connection;
use crate::bell;
use crate::ledger::Id;
use crate::store::Error;
use crate::store::wire::Budget;
use crate::time::{Clock, Tick};

const CLOCK: Clock = Clock::Boottime;
/// The caller's bell is not heard while connecting, so that may not take long.
const LONGEST_CONNECT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The listening side of at most one waiting ticket.
pub(super) struct Wakes {
    line: Option<(Id, Connection)>,
    /// After a failure, not before this.
    again: Tick,
    pause: Duration,
}

impl Wakes {
    pub fn new() -> Wakes {
        Wakes { line: None, again: Tick(0), pause: FIRST_PAUSE }
    }

    /// Returns when `channel` is woken, when `bell` rings, or by `until`.
    pub fn wait(
        &mut self,
        address: &Address,
        id: &Id,
        channel: &str,
        until: Tick,
        bell: BorrowedFd<'_>,
        request: Duration,
    ) -> Result<(), Error> {
        loop {
            if self.line.as_ref().is_none_or(|(known, _)| known != id) {
                self.subscribe(address, id, channel, until, request);
            }
            let Some((_, line)) = &mut self.line else {
                if heard(&[bell], until.min(self.again))? || CLOCK.now() >= until {
                    return Ok(());
                }
                continue;
            };
            // Before the wait: TLS may have read ahead what poll(2) can't see any more.
            match line.drain() {
                Ok(came) if came.is_empty() => {}
                Ok(came) => {
                    if is_error(&came) {
                        self.give_up();
                    } else {
                        self.pause = FIRST_PAUSE;
                    }
                    return Ok(());
                }
                Err(_) => {
                    self.give_up();
                    return Ok(());
                }
            }
            let rung = bell::listen(&[line.fd(), bell], until, CLOCK).map_err(broken)?;
            if rung[1] || CLOCK.now() >= until {
                return Ok(());
            }
        }
    }

    /// Listens no more: the ticket has been let in or is gone.
    pub fn close(&mut self) {
        *self = Wakes::new();
    }

    fn subscribe(&mut self, address: &Address, id: &Id, channel: &str, until: Tick, request: Duration) {
        self.line = None;
        if CLOCK.now() < self.again {
            return;
        }
        let within = LONGEST_CONNECT.min(request).min(CLOCK.now().until(until));
        let budget = Budget::new(within);
        let mut command = redis::cmd("SUBSCRIBE");
        command.arg(channel);
        let opened = Connection::open(address, budget).and_then(|mut line| {
            line.send(address, &[command], budget)?;
            Ok(line)
        });
        match opened {
            Ok(line) => self.line = Some((id.clone(), line)),
            Err(_) => self.give_up(),
        }
    }

    /// A server that comes back must not be met by all its waiters in one moment.
    fn give_up(&mut self) {
        self.line = None;
        let mut random = [0u8];
        // Without randomness all come at once, which is slow but right.
        let _ = getrandom::getrandom(&mut random);
        self.again = CLOCK.now() + self.pause / 2 + self.pause * u32::from(random[0]) / 256;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

pub(super) fn heard(to: &[BorrowedFd<'_>], until: Tick) -> Result<bool, Error> {
    Ok(bell::listen(to, until, CLOCK).map_err(broken)?.contains(&true))
}

fn broken(error: std::io::Error) -> Error {
    Error::Refused(format!("can't wait for redis: {}; this is a fault in vaultlock, please report it", error.kind()))
}

/// Our channels and messages hold no line breaks, so a minus at a line's start is an error reply.
fn is_error(came: &[u8]) -> bool {
    came.starts_with(b"-") || came.windows(3).any(|three| three == b"\r\n-")
}
