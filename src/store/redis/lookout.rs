//! Who is the primary, in the words of more than half of the hosts in the URL: sentinels, or the nodes of a cluster.
//!
//! A primary that was cut off or frozen does not know that another took its place, and goes on renewing leases for a while. So
//! its answer to a beat counts only if after the beat was sent more than half of the hosts still named it; and nobody goes to a
//! new primary before more than half name that. Two such halves share a host, and none goes back to a primary that it has
//! given up: whoever is let in at the new one began to wait there when the last lease that counts was already given.

use redis::{Cmd, Value};

use super::address::Address;
use super::connection::Connection;
use super::refusal;
use super::several::{By, Several};
use crate::store::Error;
use crate::store::wire::Budget;
use crate::store::wire::hosts::Host;
use crate::time::Clock;

/// Where a slot is kept.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub host: Host,
    /// The lowest slot that is kept there.
    pub lowest: u16,
}

/// The hosts of a URL, each with a line that stays open.
pub(super) struct Lookout {
    address: Address,
    several: Several,
    /// Who answered last time comes first.
    posts: Vec<Post>,
}

struct Post {
    host: Host,
    line: Option<(Address, Connection)>,
    /// Whether an answer to an earlier question is on its way.
    owes: bool,
    /// Whether it was asked this time.
    asked: bool,
}

impl Lookout {
    pub fn new(address: &Address, several: &Several) -> Lookout {
        let posts = several.hosts.iter().map(|host| Post { host: host.clone(), line: None, owes: false, asked: false });
        Lookout { address: address.clone(), several: several.clone(), posts: posts.collect() }
    }

    /// Sends the question to as many as must agree, on lines that are open, and waits for nothing.
    pub fn ask(&mut self, budget: Budget) {
        let question = self.question();
        for post in self.posts.iter_mut().take(self.several.majority()) {
            post.ask(&question, budget);
        }
    }

    /// The server that more than half name as the primary for this slot; asks those that were not asked yet.
    ///
    /// # Errors
    /// Too few answer, or they do not agree.
    pub fn hear(&mut self, slot: u16, budget: Budget) -> Result<Home, Error> {
        let (wanted, count) = (self.several.majority(), self.posts.len());
        let mut said: Vec<(Home, usize)> = Vec::new();
        let (mut strangers, mut refusals, mut last) = (0, 0, None);
        let mut silent = Vec::new();
        for at in 0..count {
            let heard = self.hear_one(at, slot, budget.share(count - at));
            self.posts[at].asked = false;
            match heard {
                Ok(Some(home)) => match said.iter_mut().find(|(known, _)| known.host == home.host) {
                    Some((_, votes)) => *votes += 1,
                    None => said.push((home, 1)),
                },
                Ok(None) => strangers += 1,
                Err(error) => {
                    refusals += usize::from(!matches!(error, Error::Unreachable(_)));
                    self.posts[at].line = None;
                    silent.push(at);
                    last = Some(error);
                }
            }
            if said.iter().any(|(_, votes)| *votes >= wanted) {
                break;
            }
        }
        self.ask_last(&silent);
        self.posts.iter_mut().for_each(|post| post.owes |= std::mem::take(&mut post.asked));
        if let Some((home, _)) = said.iter().find(|(_, votes)| *votes >= wanted) {
            return Ok(home.clone());
        }
        if strangers >= wanted {
            return Err(refusal::no_primary(&self.address, &self.several));
        }
        match last {
            Some(error) if refusals >= wanted => Err(error),
            last => Err(refusal::no_majority(&self.address, &self.several, said.len(), last)),
        }
    }

    /// How many of the hosts answer, and how many there are.
    pub fn census(&mut self, slot: u16, budget: Budget) -> Vec<(Host, Result<Option<Home>, Error>)> {
        let count = self.posts.len();
        let heard = (0..count).map(|at| {
            let heard = self.hear_one(at, slot, budget.share(count - at));
            (self.posts[at].host.clone(), heard)
        });
        heard.collect()
    }

    fn question(&self) -> Cmd {
        match &self.several.by {
            By::Sentinels { master, .. } => {
                let mut question = redis::cmd("SENTINEL");
                question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
                question
            }
            By::Nodes => {
                let mut question = redis::cmd("CLUSTER");
                question.arg("SLOTS");
                question
            }
        }
    }

    /// All primaries that the first host to answer knows.
    ///
    /// # Errors
    /// None answers.
    pub fn primaries(&mut self, budget: Budget) -> Result<Vec<Host>, Error> {
        let (count, question) = (self.posts.len(), self.question());
        let mut last = refusal::stranger(&self.address);
        for at in 0..count {
            let post = &mut self.posts[at];
            match post.answer(&self.address, &question, budget.share(count - at)) {
                Ok(Value::Array(ranges)) => {
                    let mut hosts: Vec<Host> =
                        ranges.iter().filter_map(|range| read(range, &post.host)).map(|range| range.host).collect();
                    hosts.sort();
                    hosts.dedup();
                    return Ok(hosts);
                }
                Ok(Value::ServerError(error)) => last = refusal::by_post(&self.address.post(&post.host)?, &error),
                Ok(_) => last = refusal::stranger(&self.address.post(&post.host)?),
                Err(error) => (post.line, last) = (None, error),
            }
        }
        Err(last)
    }

    fn hear_one(&mut self, at: usize, slot: u16, budget: Budget) -> Result<Option<Home>, Error> {
        let question = self.question();
        let post = &mut self.posts[at];
        let answer = post.answer(&self.address, &question, budget)?;
        let host = post.host.clone();
        let server = self.address.post(&host)?;
        match (&self.several.by, answer) {
            (_, Value::ServerError(error)) => Err(refusal::by_post(&server, &error)),
            (By::Sentinels { .. }, Value::Nil) => Ok(None),
            (By::Sentinels { .. }, Value::Array(parts)) => {
                let host = end(&parts, &host).ok_or_else(|| refusal::stranger(&server))?;
                Ok(Some(Home { host, lowest: 0 }))
            }
            (By::Nodes, Value::Array(ranges)) => Ok(owner(&ranges, slot, &host)),
            _ => Err(refusal::stranger(&server)),
        }
    }

    /// Who did not answer costs time: next time the others are asked first.
    fn ask_last(&mut self, silent: &[usize]) {
        let mut last = Vec::new();
        for at in silent.iter().rev() {
            last.push(self.posts.remove(*at));
        }
        self.posts.extend(last.into_iter().rev());
    }
}

impl Post {
    fn ask(&mut self, question: &Cmd, budget: Budget) {
        let Some((server, line)) = &mut self.line else { return };
        if self.owes || self.asked {
            return;
        }
        if !line.is_idle() || line.send(server, std::slice::from_ref(question), budget).is_err() {
            self.line = None;
            return;
        }
        self.asked = true;
    }

    /// An answer that was asked for since [`Lookout::ask`] at the earliest.
    fn answer(&mut self, address: &Address, question: &Cmd, budget: Budget) -> Result<Value, Error> {
        if let Some((server, line)) = self.line.take() {
            let mut line = line;
            let late = if std::mem::take(&mut self.owes) { line.hear(&server, budget).map(drop) } else { Ok(()) };
            let asked = std::mem::take(&mut self.asked);
            let heard = late.and_then(|()| match asked {
                true => line.hear(&server, budget),
                false => line.ask_one(&server, question.clone(), budget),
            });
            if let Ok(value) = heard {
                self.line = Some((server, line));
                return Ok(value);
            }
        }
        // A line that was closed while idle is no reason to go without its answer.
        let server = address.post(&self.host)?;
        let mut line = Connection::open(&server, budget)?;
        let value = line.ask_one(&server, question.clone(), budget)?;
        self.line = Some((server, line));
        Ok(value)
    }
}

/// `host port ...`; where a node does not know its own name, it is the one that was asked.
fn end(parts: &[Value], asked: &Host) -> Option<Host> {
    let host = match parts.first()? {
        Value::BulkString(name) if name.is_empty() => asked.host.clone(),
        Value::BulkString(name) => String::from_utf8(name.clone()).ok().filter(|name| name != "?")?,
        Value::Nil => asked.host.clone(),
        _ => return None,
    };
    let port = match parts.get(1)? {
        Value::BulkString(port) => std::str::from_utf8(port).ok()?.parse().ok()?,
        Value::Int(port) => u16::try_from(*port).ok()?,
        _ => return None,
    };
    (port != 0).then_some(Host { host, port })
}

/// Slots that are kept together.
struct Range {
    first: i64,
    last: i64,
    host: Host,
}

fn read(range: &Value, asked: &Host) -> Option<Range> {
    let Value::Array(parts) = range else { return None };
    match parts.as_slice() {
        [Value::Int(first), Value::Int(last), Value::Array(primary), ..] => {
            Some(Range { first: *first, last: *last, host: end(primary, asked)? })
        }
        _ => None,
    }
}

/// Who keeps this slot.
fn owner(ranges: &[Value], slot: u16, asked: &Host) -> Option<Home> {
    let ranges: Vec<Range> = ranges.iter().filter_map(|range| read(range, asked)).collect();
    let host = ranges.iter().find(|range| (range.first..=range.last).contains(&i64::from(slot)))?.host.clone();
    let lowest = ranges.iter().filter(|range| range.host == host).map(|range| range.first).min()?;
    Some(Home { host, lowest: u16::try_from(lowest).ok()? })
}

/// A part of what is left, so that one that is silent leaves time for the others.
trait Share {
    fn share(self, among: usize) -> Budget;
}

impl Share for Budget {
    fn share(self, among: usize) -> Budget {
        let now = Clock::Boottime.now();
        Budget { until: now + now.until(self.until) / among.max(1) as u32, whole: self.whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_primary_of_a_slot_is_found_in_what_a_node_says() {
        let asked = Host { host: "asked".to_owned(), port: 1 };
        let range = |first, last, primary| Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(primary)]);
        let found = |primary: Vec<Value>, slot| {
            let home = owner(&[range(5, 9, primary), range(2, 3, vec![text("h"), Value::Int(7000)])], slot, &asked)?;
            Some(format!("{} {}", home.host.display(), home.lowest))
        };
        assert_eq!(found(vec![text("h"), Value::Int(7000), text("id")], 9).as_deref(), Some("h:7000 2"));
        assert_eq!(found(vec![text(""), Value::Int(7000)], 5).as_deref(), Some("asked:7000 5"));
        assert_eq!(found(vec![Value::Nil, Value::Int(7000)], 5).as_deref(), Some("asked:7000 5"));
        assert_eq!(found(vec![text("h"), Value::Int(7000)], 10), None);
        assert_eq!(found(vec![text("?"), Value::Int(7000)], 7), None);
        assert_eq!(found(vec![text("h"), Value::Int(70_000)], 7), None);
        assert_eq!(found(vec![text("h")], 7), None);
    }
}
