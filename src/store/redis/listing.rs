//! Which locks there are.

use redis::Value;

use super::{Redis, refusal};
use crate::name::Name;
use crate::store::Error;
use crate::store::wire::Budget;

impl Redis {
    /// The names of all locks, in their order.
    pub(super) fn names(&mut self) -> Result<Vec<Name>, Error> {
        let key = format!("{}:names", self.address.prefix);
        let budget = Budget::new(self.terms.request);
        let mut line = self.lines.take(0, budget)?;
        let mut command = redis::cmd("SMEMBERS");
        command.arg(&key);
        let members = match line.connection.ask_one(&line.server, command, budget)? {
            Value::Array(members) => members,
            Value::ServerError(error) if error.code() == "WRONGTYPE" => {
                return Err(refusal::damaged(&line.server, &key, "it should be a set"));
            }
            Value::ServerError(error) => return Err(refusal::said(&line.server, &error)),
            _ => return Err(refusal::stranger(&line.server)),
        };
        let damaged = refusal::damaged(&line.server, &key, "it holds what is no lock name");
        self.lines.put_back(line);
        let mut names = members
            .into_iter()
            .map(|member| match member {
                Value::BulkString(bytes) => String::from_utf8(bytes).ok().and_then(|text| Name::new(&text).ok()),
                _ => None,
            })
            .collect::<Option<Vec<Name>>>()
            .ok_or(damaged)?;
        names.sort();
        Ok(names)
    }
}
