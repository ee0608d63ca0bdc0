//! What a Redis server can promise, by what it tells of itself.

use std::collections::BTreeMap;

use redis::Value;

use super::address::Place;
use super::{Redis, refusal};
use crate::store::wire::Budget;
use crate::store::{Error, Finding};

/// Writes and undoes what the scripts write, with the commands they use. KEYS  1 a hash  2 a zset.  ARGV  1 a channel
const REHEARSAL: &str = "redis.call('HSET', KEYS[1], 'a', '1') redis.call('HMGET', KEYS[1], 'a') redis.call('HDEL', KEYS[1], 'a') \
     redis.call('ZADD', KEYS[2], 1, 'a') redis.call('ZRANGE', KEYS[2], 0, -1) redis.call('ZREM', KEYS[2], 'a') \
     redis.call('PUBLISH', ARGV[1], '') return 1";

/// `field:value` lines of INFO.
struct Info(BTreeMap<String, String>);

impl Info {
    fn read(text: &str) -> Info {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Info(fields.map(|(field, value)| (field.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    fn number(&self, field: &str) -> u64 {
        self.get(field).parse().unwrap_or(0)
    }
}

impl Redis {
    pub(super) fn findings(&mut self) -> Result<Vec<Finding>, Error> {
        let budget = Budget::new(self.terms.request);
        let key = format!("{}:{{rehearsal}}", self.address.prefix);
        let slot = self.lines.slot("rehearsal");
        let mut line = self.lines.take(slot, budget)?;
        let info = match line.connection.ask_one(&line.server, redis::cmd("INFO"), budget)? {
            Value::BulkString(bytes) => Info::read(&String::from_utf8_lossy(&bytes)),
            Value::VerbatimString { text, .. } => Info::read(&text),
            Value::ServerError(_) if self.address.noinfo => Info(BTreeMap::new()),
            Value::ServerError(error) => return Err(refusal::said(&line.server, &error)),
            _ => return Err(refusal::stranger(&line.server)),
        };
        let mut rehearsal = redis::cmd("EVAL");
        rehearsal.arg(REHEARSAL).arg(2).arg(format!("{key}:hash")).arg(format!("{key}:zset")).arg(self.channel(""));
        let rehearsed = line.connection.ask_one(&line.server, rehearsal, budget)?;
        let rights = match rehearsed {
            Value::ServerError(error) => match refusal::said(&line.server, &error) {
                Error::Unreachable(why) | Error::Refused(why) | Error::Damaged(why) => Finding::fatal("rights", why),
            },
            _ => Finding::fine("rights", "its user may do what the locks need"),
        };
        let encrypted = matches!(line.server.place, Place::Tcp { tls: Some(_), .. } | Place::Unix(_));
        self.lines.put_back(line);
        let lookout = self.lookout(slot);
        let told = match info.0.is_empty() {
            true => vec![unseen()],
            false => {
                let life = [server(&info)].into_iter().chain(memory(&info));
                life.chain([persistence(&info), replicas(&info)]).chain(self.address.fresh.then(|| freshness(&info))).collect()
            }
        };
        Ok([
            vec![
                rights,
                Finding::fine(
                    "liveness",
                    "whoever waits watches a holder's beats on its own clock; sound while the clocks of two hosts run within 1 % of \
                     each other, and a host kills a job within its margin",
                ),
            ],
            told,
            lookout,
            (!encrypted).then(|| Finding::fine("line", "not encrypted: use rediss:// where others could listen")).into_iter().collect(),
        ]
        .concat())
    }
}

impl Redis {
    /// What the hosts say that are asked for the primary.
    fn lookout(&mut self, slot: u16) -> Vec<Finding> {
        let Place::Several(several) = &self.address.place else { return Vec::new() };
        let (several, budget) = (several.clone(), Budget::new(self.terms.request));
        let heard = self.lines.lookout().map(|lookout| lookout.census(slot, budget)).unwrap_or_default();
        let (all, who) = (heard.len(), several.told());
        let silent: Vec<String> =
            heard.iter().filter(|(_, said)| !matches!(said, Ok(Some(_)))).map(|(host, _)| host.display()).collect();
        let counts = format!("a beat counts only while {} of these {all} name its server the primary", several.majority());
        vec![match (all, silent.as_slice()) {
            (1, []) => Finding::partly(
                who,
                "the URL names one alone: cut off together with an old primary it would keep that one's leases alive. Name them all",
            ),
            (_, []) => Finding::fine(who, format!("all of them answer, and {counts}")),
            (_, silent) => Finding::partly(who, format!("no answer from {}, and {counts}", silent.join(", "))),
        }]
    }
}

/// By the caller's word nothing of it needs to be known.
fn unseen() -> Finding {
    Finding::partly(
        "life",
        "it refuses INFO, and noinfo=true puts up with that: that it comes back without its data is seen, but not a restart or a \
         fail-over that loses the last seconds alone, nor whether it evicts keys or has replicas. Use a server that tells, or --guard",
    )
}

fn server(info: &Info) -> Finding {
    let (name, version) = match info.get("valkey_version") {
        "" => ("Redis", info.get("redis_version")),
        valkey => ("Valkey", valkey),
    };
    let (mode, days) = (info.get("redis_mode"), info.number("uptime_in_seconds") / 86_400);
    Finding::fine("server", format!("{name} {version}, {mode}, up for {days} days"))
}

fn memory(info: &Info) -> Vec<Finding> {
    let (policy, most) = (info.get("maxmemory_policy"), info.number("maxmemory"));
    let eviction = match policy {
        policy if policy.starts_with("allkeys") => {
            Finding::fatal("eviction", format!("{policy} evicts locks when the memory is full: set maxmemory-policy noeviction"))
        }
        policy => Finding::fine("eviction", format!("{policy} evicts no lock, since none has a time to live")),
    };
    let evicted = info.number("evicted_keys");
    let lost = (evicted > 0).then(|| {
        Finding::partly(
            "evictions",
            format!("{evicted} keys were evicted since it started, locks perhaps: nobody is let in without a wait"),
        )
    });
    let (used, whole) = (info.number("used_memory") >> 20, most >> 20);
    let full = (most > 0 && info.number("used_memory") > most / 10 * 9).then(|| {
        Finding::partly("memory", format!("{used} of {whole} MiB are used: a full server lets nobody in, so raise maxmemory"))
    });
    [eviction].into_iter().chain(lost).chain(full).collect()
}

fn persistence(info: &Info) -> Finding {
    match (info.get("aof_enabled"), info.get("aof_last_write_status")) {
        ("1", "ok") => Finding::fine(
            "persistence",
            "appendonly is on: a restart loses a second at the most, and nobody is let in until it is waited out",
        ),
        ("1", status) => {
            Finding::partly("persistence", format!("appendonly is on, and its last write was {status:?}: see the server's log"))
        }
        _ => Finding::partly(
            "persistence",
            "appendonly is off: a restart forgets who held what. Nobody is let in then until max_ttl has passed, but fences go on \
             from the clock alone, and would fall if that was set back: set appendonly yes",
        ),
    }
}

fn replicas(info: &Info) -> Finding {
    let connected = info.number("connected_slaves");
    let wanted = info.0.get("min_slaves_good_slaves");
    match (connected, wanted) {
        (0, None) => Finding::fine("replicas", "none: there is no fail-over that could lose a lock"),
        (_, Some(good)) => Finding::fine(
            "replicas",
            format!("{good} are good, and without enough of them it takes no writes (min-replicas-to-write)"),
        ),
        (count, None) => Finding::partly(
            "replicas",
            format!(
                "{count}, and it takes writes without them: cut off from them it goes on renewing leases while one of them is promoted \
                 and, after max_ttl, lets others in. Set min-replicas-to-write 1 and min-replicas-max-lag to less than a third of max_ttl"
            ),
        ),
    }
}

fn freshness(info: &Info) -> Finding {
    let says = "fresh=true: after a restart the next job is let in at once, while one from before it may still be being stopped: take it \
                out of the URL once the server has been used";
    match info.get("aof_enabled") {
        "1" => Finding::fine("fresh", "fresh=true is your word that nobody holds a lock from before this server's start"),
        _ => Finding::partly("fresh", says),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Promise;

    const USUAL: &str = "redis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
                         evicted_keys:0\r\nused_memory:1000\r\naof_enabled:1\r\naof_last_write_status:ok\r\nconnected_slaves:0\r\n";

    #[test]
    fn what_a_server_says_of_itself_is_judged() {
        let judged = |line: &str| {
            let info = Info::read(&format!("{USUAL}{line}\r\n"));
            let found = memory(&info).into_iter().chain([persistence(&info), replicas(&info), freshness(&info)]);
            found.map(|finding| finding.promise).max().unwrap()
        };
        assert_eq!(judged(""), Promise::All);
        assert_eq!(judged("maxmemory_policy:volatile-lru"), Promise::All);
        assert_eq!(judged("maxmemory_policy:allkeys-lfu"), Promise::None);
        assert_eq!(judged("evicted_keys:3"), Promise::Part);
        assert_eq!(judged("maxmemory:1050"), Promise::Part);
        assert_eq!(judged("aof_enabled:0"), Promise::Part);
        assert_eq!(judged("aof_last_write_status:err"), Promise::Part);
        assert_eq!(judged("connected_slaves:2"), Promise::Part);
        assert_eq!(judged("connected_slaves:2\r\nmin_slaves_good_slaves:2"), Promise::All);
    }

    #[test]
    fn valkey_is_called_by_its_name() {
        let says = |text: &str| server(&Info::read(text)).says;
        assert!(says("redis_version:7.0.15\r\nredis_mode:standalone").starts_with("Redis 7.0.15, standalone"));
        assert!(says("redis_version:7.2.4\r\nvalkey_version:8.0.1").starts_with("Valkey 8.0.1"));
    }
}
