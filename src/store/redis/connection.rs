//! One connection to a Redis server: bytes out, replies in, all of it within a budget.
//!
//! The `redis` crate's own connection has a time-out per system call, so a server that drips one byte at a time can hold
//! it for ever, and it loads the system's certificates at each connect. Here the crate packs commands, and resp.rs reads.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use redis::{Cmd, Value};
use rustls::{ClientConnection, StreamOwned};
use socket2::{SockAddr, Socket};

use super::address::{Address, Place};
use super::budget::Budget;
use super::{dial, refusal, resp, tls};
use crate::bell;
use crate::store::Error;
use crate::time::{Clock, Tick};

/// No honest reply is longer: 200 holders and 32 waiters with the longest tickets, or a list of very many locks.
const LONGEST_REPLY: usize = 64 << 20;
/// An uncontended lock's answers fit.
const FIRST_READ: usize = 4096;
/// The kernel takes no time-out of centuries.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

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
            Place::Unix(path) => Stream::plain(
                dial::one(&SockAddr::unix(path).map_err(line)?, budget.left().map_err(line)?).map_err(line)?,
                budget,
            ),
            Place::Tcp { host, port, tls: None } => Stream::plain(dial::host(host, *port, budget).map_err(line)?, budget),
            Place::Tcp { host, port, tls: Some(files) } => {
                let mut client = tls::client(files, host).map_err(|why| refusal::tls(address, &why))?;
                let mut paced = Paced::new(dial::host(host, *port, budget).map_err(line)?, budget);
                while client.is_handshaking() {
                    client.complete_io(&mut paced).map_err(line)?;
                }
                Stream::Tls(Box::new(StreamOwned::new(client, paced)))
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

    /// Sends commands and reads nothing.
    ///
    /// # Errors
    /// The line broke or the budget is used up.
    pub fn send(&mut self, address: &Address, commands: &[Cmd], budget: Budget) -> Result<(), Error> {
        let bytes: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.stream.paced().begin(budget);
        let sent = self.stream.write_all(&bytes).and_then(|()| self.stream.flush());
        sent.map_err(|error| refusal::line(address, &error, budget.whole))
    }

    /// Whether an idle connection is still good: nothing may have come on it, least of all its end.
    pub fn is_idle(&mut self) -> bool {
        if !self.came.is_empty() {
            return false;
        }
        let clock = Clock::Boottime;
        match bell::listen(&[self.stream.fd()], Tick(0), clock).as_deref() {
            Ok([false]) => true,
            // TLS sends tickets and key updates of its own.
            Ok(_) if matches!(self.stream, Stream::Tls(_)) => self.drain().is_ok_and(|came| came.is_empty()),
            _ => false,
        }
    }

    /// What has come and was not asked for, without waiting; the end of the line is an error.
    ///
    /// # Errors
    /// The line is at its end.
    pub fn drain(&mut self) -> io::Result<Vec<u8>> {
        self.stream.paced().begin(Budget { until: Tick::NEVER, whole: Duration::ZERO });
        self.stream.paced().socket.set_nonblocking(true)?;
        let mut came = Vec::new();
        let mut piece = [0; 4096];
        let end = loop {
            match self.stream.read(&mut piece) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) if came.len() < LONGEST_REPLY => came.extend_from_slice(&piece[..n]),
                Ok(_) => break Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.stream.paced().socket.set_nonblocking(false)?;
        end.map(|()| came)
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
                Ok(None) => self.read_on().map_err(|error| refusal::line(address, &error, budget.whole))?,
                Err(resp::Strange) => return Err(refusal::stranger(address)),
            }
        }
    }

    /// At least as much again as there is, if so much has come: a long reply is not looked at once a packet.
    fn read_on(&mut self) -> io::Result<()> {
        let before = self.came.len();
        self.came.resize(before + before.max(FIRST_READ), 0);
        let read = loop {
            match self.stream.read(&mut self.came[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.came.truncate(before + read.as_ref().map_or(0, |read| *read));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The bytes, with or without TLS around them.
enum Stream {
    Plain(Paced),
    Tls(Box<StreamOwned<ClientConnection, Paced>>),
}

impl Stream {
    fn plain(socket: Socket, budget: Budget) -> Stream {
        Stream::Plain(Paced::new(socket, budget))
    }

    fn paced(&mut self) -> &mut Paced {
        match self {
            Stream::Plain(paced) => paced,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Plain(paced) => paced.socket.as_fd(),
            Stream::Tls(tls) => tls.sock.socket.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(paced) => paced.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(paced) => paced.write(from),
            Stream::Tls(tls) => tls.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(paced) => paced.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// A socket whose every read and write gets what is left of the budget.
struct Paced {
    socket: Socket,
    budget: Budget,
    came: usize,
}

impl Paced {
    fn new(socket: Socket, budget: Budget) -> Paced {
        Paced { socket, budget, came: 0 }
    }

    fn begin(&mut self, budget: Budget) {
        (self.budget, self.came) = (budget, 0);
    }
}

impl Read for Paced {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.came > LONGEST_REPLY {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.socket.set_read_timeout(Some(self.budget.left()?.min(LONGEST_TIMEOUT)))?;
        let n = self.socket.read(into)?;
        self.came += n;
        Ok(n)
    }
}

impl Write for Paced {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.budget.left()?.min(LONGEST_TIMEOUT)))?;
        self.socket.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
