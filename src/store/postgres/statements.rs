//! The statements: each verb is one message, one transaction and one round trip, and knows versions and guards but no
//! locks.
//!
//! What each isolation level really promises decides the order. Under READ COMMITTED every statement sees what was
//! committed before it began; so a verb that writes first takes the lock's row (and commits take the rows of the tickets
//! they judge), waits there for whoever was earlier, and only the statement after that reads. Everything that a commit may
//! change hangs on that row; a beat alone goes past it, to the ticket's own row, which a commit has taken by then. A view
//! locks nothing, and reads one snapshot (REPEATABLE READ).

use std::fmt::Write as _;
use std::time::Duration;

use crate::ledger::codec::{write_ledger, write_ticket};
use crate::ledger::{Commit, Form, Guard, Id, Straight, Ticket, view::LISTED};
use crate::mutant::{self, Mutant};
use crate::name::Name;

/// Nobody waits behind so many; a script gone wild must not fill the server.
pub(super) const MOST_WAITERS: usize = 10_000;

const BEGIN: &str = include_str!("sql/begin.sql");
const LOCK: &str = include_str!("sql/lock.sql");
const LIFE: &str = include_str!("sql/life.sql");
const TAKE: &str = concat!(include_str!("sql/life.sql"), include_str!("sql/take.sql"));
const BEAT: &str = include_str!("sql/beat.sql");
const HEARD: &str = concat!(include_str!("sql/life.sql"), include_str!("sql/heard.sql"));
const GUARD: &str = include_str!("sql/guard.sql");
const COMMIT: &str = concat!(include_str!("sql/life.sql"), include_str!("sql/commit.sql"));
const LOOK: &str = concat!(include_str!("sql/life.sql"), include_str!("sql/look.sql"), include_str!("sql/tickets.sql"));
const REMEMBER: &str = concat!(include_str!("sql/life.sql"), include_str!("sql/remember.sql"));
const NAMES: &str = include_str!("sql/names.sql");
const EXAMINE: &str = include_str!("sql/examine.sql");
const SCHEMA: &str = include_str!("../../../man/postgres.sql");

/// What is put into a statement where it has a `$word`.
enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Truth(bool),
    Texts(Vec<&'a str>),
    /// As it is.
    Sql(String),
}

use Value::{Number, Sql, Text, Texts, Truth};

/// For whom statements are made.
pub(super) struct Statements<'a> {
    pub schema: &'a str,
    pub max_ttl: Duration,
    /// How long the server may take.
    pub within: Duration,
}

impl Statements<'_> {
    pub fn take(&self, lock: &Name, ticket: &Ticket, straight: Option<(Form, &Straight)>) -> String {
        let text = write_ticket(ticket);
        let (form, told) = straight.unzip();
        let number = |of: fn(&Form) -> u64| Number(form.as_ref().map_or(0, of) as i64);
        let values = [
            ("ticket", Text(&text)),
            ("lead", Number(ticket.lead_ms)),
            ("most_waiters", Number(MOST_WAITERS as i64)),
            ("straight", Truth(form.is_some())),
            ("at_rest", Text(form.as_ref().map_or("", |form| &form.at_rest))),
            ("entered", Text(form.as_ref().map_or("", |form| &form.entered))),
            ("leap", number(|form| form.leap_ms)),
            ("far_behind", number(|form| form.far_behind_ms)),
            ("most", number(|form| form.most)),
            ("remembered", Number(told.map_or(0, |straight| straight.remembered as i64))),
            ("wall", Number(told.map_or(0, |straight| straight.wall.0 as i64))),
        ];
        self.writing(&[LOCK, TAKE, LOOK], lock, Some(&ticket.id), &values)
    }

    pub fn beat(&self, lock: &Name, id: &Id, with: &[Id]) -> String {
        let ids = [id].into_iter().chain(with).map(Id::as_str).collect();
        self.writing(&[BEAT, HEARD], lock, Some(id), &[("ids", Texts(ids))])
    }

    pub fn view(&self, lock: &Name, id: Option<&Id>) -> String {
        self.made("REPEATABLE READ", &[LOOK], Some(lock), id, &[])
    }

    pub fn commit(&self, lock: &Name, id: &Id, commit: &Commit) -> String {
        let ledger = commit.ledger.as_ref().map(write_ledger).unwrap_or_default();
        let drops: Vec<&str> = commit.drop.iter().map(Id::as_str).collect();
        let judged = commit.guards.iter().map(|guard| match guard {
            Guard::Absent(id) | Guard::Present(id) | Guard::Still(id, _) => id.as_str(),
        });
        let touched = judged.chain(drops.iter().copied()).collect();
        let next = commit.ledger.as_ref();
        let holders = next.map(|ledger| ledger.holders.iter().map(|holder| holder.id.as_str()).collect()).unwrap_or_default();
        let values = [
            ("touched", Texts(touched)),
            ("guards", Sql(guards(&commit.guards))),
            ("epoch", Text(&commit.epoch)),
            ("may_overwrite", Truth(commit.ledger.is_none() || mutant::on(Mutant::BlindCommit))),
            ("version", Number(commit.version as i64)),
            ("mark", Text(commit.settle.as_deref().unwrap_or(""))),
            ("drops", Texts(drops)),
            ("holders", Texts(holders)),
            ("writes", Truth(commit.ledger.is_some())),
            ("next", Number(next.map_or(0, |ledger| ledger.version as i64))),
            ("ledger", Text(&ledger)),
            ("wake", Texts(commit.wake.iter().map(Id::as_str).collect())),
        ];
        self.writing(&[LOCK, GUARD, COMMIT, LOOK], lock, Some(id), &values)
    }

    /// Writes the record of the store's life where it is new or missing.
    pub fn remember(&self, mark: &str) -> String {
        self.made("READ COMMITTED", &[REMEMBER], None, None, &[("mark", Text(mark))])
    }

    pub fn names(&self) -> String {
        // The life tells a standby, whose list may be old.
        let life = format!("{LIFE} SELECT epoch FROM life;");
        self.made("REPEATABLE READ", &[&life, NAMES], None, None, &[])
    }

    /// What the server says of itself and of our rights.
    pub fn examine(&self) -> String {
        self.made("READ COMMITTED", &[EXAMINE], None, None, &[("quoted", Text(&identifier(self.schema)))])
    }

    /// Makes the tables; harmless where they are.
    pub fn schema(&self) -> String {
        SCHEMA.replace("vaultlock.", &format!("{}.", identifier(self.schema))).replace(
            "CREATE SCHEMA IF NOT EXISTS vaultlock;",
            &format!("CREATE SCHEMA IF NOT EXISTS {};", identifier(self.schema)),
        )
    }

    fn writing(&self, parts: &[&str], lock: &Name, id: Option<&Id>, values: &[(&str, Value<'_>)]) -> String {
        self.made("READ COMMITTED", parts, Some(lock), id, values)
    }

    fn made(
        &self,
        isolation: &str,
        parts: &[&str],
        lock: Option<&Name>,
        id: Option<&Id>,
        values: &[(&str, Value<'_>)],
    ) -> String {
        let within = self.within.as_millis().max(1).to_string();
        let common = [
            ("schema", Sql(identifier(self.schema))),
            ("isolation", Sql(isolation.to_owned())),
            ("within", Text(&within)),
            ("max_ttl", Number(self.max_ttl.as_millis() as i64)),
            ("listed", Number(LISTED as i64)),
            ("lock", Text(lock.map_or("", Name::as_str))),
            ("id", Text(id.map_or("", Id::as_str))),
        ];
        let mut made = String::new();
        for part in [BEGIN].iter().chain(parts) {
            fill(&mut made, part, &[values, &common]);
        }
        made
    }
}

/// Listens to a ticket's wakes.
pub(super) fn listen(channel: &str) -> String {
    format!("LISTEN {}", identifier(channel))
}

/// What a ticket's wakes come on. Ids are unlike any other, so it needs no prefix.
pub(super) fn channel(id: &Id) -> String {
    format!("vl_{}", id.as_str())
}

/// Writes a template with its words filled in; what was filled in is not looked at again.
fn fill(made: &mut String, template: &str, values: &[&[(&str, Value<'_>)]]) {
    let mut pieces = template.split('$');
    made.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(piece.len());
        let (word, rest) = piece.split_at(end);
        let (_, value) =
            values.iter().copied().flatten().find(|(known, _)| *known == word).expect("every word of a statement has a value");
        value.write(made);
        made.push_str(rest);
    }
}

impl Value<'_> {
    fn write(&self, made: &mut String) {
        match self {
            Text(text) => literal(made, text),
            Number(number) => write!(made, "({number})::bigint").expect("a string takes all"),
            Truth(truth) => made.push_str(if *truth { "true" } else { "false" }),
            Texts(texts) => {
                made.push_str("ARRAY[");
                for (at, text) in texts.iter().enumerate() {
                    made.push_str(if at > 0 { "," } else { "" });
                    literal(made, text);
                }
                made.push_str("]::text[]");
            }
            Sql(text) => made.push_str(text),
        }
    }
}

/// A text as a constant: in UTF-8, which the session is sure to speak, no byte of another character looks like these two.
/// With E'' it means the same whatever standard_conforming_strings says.
fn literal(made: &mut String, text: &str) {
    made.push_str("E'");
    for c in text.chars() {
        match c {
            '\'' => made.push_str("''"),
            '\\' => made.push_str("\\\\"),
            // It would end the message; our own texts have none, for JSON and names know no control characters.
            '\0' => {}
            c => made.push(c),
        }
    }
    made.push('\'');
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn guards(guards: &[Guard]) -> String {
    if guards.is_empty() {
        return "SELECT ''::text, ''::text, 0::bigint WHERE false".to_owned();
    }
    let rows = guards.iter().map(|guard| match guard {
        Guard::Absent(id) => format!("('absent', '{}', NULL::bigint)", id.as_str()),
        Guard::Present(id) | Guard::Still(id, None) => format!("('present', '{}', NULL::bigint)", id.as_str()),
        Guard::Still(id, Some(beats)) => format!("('still', '{}', {beats}::bigint)", id.as_str()),
    });
    format!("VALUES {}", rows.collect::<Vec<String>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_stays_what_it_is() {
        let mut made = String::new();
        fill(
            &mut made,
            "a $text b $texts c $number$truth",
            &[&[
                ("text", Text("it's $number \\' ; --")),
                ("texts", Texts(vec!["x", "'"])),
                ("number", Number(-3)),
                ("truth", Truth(true)),
            ]],
        );
        assert_eq!(
            made,
            "a E'it''s $number \\\\'' ; --' b ARRAY[E'x',E'''']::text[] c (-3)::bigintrue".replace("bigintrue", "biginttrue")
        );
    }

    #[test]
    fn another_prefix_is_another_schema_everywhere() {
        let of = |schema| Statements { schema, max_ttl: Duration::ZERO, within: Duration::ZERO }.schema();
        let lines = |text: &str| text.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect::<Vec<_>>();
        assert!(lines(&of("a.b")).iter().all(|line| !line.contains("vaultlock")));
        assert_eq!(lines(&of("vaultlock").replace("\"vaultlock\"", "vaultlock")), lines(SCHEMA));
    }
}
