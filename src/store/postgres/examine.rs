//! What a PostgreSQL server can promise, by what it tells of itself.

use super::Postgres;
use crate::store::{Error, Finding};

impl Postgres {
    pub(super) fn findings(&mut self) -> Result<Vec<Finding>, Error> {
        let (brought, _) = self.ask(&|statements| statements.examine())?;
        let row = brought.into_iter().next_back().and_then(|mut brought| brought.rows.pop_front()).unwrap_or_default();
        let told = Told(row.into_iter().map(Option::unwrap_or_default).collect());
        let direct = told.get(8).parse().is_ok_and(|backend| self.line.as_ref().is_some_and(|line| line.is_direct(backend)));
        Ok(vec![
            Finding::fine("server", format!("PostgreSQL {}, as role {}", told.get(0), told.get(1))),
            rights(told.get(7)),
            Finding::fine(
                "liveness",
                "whoever waits watches a holder's beats on its own clock; sound while the clocks of two hosts run within 1 % of each \
                 other, and a host kills a job within its margin",
            ),
            durability(told.get(2)),
            standbys(told.number(4), told.get(3)),
            connections(told.number(5), told.number(6)),
            pooler(direct),
        ])
    }
}

/// The columns of sql/examine.sql.
struct Told(Vec<String>);

impl Told {
    fn get(&self, at: usize) -> &str {
        self.0.get(at).map_or("", String::as_str)
    }

    fn number(&self, at: usize) -> u64 {
        self.get(at).parse().unwrap_or(0)
    }
}

fn rights(lacking: &str) -> Finding {
    match lacking {
        "" => Finding::fine("rights", "its role may do what the locks need"),
        lacking => Finding::fatal("rights", format!("its role lacks {lacking}: grant them as man/postgres.sql says")),
    }
}

fn durability(fsync: &str) -> Finding {
    match fsync {
        "on" => Finding::fine("persistence", "a restart loses nothing: what is acknowledged is on disk"),
        _ => Finding::partly(
            "persistence",
            "fsync is off: a crash may lose grants, so each restart makes everyone wait for max_ttl; set fsync on",
        ),
    }
}

fn standbys(streaming: u64, synchronous: &str) -> Finding {
    match (streaming, synchronous) {
        (0, "") => Finding::fine(
            "standbys",
            "none that it tells of: a standby that is promoted begins a new epoch, in which nobody is let in for max_ttl",
        ),
        (_, "") => Finding::partly(
            "standbys",
            format!(
                "{streaming}, none of them synchronous: an old primary that was cut off goes on renewing leases while the promoted one, \
                 after max_ttl, lets others in. Fence the old primary at a fail-over, or set synchronous_standby_names"
            ),
        ),
        (_, names) => Finding::fine("standbys", format!("{streaming}, of which some must have what it acknowledges ({names})")),
    }
}

fn connections(used: u64, most: u64) -> Finding {
    let says = format!("{used} of {most} are in use; each run and each waiter needs one");
    match used * 10 > most * 9 {
        true => Finding::partly("connections", format!("{says}: raise max_connections, or go through PgBouncer")),
        false => Finding::fine("connections", says),
    }
}

fn pooler(direct: bool) -> Finding {
    match direct {
        true => Finding::fine("pooler", "none between: a waiter is woken by NOTIFY"),
        false => Finding::fine("pooler", "there is one between: nobody is woken, so waiters look again every 0.2 to 3 seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Promise;

    #[test]
    fn what_a_server_says_of_itself_is_judged() {
        assert_eq!(rights("").promise, Promise::All);
        assert_eq!(rights("INSERT on locks").promise, Promise::None);
        assert_eq!(durability("off").promise, Promise::Part);
        assert_eq!(standbys(0, "").promise, Promise::All);
        assert_eq!(standbys(1, "").promise, Promise::Part);
        assert_eq!(standbys(1, "ANY 1 (a, b)").promise, Promise::All);
        assert_eq!(connections(91, 100).promise, Promise::Part);
        assert_eq!(connections(90, 100).promise, Promise::All);
    }
}
