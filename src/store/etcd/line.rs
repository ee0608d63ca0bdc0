//! One connection to one member: requests out, answers in, all of it within a budget.

use std::io;
use std::os::fd::BorrowedFd;

use super::address::Address;
use super::http::{self, Body, Strange};
use super::refusal;
use super::reply::Complaint;
use crate::store::Error;
use crate::store::wire::{Budget, Stream, tls};
use crate::time::Wall;

/// No honest answer is longer: 200 holders and 32 waiters with the longest tickets in base64, or a page of keys.
const LONGEST_ANSWER: usize = 64 << 20;

/// What to ask: the gateway's path, and the JSON.
pub(super) struct Request {
    pub path: &'static str,
    pub json: String,
}

/// What was answered, not yet read.
#[derive(Debug)]
pub(super) struct Answer {
    pub json: Vec<u8>,
    /// The member's clock, to the second.
    pub date: Option<Wall>,
}

/// An open connection. After any error it must be dropped: an answer may still be under way.
pub(super) struct Line {
    /// The member's place in the URL.
    pub member: usize,
    host: String,
    stream: Stream,
    came: Vec<u8>,
    /// The member closes it after its last answer.
    last: bool,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// Unreachable in time, or TLS is refused.
    pub fn open(address: &Address, member: usize, budget: Budget) -> Result<Line, Error> {
        let to = &address.members[member];
        let tls = address.tls.as_ref().map(|files| tls::client(files, &to.host)).transpose();
        let tls = tls.map_err(|why| refusal::no_tls(to, &why))?;
        let stream = Stream::dial(&to.host, to.port, tls, LONGEST_ANSWER, budget);
        let stream = stream.map_err(|error| refusal::line(address, to, &error, budget.whole))?;
        Ok(Line { member, host: to.display(), stream, came: Vec::new(), last: false })
    }

    /// Sends requests at once and reads as many answers; what the server refuses is an answer.
    ///
    /// # Errors
    /// The line broke, the budget is used up, or what came is not etcd's.
    pub fn ask(
        &mut self,
        address: &Address,
        token: Option<&str>,
        requests: &[Request],
        budget: Budget,
    ) -> Result<Vec<Result<Answer, Complaint>>, Error> {
        self.send(address, token, requests, budget)?;
        requests.iter().map(|_| self.read_one(address, budget)).collect()
    }

    /// Sends requests and reads nothing.
    ///
    /// # Errors
    /// The line broke or the budget is used up.
    pub fn send(&mut self, address: &Address, token: Option<&str>, requests: &[Request], budget: Budget) -> Result<(), Error> {
        let posts = requests.iter().map(|request| http::post(&self.host, request.path, token, &request.json));
        let bytes = posts.collect::<String>();
        self.stream.begin(budget);
        let sent = self.stream.send(bytes.as_bytes());
        sent.map_err(|error| refusal::line(address, &address.members[self.member], &error, budget.whole))
    }

    /// Whether another request can go out: the member did not close it, and nothing came that was not asked for.
    pub fn is_idle(&mut self) -> bool {
        !self.last && self.came.is_empty() && self.stream.is_idle()
    }

    /// What has come and was not asked for, without waiting; the end of the line is an error.
    ///
    /// # Errors
    /// The line is at its end.
    pub fn drain(&mut self) -> io::Result<Vec<u8>> {
        let drained = self.stream.drain()?;
        self.came.extend(drained);
        Ok(std::mem::take(&mut self.came))
    }

    /// Can be read when something has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.fd()
    }

    fn read_one(&mut self, address: &Address, budget: Budget) -> Result<Result<Answer, Complaint>, Error> {
        let member = &address.members[self.member];
        let strange = |_: Strange| refusal::stranger(member, None);
        let broken = |error: io::Error| refusal::line(address, member, &error, budget.whole);
        let head = loop {
            match http::head(&mut self.came).map_err(strange)? {
                Some(head) => break head,
                None => self.stream.read_on(&mut self.came).map_err(broken)?,
            }
        };
        let mut json = Vec::new();
        while http::body(head.body, &mut self.came, &mut json, LONGEST_ANSWER).map_err(strange)?.is_none() {
            self.stream.read_on(&mut self.came).map_err(broken)?;
        }
        self.last = head.last;
        if head.status == 200 {
            return Ok(Ok(Answer { json, date: head.date }));
        }
        let text = String::from_utf8_lossy(&json);
        match serde_json::from_slice::<Complaint>(&json) {
            Ok(complaint) if !complaint.text().is_empty() => Ok(Err(complaint)),
            // The one refusal that is not JSON.
            _ if text.contains("CommonName") => Ok(Err(Complaint { error: text.into_owned(), ..Complaint::default() })),
            _ => Err(refusal::stranger(member, Some(head.status))),
        }
    }
}

/// The pieces of an answer that has no end, as far as they have come.
#[derive(Default)]
pub(super) struct Pieces {
    came: Vec<u8>,
    text: Vec<u8>,
    begun: bool,
}

impl Pieces {
    /// Takes in what came and gives the whole lines in it.
    ///
    /// # Errors
    /// It is no stream of ours, or it is at its end.
    pub fn lines(&mut self, came: &[u8]) -> Result<Vec<Vec<u8>>, Strange> {
        self.came.extend_from_slice(came);
        if !self.begun {
            match http::head(&mut self.came)? {
                None => return Ok(Vec::new()),
                Some(head) if head.status == 200 && head.body == Body::Chunked => self.begun = true,
                Some(_) => return Err(Strange),
            }
        }
        loop {
            match http::chunk(&mut self.came, &mut self.text)? {
                http::Chunk::Whole if self.text.len() > LONGEST_ANSWER => return Err(Strange),
                http::Chunk::Whole => {}
                http::Chunk::Partial => break,
                http::Chunk::End => return Err(Strange),
            }
        }
        let Some(end) = self.text.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let rest = self.text.split_off(end + 1);
        let whole = std::mem::replace(&mut self.text, rest);
        Ok(whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
    }
}
