//! One connection to a Redis server: bytes out, replies in, all of it within a budget.
//!
//! The `redis` crate's own connection has a time-out per system call, so a server that drips one byte at a time can hold
//! it for ever, and it loads the system's certificates at each connect. Here the crate packs commands, and resp.rs reads.

use std::io;
use std::os::fd::BorrowedFd;

use redis::{Cmd, Value};
use socket2::SockAddr;

use super::address::{Address, Place};
use super::{refusal, resp};
use crate::store::Error;
use crate::store::wire::{self, Budget, Stream, tls};

/// No honest reply is longer: 200 holders and 32 waiters with the longest tickets, or a list of very many locks.
pub(super) const LONGEST_REPLY: usize = 64 << 20;

/// An open connection. After any error it must be dropped: a reply may still be under way.
pub(super) struct Connection {
    stream: Stream,
    /// What came and was not read yet.
    came: Vec<u8>,
}

impl Connection {
    /// Connects and, where there is a password or a database to choose, enters in one round trip more.
    ///
    /// # Errors
    /// Unreachable in time, or refused.
    pub fn open(address: &Address, budget: Budget) -> Result<Connection, Error> {
        let line = |error: io::Error| refusal::line(address, &error, budget.whole);
        let stream = match &address.place {
            Place::Unix(path) => {
                let path = SockAddr::unix(path).map_err(line)?;
                let socket = wire::one(&path, budget.left().map_err(line)?).map_err(line)?;
                Stream::plain(socket, LONGEST_REPLY)
            }
            // Whoever opens a line has been told to which server.
            Place::Several(_) => return Err(refusal::stranger(address)),
            Place::Tcp { host, port, tls: files } => {
                let tls = files.as_ref().map(|files| tls::client(files, host)).transpose();
                let tls = tls.map_err(|why| refusal::tls(address, &why))?;
                Stream::dial(host, *port, tls, LONGEST_REPLY, budget).map_err(line)?
            }
        };
        let mut connection = Connection { stream, came: Vec::new() };
        connection.enter(address, budget)?;
        Ok(connection)
    }

    /// Sends commands at once and reads as many replies; a server's error is a reply.
    ///
    /// # Errors
    /// The line broke, the budget is used up, or what came is not Redis's protocol.
    pub fn ask(&mut self, address: &Address, commands: &[Cmd], budget: Budget) -> Result<Vec<Value>, Error> {
        self.send(address, commands, budget)?;
        commands.iter().map(|_| self.read_one(address, budget)).collect()
    }

    /// Sends one command and reads its reply.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub fn ask_one(&mut self, address: &Address, command: Cmd, budget: Budget) -> Result<Value, Error> {
        self.send(address, &[command], budget)?;
        self.read_one(address, budget)
    }

    /// Reads a reply to what was sent.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub fn hear(&mut self, address: &Address, budget: Budget) -> Result<Value, Error> {
        self.stream.begin(budget);
        self.read_one(address, budget)
    }

    /// Sends commands and reads nothing.
    ///
    /// # Errors
    /// The line broke or the budget is used up.
    pub fn send(&mut self, address: &Address, commands: &[Cmd], budget: Budget) -> Result<(), Error> {
        let bytes: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.stream.begin(budget);
        self.stream.send(&bytes).map_err(|error| refusal::line(address, &error, budget.whole))
    }

    /// Whether an idle connection is still good: nothing may have come on it, least of all its end.
    pub fn is_idle(&mut self) -> bool {
        self.came.is_empty() && self.stream.is_idle()
    }

    /// What has come and was not asked for, without waiting; the end of the line is an error.
    ///
    /// # Errors
    /// The line is at its end.
    pub fn drain(&mut self) -> io::Result<Vec<u8>> {
        self.stream.drain()
    }

    /// Can be read when something has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.fd()
    }

    /// Not one pipeline with the first verb: were the password wrong or the database missing, the verb would be
    /// carried out as somebody else or somewhere else.
    fn enter(&mut self, address: &Address, budget: Budget) -> Result<(), Error> {
        let mut commands = Vec::new();
        if let Some(password) = &address.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = &address.user {
                auth.arg(user);
            }
            auth.arg(password.reveal());
            commands.push(auth);
        } else if address.user.is_some() {
            return Err(refusal::no_password(address));
        }
        if address.db != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(address.db);
            commands.push(select);
        }
        if commands.is_empty() {
            return Ok(());
        }
        for reply in self.ask(address, &commands, budget)? {
            match reply {
                Value::Okay => {}
                Value::ServerError(error) => return Err(refusal::said(address, &error)),
                _ => return Err(refusal::stranger(address)),
            }
        }
        Ok(())
    }

    fn read_one(&mut self, address: &Address, budget: Budget) -> Result<Value, Error> {
        loop {
            match resp::parse(&self.came, LONGEST_REPLY) {
                Ok(Some((value, length))) => {
                    self.came.drain(..length);
                    return Ok(value);
                }
                Ok(None) => self.stream.read_on(&mut self.came).map_err(|error| refusal::line(address, &error, budget.whole))?,
                Err(resp::Strange) => return Err(refusal::stranger(address)),
            }
        }
    }
}
