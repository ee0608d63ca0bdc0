//! The cluster: one line to one of its members, another member when that one does not answer, and who we are to them.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::address::Address;
use super::line::{Answer, Line, Request};
use super::refusal;
use super::reply::{Authenticated, Complaint};
use crate::store::Error;
use crate::store::wire::Budget;
use crate::time::Wall;

pub(super) const TXN: &str = "/v3/kv/txn";
pub(super) const GRANT: &str = "/v3/lease/grant";
pub(super) const KEEP_ALIVE: &str = "/v3/lease/keepalive";
pub(super) const WATCH: &str = "/v3/watch";
const AUTHENTICATE: &str = "/v3/auth/authenticate";

/// The members of one cluster as one server.
pub(super) struct Cluster {
    pub address: Address,
    line: Option<Line>,
    /// The member that is asked.
    at: usize,
    token: Option<String>,
    /// Whether the last requests went to more than one member.
    asked_twice: bool,
}

/// Answers to requests that went out together, and when they came.
#[derive(Debug)]
pub(super) struct Answers {
    pub parts: Vec<Result<Answer, Complaint>>,
    /// This host's clock before and after.
    pub between: (Wall, Wall),
    /// Who answered, by its place in the URL.
    pub member: usize,
}

impl Cluster {
    pub fn new(address: Address) -> Cluster {
        Cluster { address, line: None, at: 0, token: None, asked_twice: false }
    }

    /// Sends requests together on one line. A member that does not answer leaves time for the others, which are then asked the
    /// same: whatever is asked must bear being asked twice.
    ///
    /// # Errors
    /// No member answers within the budget, or one refuses for good.
    pub fn ask(&mut self, requests: &[Request], budget: Budget) -> Result<Answers, Error> {
        let members = self.address.members.len();
        let mut trouble = None;
        self.asked_twice = false;
        for left in (0..members).rev() {
            let Ok(share) = budget.part(left > 0) else { break };
            match self.ask_member(requests, share) {
                Ok(answers) => return Ok(answers),
                Err(Error::Unreachable(text)) => {
                    trouble.get_or_insert(text);
                    self.asked_twice = true;
                    self.at = (self.at + 1) % members;
                }
                Err(other) => return Err(other),
            }
        }
        Err(Error::Unreachable(trouble.unwrap_or_else(|| "no time was left to ask etcd: choose a longer --ttl".to_owned())))
    }

    /// Whether a member did not answer the last requests, which it may yet carry out.
    pub fn asked_twice(&self) -> bool {
        self.asked_twice
    }

    /// The error behind a complaint.
    pub fn refusal(&self, member: usize, complaint: &Complaint) -> Error {
        refusal::said(&self.address, &self.address.members[member], complaint)
    }

    /// # Errors
    /// It is not what etcd says.
    pub fn read<T: DeserializeOwned>(&self, member: usize, json: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(json).map_err(|_| refusal::stranger(&self.address.members[member], None))
    }

    /// A line of its own to the member that is asked now, with this request on it, whose answers have no end.
    ///
    /// # Errors
    /// It can't be had within the budget.
    pub fn open_stream(&mut self, request: Request, budget: Budget) -> Result<Line, Error> {
        let mut line = Line::open(&self.address, self.at, budget)?;
        line.send(&self.address, self.token.as_deref(), &[request], budget)?;
        Ok(line)
    }

    /// The member that is asked.
    pub fn member(&self) -> usize {
        self.at
    }

    /// The line, if there is one; it is readable when it has ended.
    pub fn line(&mut self) -> Option<&mut Line> {
        self.line.as_mut()
    }

    pub fn hang_up(&mut self) {
        self.line = None;
    }

    fn idle_line(&mut self) -> Option<Line> {
        let mut line = self.line.take().filter(|line| line.member == self.at)?;
        line.is_idle().then_some(line)
    }

    fn ask_member(&mut self, requests: &[Request], budget: Budget) -> Result<Answers, Error> {
        // Taken out: who fails does not put it back.
        let mut line = match self.idle_line() {
            Some(line) => line,
            None => Line::open(&self.address, self.at, budget)?,
        };
        let (mut budget, mut renewed) = (budget, false);
        loop {
            if self.token.is_none() && self.address.user.is_some() {
                self.token = Some(self.log_in(&mut line, Budget::new(LOG_IN.max(budget.whole)))?);
                // It answered, so it gets its time anew.
                (budget, renewed) = (Budget::new(budget.whole), true);
            }
            let sent = Wall::now();
            let parts = line.ask(&self.address, self.token.as_deref(), requests, budget)?;
            let stale = parts.iter().any(|part| part.as_ref().is_err_and(is_stale_token));
            if stale && !renewed {
                self.token = None;
                continue;
            }
            if let Some(complaint) = parts.iter().find_map(|part| part.as_ref().err()) {
                let error = self.refusal(line.member, complaint);
                if matches!(error, Error::Unreachable(_)) {
                    return Err(error);
                }
            }
            let member = line.member;
            self.line = Some(line);
            return Ok(Answers { parts, between: (sent, Wall::now()), member });
        }
    }

    fn log_in(&self, line: &mut Line, budget: Budget) -> Result<String, Error> {
        let Some(password) = &self.address.password else { return Err(refusal::no_password(&self.address)) };
        let login = serde_json::json!({ "name": self.address.user, "password": password.reveal() });
        let request = Request { path: AUTHENTICATE, json: login.to_string() };
        let mut parts = line.ask(&self.address, None, &[request], budget)?;
        match parts.pop() {
            Some(Ok(answer)) => Ok(self.read::<Authenticated>(line.member, &answer.json)?.token),
            Some(Err(complaint)) => Err(self.refusal(line.member, &complaint)),
            None => Err(refusal::stranger(&self.address.members[line.member], None)),
        }
    }
}

impl Answers {
    /// The member's clock when it answered, which it tells to the second: of that second the moment closest to ours.
    pub fn now(&self) -> Wall {
        let Some(date) = self.date() else { return self.between.1 };
        self.between.1.clamp(date, Wall(date.0 + 999))
    }

    /// The member's clock, to the second.
    pub fn date(&self) -> Option<Wall> {
        self.parts.iter().rev().find_map(|part| part.as_ref().ok()?.date)
    }
}

fn is_stale_token(complaint: &Complaint) -> bool {
    complaint.says("invalid auth token") || complaint.says("revision in header is old")
}

/// A password takes etcd a tenth of a second and more, so that it can't be guessed: with a short ttl that would be a whole request.
const LOG_IN: Duration = Duration::from_secs(1);

/// The longest that a server may take for what nobody waits for.
pub(super) const ASIDE: Duration = Duration::from_secs(1);
