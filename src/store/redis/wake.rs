//! Hearing that one's ticket was woken: a connection of its own that is subscribed to the ticket's channel.
//!
//! Whatever comes on it counts as a wake, the confirmation of the subscription too: so the first wait of a ticket returns
//! as soon as the server lists it, its owner looks once more, and no wake in between is missed. A wake may bring along what
//! a look would show.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use redis::Value;

use super::address::{Address, Place};
use super::connection::{Connection, LONGEST_REPLY};
use super::resp;
use crate::bell;
use crate::ledger::Id;
use crate::store::Error;
use crate::store::wire::Budget;
use crate::time::{Clock, Tick, Wall};

const CLOCK: Clock = Clock::Boottime;
/// The caller's bell is not heard while connecting, so that may not take long.
const LONGEST_CONNECT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The listening side of at most one waiting ticket.
pub(super) struct Wakes {
    line: Option<(Id, Place, Connection)>,
    /// What came on it of a message whose end has not come.
    begun: Vec<u8>,
    /// What the last wake showed, and when that came.
    shown: Option<(Id, Vec<Value>, Wall)>,
    /// After a failure, not before this.
    again: Tick,
    pause: Duration,
}

/// What came on the line.
enum Came {
    Nothing,
    /// A wake, with what it shows.
    Wake(Option<Vec<Value>>),
    /// Not what a server says to one who listens.
    Refusal,
}

impl Wakes {
    pub fn new() -> Wakes {
        Wakes { line: None, begun: Vec::new(), shown: None, again: Tick(0), pause: FIRST_PAUSE }
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
            if self.line.as_ref().is_none_or(|(known, at, _)| known != id || *at != address.place) {
                self.subscribe(address, id, channel, until, request);
            }
            let Some((.., line)) = &mut self.line else {
                if heard(&[bell], until.min(self.again))? || CLOCK.now() >= until {
                    return Ok(());
                }
                continue;
            };
            // Before the wait: TLS may have read ahead what poll(2) can't see any more.
            let came = line.drain().map(|came| {
                self.begun.extend(came);
                messages(&mut self.begun)
            });
            match came {
                Ok(Came::Nothing) => {}
                Ok(Came::Wake(shown)) => {
                    self.pause = FIRST_PAUSE;
                    self.shown = shown.map(|shown| (id.clone(), shown, Wall::now()));
                    return Ok(());
                }
                Ok(Came::Refusal) | Err(_) => {
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

    /// What the wake of this ticket showed, once, and when it came.
    pub fn shown(&mut self, id: &Id) -> Option<(Vec<Value>, Wall)> {
        self.shown.take().filter(|(woken, ..)| woken == id).map(|(_, shown, came)| (shown, came))
    }

    /// What a wake showed is out of date.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// Listens no more: the ticket has been let in or is gone.
    pub fn close(&mut self) {
        *self = Wakes::new();
    }

    fn subscribe(&mut self, address: &Address, id: &Id, channel: &str, until: Tick, request: Duration) {
        self.line = None;
        self.begun.clear();
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
            Ok(line) => self.line = Some((id.clone(), address.place.clone(), line)),
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

/// Takes all whole messages out of what came; the last one counts.
fn messages(came: &mut Vec<u8>) -> Came {
    let (mut last, mut at) = (Came::Nothing, 0);
    loop {
        match resp::parse(&came[at..], LONGEST_REPLY) {
            Ok(Some((message, length))) => {
                at += length;
                last = match message {
                    // The kind, the channel, and the message, or to how many channels we listen.
                    Value::Array(parts) if parts.len() == 3 => Came::Wake(parts.into_iter().next_back().and_then(view_in)),
                    _ => return Came::Refusal,
                };
            }
            Ok(None) => break,
            Err(resp::Strange) => return Came::Refusal,
        }
    }
    came.drain(..at);
    last
}

fn view_in(message: Value) -> Option<Vec<Value>> {
    let Value::BulkString(message) = message else { return None };
    match resp::parse(&message, LONGEST_REPLY) {
        Ok(Some((Value::Array(parts), _))) => Some(parts),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_brings_a_view_once_it_has_come_whole() {
        let view = "*2\r\n$4\r\nview\r\n$-1\r\n";
        let wake = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{view}\r\n", view.len());
        let bare = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n";
        let listening = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
        let heard = |text: &str| {
            let mut came = text.as_bytes().to_vec();
            (messages(&mut came), came.len())
        };
        for end in 0..wake.len() {
            assert!(matches!(heard(&wake[..end]), (Came::Nothing, left) if left == end));
        }
        assert!(matches!(heard(&wake), (Came::Wake(Some(parts)), 0) if parts.len() == 2));
        assert!(matches!(heard(bare), (Came::Wake(None), 0)));
        assert!(matches!(heard(listening), (Came::Wake(None), 0)));
        assert!(matches!(heard(&format!("{listening}{wake}*3\r\n")), (Came::Wake(Some(_)), 4)));
        assert!(matches!(heard("-NOPERM no such channel\r\n").0, Came::Refusal));
        assert!(matches!(heard("HTTP/1.1 400\r\n").0, Came::Refusal));
    }
}
