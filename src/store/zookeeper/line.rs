//! One connection to one member of an ensemble: a session on it, requests out, answers in, all of it within a budget.

use std::io;
use std::os::fd::BorrowedFd;

use super::address::Address;
use super::jute::{self, Reader, Strange, Writer};
use super::refusal;
use super::reply::{Packet, Reply};
use super::request::{self, Request};
use crate::store::Error;
use crate::store::wire::{Budget, Stream};

/// No honest answer is longer: the names of all who wait for a lock.
const LONGEST_ANSWER: usize = 8 << 20;
/// What a server takes at the most, unless its jute.maxbuffer says otherwise.
const LONGEST_REQUEST: usize = 0xf_ffff - 64;
/// How long a server keeps the session of one that went away without a word, in milliseconds; nothing here lives by it.
const SESSION: i32 = 20_000;

/// What a server knows us by, whichever member we ask: what we sent before is carried out before what we send now, or never.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    id: i64,
    password: Vec<u8>,
    /// The last change that we have seen.
    pub zxid: i64,
}

impl Session {
    pub fn is_new(&self) -> bool {
        self.id == 0
    }
}

/// An open connection. After any error it must be dropped: an answer may still be under way.
pub(super) struct Line {
    /// The member's place in the URL.
    pub member: usize,
    stream: Stream,
    came: Vec<u8>,
    xid: i32,
    /// The session's negotiated time-out in milliseconds.
    pub timeout: u64,
}

/// Why there is no line.
pub(super) enum NoLine {
    /// The server does not know the session any more.
    Expired,
    /// It broke the line off instead of greeting us.
    Closed(Error),
    Failed(Error),
}

impl Line {
    /// Connects, and takes the session up or begins one.
    pub fn open(address: &Address, member: usize, session: &mut Session, budget: Budget) -> Result<Line, NoLine> {
        let to = &address.members[member];
        let failed = |error: io::Error| refusal::line(to, &error, budget.whole);
        let stream = Stream::dial(&to.host, to.port, None, LONGEST_ANSWER, budget);
        let stream = stream.map_err(|error| NoLine::Failed(failed(error)))?;
        let mut line = Line { member, stream, came: Vec::new(), xid: 0, timeout: 0 };
        line.stream.begin(budget);
        let greeted = line.stream.send(&greeting(session)).and_then(|()| line.next_packet());
        let greeting = match greeted {
            Ok(packet) => packet.map_err(|Strange| NoLine::Failed(refusal::stranger(to)))?,
            Err(error) if is_end(&error) => return Err(NoLine::Closed(refusal::not_greeted(to))),
            Err(error) => return Err(NoLine::Failed(failed(error))),
        };
        let welcomed = welcome(&greeting).map_err(|Strange| NoLine::Failed(refusal::stranger(to)))?;
        let Some((timeout, id, password)) = welcomed else { return Err(NoLine::Expired) };
        (line.timeout, session.id, session.password) = (timeout, id, password);
        if let Some(login) = address.login() {
            line.stream.send(&request::auth(&login)).map_err(|error| NoLine::Failed(failed(error)))?;
        }
        Ok(line)
    }

    /// Sends requests at once and reads as many answers; nodes of which a change was told meanwhile go to `events`.
    ///
    /// # Errors
    /// The line broke, the budget is used up, or what came is not ZooKeeper's.
    pub fn ask(
        &mut self,
        address: &Address,
        requests: &[Request],
        events: &mut Vec<String>,
        budget: Budget,
    ) -> Result<Vec<Reply>, Error> {
        let to = &address.members[self.member];
        let first = self.xid;
        let mut bytes = Vec::new();
        for request in requests {
            let packet = request.packet(self.xid);
            if packet.len() > LONGEST_REQUEST {
                return Err(refusal::too_long(to, packet.len()));
            }
            bytes.extend(packet);
            self.xid = (self.xid + 1) % (i32::MAX - 1);
        }
        self.stream.begin(budget);
        self.stream.send(&bytes).map_err(|error| refusal::line(to, &error, budget.whole))?;
        let mut replies = Vec::with_capacity(requests.len());
        while replies.len() < requests.len() {
            let packet = self.next_packet().map_err(|error| refusal::line(to, &error, budget.whole))?;
            let packet = packet.and_then(|packet| Packet::read(&packet)).map_err(|Strange| refusal::stranger(to))?;
            match packet {
                Packet::Reply(xid, reply) if xid == (first + replies.len() as i32) % (i32::MAX - 1) => replies.push(reply),
                Packet::Event(path) => events.push(path),
                Packet::Ping | Packet::Auth { error: 0 } => {}
                Packet::Auth { .. } => return Err(refusal::no_digest(to)),
                Packet::Reply(..) => return Err(refusal::stranger(to)),
            }
        }
        Ok(replies)
    }

    /// The nodes of which a change was told, without waiting.
    ///
    /// # Errors
    /// The line is at its end, or something came that was not asked for.
    pub fn told(&mut self) -> io::Result<Vec<String>> {
        self.came.extend(self.stream.drain()?);
        let mut paths = Vec::new();
        let odd = |_: Strange| io::Error::from(io::ErrorKind::InvalidData);
        while let Some(packet) = jute::packet(&mut self.came, LONGEST_ANSWER).map_err(odd)? {
            match Packet::read(&packet).map_err(odd)? {
                Packet::Event(path) => paths.push(path),
                Packet::Ping | Packet::Auth { error: 0 } => {}
                Packet::Auth { .. } | Packet::Reply(..) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(paths)
    }

    /// Sends a packet that keeps the session or ends it, and reads nothing.
    ///
    /// # Errors
    /// The line broke.
    pub fn send(&mut self, packet: &[u8], budget: Budget) -> io::Result<()> {
        self.stream.begin(budget);
        self.stream.send(packet)
    }

    /// Can be read when something has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.fd()
    }

    fn next_packet(&mut self) -> io::Result<Result<Vec<u8>, Strange>> {
        loop {
            match jute::packet(&mut self.came, LONGEST_ANSWER) {
                Ok(Some(packet)) => return Ok(Ok(packet)),
                Ok(None) => self.stream.read_on(&mut self.came)?,
                Err(strange) => return Ok(Err(strange)),
            }
        }
    }
}

fn greeting(session: &Session) -> Vec<u8> {
    let mut to = Writer::default();
    let password: &[u8] = if session.is_new() { &[0; 16] } else { &session.password };
    // Never a member that is cut off and serves what it last knew.
    to.int(0).long(session.zxid).int(SESSION).long(session.id).bytes(password).bool(false);
    to.packet()
}

/// Time-out, id and password of the session; `None` if it is over.
fn welcome(packet: &[u8]) -> Result<Option<(u64, i64, Vec<u8>)>, Strange> {
    let mut reader = Reader(packet);
    let (_version, timeout, id, password) = (reader.int()?, reader.int()?, reader.long()?, reader.bytes()?);
    let timeout = u64::try_from(timeout).unwrap_or(0);
    Ok((timeout > 0 && id != 0).then(|| (timeout, id, password.to_vec())))
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
