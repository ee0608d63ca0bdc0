//! What went wrong with Redis, in words that name the server, end in what to do and never show a password.

use std::io;
use std::time::Duration;

use redis::ServerError;

use super::address::{Address, Place};
use super::several::{By, Several};
use crate::store::wire::hosts::Host;
use crate::store::{Error, Server as _, wire};
use crate::timing::LONGEST_REQUEST;

/// What the user of a URL must be allowed; `vaultlock` stands for the prefix.
pub const ACL: &str = "~vaultlock:* &vaultlock:* +evalsha +eval +info +time +type +exists +hget +hmget +hset +hdel +hexists \
    +zadd +zrem +zscore +zcard +zrank +zrange +zremrangebyscore +zremrangebyrank +sadd +smembers +publish +subscribe +select";

/// The connection failed.
pub(super) fn line(address: &Address, error: &io::Error, within: Duration) -> Error {
    let server = address.display();
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return handshake(address, error);
    }
    let text = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            // The shorter the ttl, the less time there is for a request.
            let longer = if within < LONGEST_REQUEST { ", or choose a longer --ttl" } else { "" };
            let within = humantime::format_duration(Duration::from_millis(within.as_millis() as u64));
            let tls = matches!(&address.place, Place::Tcp { tls: Some(_), .. });
            let hint = if tls { ", and whether this is its TLS port" } else { "" };
            format!("no answer from {server} within {within}: look at the network and the server's load{hint}{longer}")
        }
        io::ErrorKind::ConnectionRefused => format!("{server} refuses connections: is the server running there?"),
        io::ErrorKind::NotFound if matches!(address.place, Place::Unix(_)) => {
            format!("no socket for {server}: is the server running, with this unixsocket?")
        }
        io::ErrorKind::NotFound => format!("the host of {server} has no address: check the name in the URL"),
        io::ErrorKind::PermissionDenied => {
            return Error::Refused(format!("may not connect to {server}: check the socket's owner and unixsocketperm"));
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            format!("{server} closed the connection: see its log, it may be restarting or want TLS (rediss://)")
        }
        io::ErrorKind::FileTooLarge => {
            return Error::Damaged(format!("{server} sent more than any lock has: look at its keys"));
        }
        kind => format!("lost {server}: {kind}; look at the network"),
    };
    Error::Unreachable(text)
}

/// The server answered a command with an error.
pub(super) fn said(address: &Address, error: &ServerError) -> Error {
    let server = address.display();
    let details = address.scrub(error.details().unwrap_or_default());
    let code = address.scrub(error.code());
    let refused = |text: String| Error::Refused(text);
    let later = |text: String| Error::Unreachable(text);
    match code.as_str() {
        "VLDAMAGED" => {
            let (key, why) = details.split_once(' ').unwrap_or((&details, "it is not what it should be"));
            damaged(address, key, why)
        }
        "VLMAXTTL" => refused(format!(
            "{server} has a max_ttl of {}, the store URL here another: use the same max_ttl in every store URL",
            details
                .trim()
                .parse()
                .map_or_else(|_| details.clone(), |ms| humantime::format_duration(Duration::from_millis(ms)).to_string())
        )),
        "VLEVICTS" => refused(format!("{server} evicts locks when it is full ({details}): set maxmemory-policy noeviction")),
        "VLREPLICA" | "READONLY" => refused(format!("{server} is a read-only replica: give the primary in the store URL")),
        "VLNOLIFE" => {
            refused(format!("{server} does not tell its run_id in INFO: use a Redis or Valkey server itself, no proxy"))
        }
        "VLFULL" => refused(format!("{server}: {details} already wait for this lock: try again when fewer do")),
        "NOAUTH" => refused(format!("{server} wants a password: put it into the store URL or REDISCLI_AUTH")),
        // Before a password is given the server takes short commands alone, and a script call is not short.
        "ERR" if details.contains("unauthenticated") => {
            refused(format!("{server} wants a password: put it into the store URL or REDISCLI_AUTH"))
        }
        "WRONGPASS" => refused(format!("{server} does not accept this user and password: check the store URL or REDISCLI_AUTH")),
        "NOPERM" => {
            let what = details.split('\'').nth(1).unwrap_or("see ACL LOG there");
            refused(format!("{server} refuses this user a command or key ({what}); it needs all of this: ACL SETUSER ... {ACL}"))
        }
        "ERR" if details.contains("user executing the script can't") => refused(format!(
            "{server} refuses this user a command or key of a script; it needs all of this: ACL SETUSER ... {ACL} (where nobody gets INFO, \
             noinfo=true in the store URL does without, and vaultlock(7) says what that costs)"
        )),
        "OOM" => refused(format!("{server} is full: raise its maxmemory")),
        "MISCONF" => refused(format!("{server} can't write its data to disk and takes no changes: see its log")),
        "DENIED" => refused(format!("{server} is in protected mode: set a password there, or bind it to this host's network")),
        "WRONGTYPE" => refused(format!("{server}: a key of ours is of the wrong type: choose another prefix= in the store URL")),
        "LOADING" => later(format!("{server} is still loading its data: try again in a while")),
        "BUSY" => later(format!("{server} is busy with a script: try again, or stop it with SCRIPT KILL")),
        "NOREPLICAS" => later(format!(
            "{server} has fewer good replicas than its min-replicas-to-write and takes no changes: look at its replicas"
        )),
        "CLUSTERDOWN" | "MASTERDOWN" => later(format!("{server} can't answer now ({code}): try again when its cluster is well")),
        "TRYAGAIN" => later(format!("{server} is giving this lock's slot away: it answers again when that is done")),
        "MOVED" | "ASK" | "CROSSSLOT" => refused(format!("{server} is a cluster: write redis+cluster:// in the store URL")),
        "ERR" if details.contains("unknown command") => {
            let what = details.split(['\'', '`']).nth(1).unwrap_or("a command");
            refused(format!("{server} does not know {what}: use Redis 6 or later, or Valkey"))
        }
        "ERR" if details.contains("without any password") || details.contains("no password is set") => {
            refused(format!("{server} has no password, the store URL here has one: take it out, or set it there"))
        }
        "ERR" if details.contains("DB index") || details.contains("invalid DB") => {
            refused(format!("{server} has no database {}: choose another one, such as 0", address.db))
        }
        "ERR" if details.contains("max number of clients") => {
            later(format!("{server} has too many clients: raise its maxclients"))
        }
        _ => refused(format!("{server} refuses: {code} {details}; see its log")),
    }
}

/// What is not so for good where another server can take this one's place.
pub(super) trait OrLater {
    fn or_later(self, address: &Address, error: &ServerError) -> Error;
}

impl OrLater for Error {
    fn or_later(self, address: &Address, error: &ServerError) -> Error {
        let passing = matches!(error.code(), "VLREPLICA" | "READONLY" | "MOVED" | "ASK");
        match (&address.place, self) {
            (Place::Several(several), Error::Refused(_)) if passing => Error::Unreachable(format!(
                "the server that {} name is not the primary any more: wait until they know the next one",
                several.told()
            )),
            (_, error) => error,
        }
    }
}

/// One of those who are asked for the primary answered with an error; `post` is its address.
pub(super) fn by_post(post: &Address, error: &ServerError) -> Error {
    let host = post.display();
    match (error.code(), error.details().unwrap_or_default()) {
        ("NOAUTH", _) if post.password.is_none() => Error::Refused(format!(
            "{host} wants a password: a sentinel's goes into the file that sentinel_password_file= names, a node's into the URL or \
             REDISCLI_AUTH"
        )),
        ("ERR", why) if why.contains("unknown command") => {
            Error::Refused(format!("{host} is no sentinel: give the sentinels' port, which is 26379 where nobody chose another"))
        }
        ("ERR", why) if why.contains("cluster support disabled") => {
            Error::Refused(format!("{host} is no node of a cluster: write redis:// for a single server"))
        }
        _ => said(post, error),
    }
}

/// The sentinels know no such primary.
pub(super) fn no_primary(address: &Address, several: &Several) -> Error {
    match &several.by {
        By::Sentinels { master, .. } => Error::Refused(format!(
            "the sentinels of {} know no primary {master:?}: give the name in their \"sentinel monitor\" lines",
            address.display()
        )),
        By::Nodes => {
            Error::Unreachable(format!("no node has the lock's slot in {}: see redis-cli --cluster check", address.display()))
        }
    }
}

/// Too few answered, or they said different things.
pub(super) fn no_majority(address: &Address, several: &Several, said: usize, last: Option<Error>) -> Error {
    let (wanted, all, who) = (several.majority(), several.hosts.len(), several.told());
    Error::Unreachable(match last {
        Some(error) if all == 1 => error.to_string(),
        Some(error) => format!("fewer than {wanted} of the {all} {who} tell where the primary is; of the last one: {error}"),
        None if said > 1 => format!("the {who} of {} do not agree on the primary: a fail-over is going on", address.display()),
        None => format!("fewer than {wanted} of the {all} {who} name a primary: look at them"),
    })
}

/// The server has answered, but most know another primary by now.
pub(super) fn deposed(address: &Address, server: &Address, home: &Host) -> Error {
    let server = server.display();
    Error::Unreachable(format!("{server} is not the primary of {} any more: {} is", address.display(), home.display()))
}

/// What answers is no Redis server.
pub(super) fn stranger(address: &Address) -> Error {
    Error::Refused(format!("what answers as {} does not speak redis: check host and port", address.display()))
}

/// A key holds what this program did not write.
pub(super) fn damaged(address: &Address, key: &str, why: &str) -> Error {
    let (server, why) = (address.display(), address.scrub(why));
    let why = why.trim_end_matches('.');
    Error::Damaged(format!(
        "{key} in {server} is damaged: {why}; nothing is granted until it is put right: look at this key there"
    ))
}

/// TLS can't even begin.
pub(super) fn tls(address: &Address, why: &str) -> Error {
    Error::Refused(format!("no TLS to {}: {why}", address.display()))
}

/// A user without a password would enter as the default user.
pub(super) fn no_password(address: &Address) -> Error {
    Error::Refused(format!("no password for the user of {}: put it into the store URL or REDISCLI_AUTH", address.display()))
}

fn handshake(address: &Address, error: &rustls::Error) -> Error {
    tls(address, &wire::tls::told(error, "redis"))
}
