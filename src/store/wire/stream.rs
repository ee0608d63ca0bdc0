//! A connection as bytes in and out, every read and write of which gets what is left of a budget.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use socket2::Socket;

use super::budget::Budget;
use super::dial;
use crate::bell;
use crate::time::{Clock, Tick};

/// Most answers fit.
const FIRST_READ: usize = 4096;
/// The kernel takes no time-out of centuries.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// The bytes of one connection, with or without TLS around them.
pub struct Stream {
    inner: Inner,
    longest: usize,
}

enum Inner {
    Plain(Paced),
    Tls(Box<StreamOwned<ClientConnection, Paced>>),
}

impl Stream {
    /// Takes a connected socket. Nobody sends more than `longest` bytes within one budget.
    pub fn plain(socket: Socket, longest: usize) -> Stream {
        Stream { inner: Inner::Plain(Paced::new(socket, longest)), longest }
    }

    /// Connects to a host and, with `tls`, shakes hands with it.
    ///
    /// # Errors
    /// Unreachable in time; a fault of TLS is inside, as a [`rustls::Error`].
    pub fn dial(host: &str, port: u16, tls: Option<ClientConnection>, longest: usize, budget: Budget) -> io::Result<Stream> {
        let plain = Stream::plain(dial::host(host, port, budget)?, longest);
        match tls {
            Some(client) => plain.secured(client, budget),
            None => Ok(plain),
        }
    }

    /// Shakes hands on a plain connection whose other end is ready for it.
    ///
    /// # Errors
    /// As [`Stream::dial`].
    pub fn secured(self, mut client: ClientConnection, budget: Budget) -> io::Result<Stream> {
        let Inner::Plain(mut paced) = self.inner else { return Err(io::ErrorKind::InvalidInput.into()) };
        paced.begin(budget);
        while client.is_handshaking() {
            client.complete_io(&mut paced)?;
        }
        Ok(Stream { inner: Inner::Tls(Box::new(StreamOwned::new(client, paced))), longest: self.longest })
    }

    /// From now on it reads and writes within this budget.
    pub fn begin(&mut self, budget: Budget) {
        self.paced().begin(budget);
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// The line broke or the budget is used up.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).and_then(|()| self.flush())
    }

    /// Appends what comes next: at least as much again as there is, if so much has come. A long reply is not looked at once
    /// a packet.
    ///
    /// # Errors
    /// The line broke or is at its end, or the budget is used up.
    pub fn read_on(&mut self, came: &mut Vec<u8>) -> io::Result<()> {
        let before = came.len();
        came.resize(before + before.max(FIRST_READ), 0);
        let read = loop {
            match self.read(&mut came[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        came.truncate(before + read.as_ref().map_or(0, |read| *read));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// What has come and was not asked for, without waiting; the end of the line is an error.
    ///
    /// # Errors
    /// The line is at its end.
    pub fn drain(&mut self) -> io::Result<Vec<u8>> {
        self.begin(Budget { until: Tick::NEVER, whole: Duration::ZERO });
        self.paced().socket.set_nonblocking(true)?;
        let mut came = Vec::new();
        let mut piece = [0; 4096];
        let end = loop {
            match self.read(&mut piece) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) if came.len() < self.longest => came.extend_from_slice(&piece[..n]),
                Ok(_) => break Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.paced().socket.set_nonblocking(false)?;
        end.map(|()| came)
    }

    /// Whether an idle connection is still good: nothing may have come on it, least of all its end.
    pub fn is_idle(&mut self) -> bool {
        match bell::listen(&[self.fd()], Tick(0), Clock::Boottime).as_deref() {
            Ok([false]) => true,
            // TLS sends tickets and key updates of its own.
            Ok(_) if matches!(self.inner, Inner::Tls(_)) => self.drain().is_ok_and(|came| came.is_empty()),
            _ => false,
        }
    }

    fn paced(&mut self) -> &mut Paced {
        match &mut self.inner {
            Inner::Plain(paced) => paced,
            Inner::Tls(tls) => &mut tls.sock,
        }
    }

    /// Can be read when something has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.inner {
            Inner::Plain(paced) => paced.socket.as_fd(),
            Inner::Tls(tls) => tls.sock.socket.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(paced) => paced.read(into),
            Inner::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(paced) => paced.write(from),
            Inner::Tls(tls) => tls.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Plain(paced) => paced.flush(),
            Inner::Tls(tls) => tls.flush(),
        }
    }
}

/// A socket whose every read and write gets what is left of the budget.
struct Paced {
    socket: Socket,
    budget: Budget,
    longest: usize,
    came: usize,
}

impl Paced {
    fn new(socket: Socket, longest: usize) -> Paced {
        Paced { socket, budget: Budget { until: Tick(0), whole: Duration::ZERO }, longest, came: 0 }
    }

    fn begin(&mut self, budget: Budget) {
        (self.budget, self.came) = (budget, 0);
    }
}

impl Read for Paced {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.came > self.longest {
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
