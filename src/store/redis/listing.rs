//! Which locks there are.

use redis::Value;

use super::lines::Line;
use super::{Redis, refusal};
use crate::name::Name;
use crate::store::Error;
use crate::store::wire::Budget;

/// What a node looks through at once.
const STEP: u32 = 1000;

impl Redis {
    /// The names of all locks, in their order.
    pub(super) fn names(&mut self) -> Result<Vec<Name>, Error> {
        let budget = Budget::new(self.terms.request);
        let mut names = if self.address.is_cluster() {
            self.names_everywhere(budget)?
        } else {
            let mut line = self.lines.take(0, budget)?;
            let names = members(&mut line, &format!("{}:names", self.address.prefix), budget)?;
            self.lines.put_back(line);
            names
        };
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// In a cluster each lock has its own name, and each node its part of the locks.
    fn names_everywhere(&mut self, budget: Budget) -> Result<Vec<Name>, Error> {
        let pattern = format!("{}:{{*}}:names", self.address.prefix);
        let Some(lookout) = self.lines.lookout() else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for host in lookout.primaries(budget)? {
            let mut line = self.lines.to(&host, budget)?;
            for key in keys(&mut line, &pattern, budget)? {
                names.extend(members(&mut line, &key, budget)?);
            }
            self.lines.put_back(line);
        }
        Ok(names)
    }
}

/// All keys of a node that are of this form.
fn keys(line: &mut Line, pattern: &str, budget: Budget) -> Result<Vec<String>, Error> {
    let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
        let answer = match line.connection.ask_one(&line.server, command, budget)? {
            Value::ServerError(error) => return Err(refusal::said(&line.server, &error)),
            answer => redis::from_redis_value::<(String, Vec<String>)>(answer),
        };
        let (next, keys) = answer.map_err(|_| refusal::stranger(&line.server))?;
        found.extend(keys);
        cursor = next;
        if cursor == "0" {
            return Ok(found);
        }
    }
}

/// The names in a set.
fn members(line: &mut Line, key: &str, budget: Budget) -> Result<Vec<Name>, Error> {
    let mut command = redis::cmd("SMEMBERS");
    command.arg(key);
    let members = match line.connection.ask_one(&line.server, command, budget)? {
        Value::Array(members) => members,
        Value::ServerError(error) if error.code() == "WRONGTYPE" => {
            return Err(refusal::damaged(&line.server, key, "it should be a set"));
        }
        // It went to another node in this moment, which is looked through too, or was.
        Value::ServerError(error) if matches!(error.code(), "MOVED" | "ASK") => Vec::new(),
        Value::ServerError(error) => return Err(refusal::said(&line.server, &error)),
        _ => return Err(refusal::stranger(&line.server)),
    };
    members
        .into_iter()
        .map(|member| match member {
            Value::BulkString(bytes) => String::from_utf8(bytes).ok().and_then(|text| Name::new(&text).ok()),
            _ => None,
        })
        .collect::<Option<Vec<Name>>>()
        .ok_or_else(|| refusal::damaged(&line.server, key, "it holds what is no lock name"))
}
