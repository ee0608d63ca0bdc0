//! The lines to the servers of one store: one server, the primary that sentinels name, or the nodes of a cluster.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use super::address::{Address, Place};
use super::connection::Connection;
use super::lookout::{Home, Lookout};
use super::refusal;
use crate::store::Error;
use crate::store::wire::Budget;
use crate::store::wire::hosts::Host;

/// A line to one server.
pub(super) struct Line {
    pub server: Address,
    pub connection: Connection,
    /// Whether a script has run on it, so that the server's policy is known to be sound.
    pub proven: bool,
    /// Whether in this very verb it was found that the server is the primary, so that its answer may renew a lease.
    pub sure: bool,
}

pub(super) struct Lines {
    address: Address,
    open: Vec<Line>,
    /// Where there are hosts to be asked.
    lookout: Option<Lookout>,
    /// What they said last, by slot.
    homes: BTreeMap<u16, Home>,
}

impl Lines {
    pub fn new(address: &Address) -> Lines {
        let lookout = match &address.place {
            Place::Several(several) => Some(Lookout::new(address, several)),
            Place::Tcp { .. } | Place::Unix(_) => None,
        };
        Lines { address: address.clone(), open: Vec::new(), lookout, homes: BTreeMap::new() }
    }

    /// The slot that a lock's keys are in, where slots have different homes.
    pub fn slot(&self, tag: &str) -> u16 {
        if self.address.is_cluster() { slot(tag.as_bytes()) } else { 0 }
    }

    /// A line to the server that keeps this slot, opened anew if it was closed while idle. It is taken out: who fails does not
    /// put it back, and then the hosts are asked anew.
    ///
    /// # Errors
    /// Unreachable or refused.
    pub fn take(&mut self, slot: u16, budget: Budget) -> Result<Line, Error> {
        if self.lookout.is_none() {
            let idle = self.open.pop().if_idle();
            return idle.map_or_else(|| self.connect(self.address.clone(), true, budget), Ok);
        }
        let known = self.homes.get(&slot).map(|home| self.address.server(&home.host));
        if let Some(line) = known.and_then(|server| self.idle(&server)) {
            return Ok(Line { sure: false, ..line });
        }
        self.homes.remove(&slot);
        let home = self.seek(slot, budget)?;
        let server = self.address.server(&home.host);
        let line = match self.idle(&server) {
            Some(line) => Line { sure: true, ..line },
            None => self.connect(server, true, budget)?,
        };
        self.homes.insert(slot, home);
        Ok(line)
    }

    fn seek(&mut self, slot: u16, budget: Budget) -> Result<Home, Error> {
        let lookout = self.lookout.as_mut().ok_or_else(|| refusal::stranger(&self.address))?;
        lookout.ask(budget);
        lookout.hear(slot, budget)
    }

    /// A line to a server that was named by another one.
    pub fn to(&mut self, host: &Host, budget: Budget) -> Result<Line, Error> {
        let server = self.address.server(host);
        self.idle(&server).map_or_else(|| self.connect(server, true, budget), Ok)
    }

    pub fn put_back(&mut self, line: Line) {
        self.open.push(line);
    }

    /// Asks whether the server of a line that is not sure is still the primary; [`Lines::confirm`] hears the answer.
    pub fn question(&mut self, line: &Line, budget: Budget) {
        if let Some(lookout) = self.lookout.as_mut().filter(|_| !line.sure) {
            lookout.ask(budget);
        }
    }

    /// # Errors
    /// It is not, or nobody knows: what it answered renews no lease.
    pub fn confirm(&mut self, slot: u16, line: &Line, budget: Budget) -> Result<(), Error> {
        let Some(lookout) = self.lookout.as_mut().filter(|_| !line.sure) else { return Ok(()) };
        let home = lookout.hear(slot, budget)?;
        match self.address.server(&home.host).place == line.server.place {
            true => Ok(()),
            false => {
                self.homes.remove(&slot);
                Err(refusal::deposed(&self.address, &line.server, &home.host))
            }
        }
    }

    /// The server that keeps this slot, if it was found already.
    pub fn home(&self, slot: u16) -> Option<Address> {
        match &self.lookout {
            None => Some(self.address.clone()),
            Some(_) => self.homes.get(&slot).map(|home| self.address.server(&home.host)),
        }
    }

    /// The braced part of the key under which the node that keeps this slot has its own record, where it is one of several.
    pub fn node_tag(&self, slot: u16) -> Option<String> {
        let home = self.homes.get(&slot).filter(|_| self.address.is_cluster())?;
        (0u32..).map(|number| number.to_string()).find(|tag| self::slot(tag.as_bytes()) == home.lowest)
    }

    /// What was said of a slot is not so any more.
    pub fn forget(&mut self, slot: u16) {
        self.homes.remove(&slot);
    }

    pub fn lookout(&mut self) -> Option<&mut Lookout> {
        self.lookout.as_mut()
    }

    /// Can be read when something has come that nobody asked for, the end above all.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.open.iter().map(|line| line.connection.fd()).collect()
    }

    /// Drops the lines that are at their end.
    pub fn look_after(&mut self) {
        self.open.retain_mut(|line| line.connection.is_idle());
    }

    fn idle(&mut self, server: &Address) -> Option<Line> {
        let at = self.open.iter().position(|line| line.server.place == server.place)?;
        Some(self.open.swap_remove(at)).if_idle()
    }

    fn connect(&self, server: Address, sure: bool, budget: Budget) -> Result<Line, Error> {
        let connection = Connection::open(&server, budget)?;
        Ok(Line { server, connection, proven: false, sure })
    }
}

trait Idle {
    fn if_idle(self) -> Self;
}

impl Idle for Option<Line> {
    fn if_idle(self) -> Self {
        self.and_then(|mut line| line.connection.is_idle().then_some(line))
    }
}

/// CRC16 (XMODEM) of what stands between the braces of a key.
fn slot(tag: &[u8]) -> u16 {
    tag.iter().fold(0u16, |crc, byte| crc << 8 ^ CRC[usize::from((crc >> 8) as u8 ^ byte)]) % 16384
}

static CRC: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = ((at as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_servers_reckon() {
        for (tag, expected) in [("123456789", 12739), ("foo", 12182), ("", 0), ("x", 16287)] {
            assert_eq!(slot(tag.as_bytes()), expected, "{tag}");
        }
    }
}
