//! What went wrong with ZooKeeper, in words that name the server, end in what to do and never show a password.

use std::io;
use std::time::Duration;

use super::address::Address;
use super::reply::{NO_NODE, NODE_EXISTS};
use crate::store::wire::hosts::Host;
use crate::store::{Error, Server as _};
use crate::timing::LONGEST_REQUEST;

const NO_AUTH: i32 = -102;
const BAD_ACL: i32 = -114;
const AUTH_FAILED: i32 = -115;
const QUOTA: i32 = -125;
const THROTTLED: i32 = -127;
/// The server lost its peers, or took too long to hear of them.
const CONNECTION_LOSS: i32 = -4;
const TIMED_OUT: i32 = -7;
const NOT_SERVING: i32 = -119;

/// The connection failed.
pub(super) fn line(member: &Host, error: &io::Error, within: Duration) -> Error {
    let server = at(member);
    let text = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            // The shorter the ttl, the less time there is for a request.
            let longer = if within < LONGEST_REQUEST { ", or choose a longer --ttl" } else { "" };
            let within = humantime::format_duration(Duration::from_millis(within.as_millis() as u64));
            format!("no answer from {server} within {within}: look at the network and the ensemble's health{longer}")
        }
        io::ErrorKind::ConnectionRefused => format!("{server} refuses connections: is ZooKeeper running there?"),
        io::ErrorKind::NotFound => format!("the host of {server} has no address: check the name in the URL"),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            format!("{server} closed the connection: see its log, it may be restarting or have lost the other members")
        }
        io::ErrorKind::FileTooLarge => {
            return Error::Damaged(format!("{server} sent more than any lock has: look at its nodes"));
        }
        kind => format!("lost {server}: {kind}; look at the network"),
    };
    Error::Unreachable(text)
}

/// It took the connection and ended it without a word.
pub(super) fn not_greeted(member: &Host) -> Error {
    Error::Unreachable(format!(
        "{} takes no session now: it may have lost the other members, or have its maxClientCnxns connections from this host",
        at(member)
    ))
}

/// What answers is no ZooKeeper.
pub(super) fn stranger(member: &Host) -> Error {
    let server = at(member);
    Error::Refused(format!(
        "what answers as {server} does not speak ZooKeeper's protocol: check host and port, and that it wants no TLS"
    ))
}

pub(super) fn session_over(member: &Host) -> Error {
    Error::Unreachable(format!("{} ended our session: try again", at(member)))
}

pub(super) fn no_digest(member: &Host) -> Error {
    Error::Refused(format!(
        "{} takes no user and password (digest): take them out of the store URL, or allow it there",
        at(member)
    ))
}

pub(super) fn too_long(member: &Host, length: usize) -> Error {
    let server = at(member);
    Error::Refused(format!(
        "{server}: a request of {length} bytes is more than the megabyte that ZooKeeper takes (jute.maxbuffer): use fewer holders or \
         shorter labels"
    ))
}

/// A request was answered with an error.
pub(super) fn said(address: &Address, path: &str, code: i32) -> Error {
    let server = address.display();
    match code {
        NO_AUTH if address.login().is_some() => Error::Refused(format!(
            "{server} does not let this user and password at {path}: check the store URL; whose the node is, getAcl shows"
        )),
        NO_AUTH => Error::Refused(format!(
            "{server} does not let everybody at {path}: put user and password into the store URL; whose the node is, getAcl shows"
        )),
        AUTH_FAILED | BAD_ACL => Error::Refused(format!(
            "{server} takes no user and password (digest): take them out of the store URL, or allow it there"
        )),
        QUOTA => Error::Refused(format!("{server} has a quota that {path} would exceed: raise it")),
        CONNECTION_LOSS | TIMED_OUT | NOT_SERVING | THROTTLED => {
            Error::Unreachable(format!("{server} can't answer now ({code}): look at its members' health"))
        }
        NO_NODE | NODE_EXISTS => {
            Error::Unreachable(format!("{path} in {server} keeps changing: try again, and see that nobody else writes there"))
        }
        code => Error::Refused(format!("{server} refuses {path} with the code {code}: see its log")),
    }
}

/// A node holds what this program did not write.
pub(super) fn damaged(address: &Address, path: &str, why: &str) -> Error {
    let (server, why) = (address.display(), why.trim_end_matches('.'));
    Error::Damaged(format!(
        "{path} in {server} is damaged: {why}; nothing is granted until it is put right: look at this node there"
    ))
}

/// The number of the last change never falls, unless some were lost.
pub(super) fn set_back(address: &Address) -> Error {
    Error::Unreachable(format!(
        "{} lags behind what it showed before, or was set back to an older state: after a restore from a backup delete its node \
         {}/.store and all below it",
        address.display(),
        address.chroot
    ))
}

/// Another caller's max_ttl.
pub(super) fn other_max_ttl(address: &Address, theirs: Duration) -> Error {
    Error::Refused(format!(
        "{} has a max_ttl of {}, the store URL here another: use the same max_ttl in every store URL",
        address.display(),
        humantime::format_duration(theirs)
    ))
}

/// Too many wait.
pub(super) fn full(address: &Address, most: usize) -> Error {
    Error::Refused(format!("{}: {most} already wait for this lock: try again when fewer do", address.display()))
}

/// The kernel does not let us wait.
pub(super) fn cannot_wait(error: &io::Error) -> Error {
    Error::Refused(format!("can't wait for zookeeper: {}; this is a fault in vaultlock, please report it", error.kind()))
}

fn at(member: &Host) -> String {
    format!("zookeeper at {}", member.display())
}
