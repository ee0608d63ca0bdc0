//! The ensemble: one session, a line to one of its members, and another member when that one does not answer.

use super::address::Address;
use super::line::{Line, NoLine, Session};
use super::refusal;
use super::reply::Reply;
use super::request::{self, Request};
use crate::store::Error;
use crate::store::wire::Budget;
use crate::store::wire::hosts::Host;

/// What a member says when it should not be asked any more.
const EXPIRED: i32 = -112;
const MOVED: i32 = -118;

/// The members of one ensemble as one server.
pub(super) struct Ensemble {
    pub address: Address,
    line: Option<Line>,
    session: Session,
    /// The member that is asked.
    at: usize,
    /// How often in a row a member broke the line off instead of greeting us.
    closed: usize,
    /// Nodes of which a change was told.
    events: Vec<String>,
    /// Counts lines: what was watched on one is not watched on the next.
    pub lines: u64,
}

impl Ensemble {
    pub fn new(address: Address) -> Ensemble {
        Ensemble { address, line: None, session: Session::default(), at: 0, closed: 0, events: Vec::new(), lines: 0 }
    }

    /// Sends requests together on one line. A member that does not answer leaves time for the others, which are then asked the
    /// same: whatever is asked must bear being asked twice.
    ///
    /// # Errors
    /// No member answers within the budget, or one refuses for good.
    pub fn ask(&mut self, requests: &[Request], budget: Budget) -> Result<Vec<Reply>, Error> {
        let members = self.address.members.len();
        let mut trouble = None;
        for left in (0..members).rev() {
            let Ok(share) = budget.part(left > 0) else { break };
            match self.ask_member(requests, share) {
                Ok(replies) => return Ok(replies),
                Err(Error::Unreachable(text)) => {
                    trouble.get_or_insert(text);
                    self.at = (self.at + 1) % members;
                }
                Err(other) => return Err(other),
            }
        }
        Err(Error::Unreachable(trouble.unwrap_or_else(|| "no time was left to ask zookeeper: choose a longer --ttl".to_owned())))
    }

    /// The nodes of which a change was told since this was last asked.
    pub fn events(&mut self) -> Vec<String> {
        self.listen();
        std::mem::take(&mut self.events)
    }

    /// The line, if there is one; it is readable when something has come or it has ended.
    pub fn line(&mut self) -> Option<&mut Line> {
        self.line.as_mut()
    }

    /// The member that is asked.
    pub fn asked(&self) -> &Host {
        &self.address.members[self.at]
    }

    /// Keeps the session while nothing is asked.
    pub fn ping(&mut self, budget: Budget) {
        if self.line.as_mut().is_some_and(|line| line.send(&request::ping(), budget).is_err()) {
            self.line = None;
        }
    }

    /// Takes in what came without being asked for. A line that has ended is no line.
    fn listen(&mut self) {
        match self.line.as_mut().map(Line::told) {
            Some(Ok(paths)) => self.events.extend(paths),
            Some(Err(_)) => self.line = None,
            None => {}
        }
    }

    fn ask_member(&mut self, requests: &[Request], budget: Budget) -> Result<Vec<Reply>, Error> {
        self.listen();
        // Taken out: who fails does not put it back.
        let mut line = match self.line.take().filter(|line| line.member == self.at) {
            Some(line) => line,
            None => self.connect(budget)?,
        };
        let replies = line.ask(&self.address, requests, &mut self.events, budget)?;
        if let Some(reply) = replies.iter().find(|reply| matches!(reply.error, EXPIRED | MOVED)) {
            if reply.error == EXPIRED {
                self.session = Session::default();
            }
            return Err(refusal::session_over(&self.address.members[self.at]));
        }
        for reply in &replies {
            self.session.zxid = self.session.zxid.max(reply.zxid);
        }
        self.line = Some(line);
        Ok(replies)
    }

    fn connect(&mut self, budget: Budget) -> Result<Line, Error> {
        self.events.clear();
        self.lines += 1;
        loop {
            match Line::open(&self.address, self.at, &mut self.session, budget) {
                Ok(line) => {
                    self.closed = 0;
                    return Ok(line);
                }
                Err(NoLine::Expired) => self.session = Session::default(),
                Err(NoLine::Closed(error)) => {
                    self.closed += 1;
                    // None of them has seen what we have: a new session will tell whether that was lost.
                    if self.closed >= 2 * self.address.members.len() && !self.session.is_new() {
                        (self.session, self.closed) = (Session::default(), 0);
                    }
                    return Err(error);
                }
                Err(NoLine::Failed(error)) => return Err(error),
            }
        }
    }
}

impl Drop for Ensemble {
    /// The server need not keep a session that nobody takes up again.
    fn drop(&mut self) {
        if let Some(line) = &mut self.line {
            let at_once = Budget::new(std::time::Duration::from_millis(10));
            let _ = line.send(&request::close(), at_once);
        }
    }
}
