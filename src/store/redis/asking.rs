//! A script run on the server that keeps the lock, wherever that is by now.

use std::thread;
use std::time::Duration;

use redis::{Cmd, ServerError, Value};

use super::arguments::random_mark;
use super::lines::Line;
use super::refusal::{self, OrLater as _};
use super::scripts::Script;
use super::{Answer, Redis};
use crate::ledger::codec::LONGEST;
use crate::name::Name;
use crate::store::Error;
use crate::store::wire::{Budget, hosts::Host};
use crate::time::Wall;

/// A slot that is moving, or a node that has not heard yet, is asked again after this.
const PAUSE: Duration = Duration::from_millis(20);

/// Where an error sends us.
enum Elsewhere {
    /// The slot has another home for good.
    Moved,
    /// This once, for a key that is on its way.
    Ask(Host),
    /// Some of the keys are on their way.
    Later,
}

impl Redis {
    /// Runs a script: one round trip, or two where the server does not know it yet.
    pub(super) fn run(&mut self, script: &Script, lock: &Name, args: &[Vec<u8>]) -> Result<Answer, Error> {
        // What came with an earlier wake is older than this.
        self.wakes.forget();
        let mark = random_mark();
        let budget = Budget::new(self.terms.request);
        let slot = self.slot(lock);
        loop {
            let sent = Wall::now();
            let mut line = self.lines.take(slot, budget)?;
            if script.renews {
                self.lines.question(&line, budget);
            }
            let node =
                self.lines.node_tag(slot).map(|tag| format!(" {}:{{{tag}}}:node", self.address.prefix)).unwrap_or_default();
            let mut reply = self.call(&mut line, script, lock, (&mark, &node, args), budget)?;
            let elsewhere = match &reply {
                Value::ServerError(error) if self.address.is_cluster() => elsewhere(error),
                _ => None,
            };
            match elsewhere {
                None => {}
                Some(Elsewhere::Ask(host)) => reply = self.call_at(&host, script, lock, (&mark, &node, args), budget)?,
                // As long as there is time: the answer says why there was not.
                Some(_) if budget.left().is_ok_and(|left| left > PAUSE * 2) => {
                    self.lines.put_back(line);
                    if matches!(elsewhere, Some(Elsewhere::Moved)) {
                        self.lines.forget(slot);
                    }
                    thread::sleep(PAUSE);
                    continue;
                }
                Some(_) => {}
            }
            return match reply {
                Value::Array(parts) => {
                    if script.renews {
                        self.lines.confirm(slot, &line, budget)?;
                    }
                    let (key, server) = (self.key(lock), line.server.clone());
                    // Put back only here: after any error a reply may still be on its way to the next verb.
                    self.lines.put_back(Line { proven: true, ..line });
                    Ok(Answer { server, key, between: (sent, Wall::now()), parts })
                }
                Value::ServerError(error) => {
                    self.lines.forget(slot);
                    Err(refusal::said(&line.server, &error).or_later(&self.address, &error))
                }
                _ => Err(refusal::stranger(&line.server)),
            };
        }
    }

    fn call(
        &self,
        line: &mut Line,
        script: &Script,
        lock: &Name,
        (mark, node, args): (&str, &str, &[Vec<u8>]),
        budget: Budget,
    ) -> Result<Value, Error> {
        let keys = self.keys(lock);
        let blind = if self.address.noinfo { "b" } else { "" };
        let first = format!("{}{blind}{node}", if line.proven { "0" } else { "1" });
        let command = |verb: &str, script: &str| -> Cmd {
            let mut command = redis::cmd(verb);
            command.arg(script).arg(keys.len()).arg(&keys);
            command.arg(mark).arg(self.terms.max_ttl.as_millis() as u64).arg(&first).arg(LONGEST).arg(args);
            command
        };
        let Line { server, connection, .. } = line;
        let reply = connection.ask_one(server, command("EVALSHA", &script.digest()), budget)?;
        match &reply {
            Value::ServerError(error) if error.code() == "NOSCRIPT" => {
                // It answered, so it gets its time anew: on a slow line two round trips do not fit into one request's.
                let budget = Budget::new(self.terms.request);
                connection.ask_one(server, command("EVAL", &script.code()), budget)
            }
            _ => Ok(reply),
        }
    }

    /// The same at a node that takes over the slot.
    fn call_at(
        &mut self,
        host: &Host,
        script: &Script,
        lock: &Name,
        words: (&str, &str, &[Vec<u8>]),
        budget: Budget,
    ) -> Result<Value, Error> {
        let mut line = self.lines.to(host, budget)?;
        match line.connection.ask_one(&line.server, redis::cmd("ASKING"), budget)? {
            Value::Okay => {}
            Value::ServerError(error) => return Err(refusal::said(&line.server, &error)),
            _ => return Err(refusal::stranger(&line.server)),
        }
        let reply = self.call(&mut line, script, lock, words, budget)?;
        self.lines.put_back(line);
        Ok(reply)
    }
}

/// `MOVED 3999 10.0.0.1:6381`, or the like.
fn elsewhere(error: &ServerError) -> Option<Elsewhere> {
    let to = || {
        let (host, port) = error.details()?.rsplit(' ').next()?.rsplit_once(':')?;
        Some(Host { host: host.to_owned(), port: port.parse().ok()? })
    };
    match error.code() {
        "MOVED" => Some(Elsewhere::Moved),
        "ASK" => to().map(Elsewhere::Ask),
        "TRYAGAIN" => Some(Elsewhere::Later),
        _ => None,
    }
}
