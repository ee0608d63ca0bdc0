//! What went wrong with etcd, in words that name the server, end in what to do and never show a password.

use std::io;
use std::time::Duration;

use super::address::Address;
use super::reply::Complaint;
use crate::store::{Error, Server as _};

use crate::store::wire::hosts::Host;
use crate::store::wire::tls;
use crate::timing::LONGEST_REQUEST;

/// gRPC's codes for what may be otherwise in a moment, or on another member.
const CANCELLED: u32 = 1;
const DEADLINE: u32 = 4;
const UNAVAILABLE: u32 = 14;

/// The connection failed.
pub(super) fn line(address: &Address, member: &Host, error: &io::Error, within: Duration) -> Error {
    let server = at(member);
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return no_tls(member, &tls::told(error, "etcd"));
    }
    let text = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            // The shorter the ttl, the less time there is for a request.
            let longer = if within < LONGEST_REQUEST { ", or choose a longer --ttl" } else { "" };
            let within = humantime::format_duration(Duration::from_millis(within.as_millis() as u64));
            let tls = if address.tls.is_some() { ", and whether this is its TLS port" } else { "" };
            format!("no answer from {server} within {within}: look at the network and the cluster's health{tls}{longer}")
        }
        io::ErrorKind::ConnectionRefused => format!("{server} refuses connections: is etcd running there?"),
        io::ErrorKind::NotFound => format!("the host of {server} has no address: check the name in the URL"),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            format!("{server} closed the connection: see its log, it may be restarting or want TLS (etcds://)")
        }
        io::ErrorKind::FileTooLarge => {
            return Error::Damaged(format!("{server} sent more than any lock has: look at its keys"));
        }
        kind => format!("lost {server}: {kind}; look at the network"),
    };
    Error::Unreachable(text)
}

/// The server answered a request with an error.
pub(super) fn said(address: &Address, member: &Host, complaint: &Complaint) -> Error {
    let server = at(member);
    let text = address.scrub(complaint.text());
    let refused = Error::Refused;
    let later = Error::Unreachable;
    let says = |part: &str| complaint.says(part);
    if says("database space exceeded") {
        return refused(format!(
            "{server} is full (its NOSPACE alarm is on): compact and defragment it, then etcdctl alarm disarm"
        ));
    }
    if says("corrupt") {
        return refused(format!("{server} says that its data is corrupt ({text}): replace that member"));
    }
    if says("user name is empty") || says("auth token is not provided") {
        return refused(format!("{server} wants a user and a password: put them into the store URL or ETCDCTL_USER"));
    }
    if says("invalid user ID or password") || says("authentication failed") {
        return refused(format!("{server} does not accept this user and password: check the store URL or ETCDCTL_USER"));
    }
    if says("authentication is not enabled") {
        return refused(format!("{server} has no users, the store URL here has one: take it out, or enable them there"));
    }
    if says("CommonName") {
        return refused(format!(
            "{server} takes no request by its gateway with a client certificate that has a CommonName while users are enabled \
             there: use a certificate without one, with user and password in the store URL"
        ));
    }
    if says("permission denied") {
        let prefix = &address.prefix;
        return refused(format!(
            "{server} refuses this user our keys; it needs this: etcdctl role grant-permission ROLE --prefix readwrite {prefix}/"
        ));
    }
    if says("invalid auth token") || says("revision in header is old") {
        return later(format!("{server} does not know our token any more ({text}): try again"));
    }
    if says("too many requests") {
        return later(format!("{server} has too many requests to serve: try again when it has fewer"));
    }
    if says("request is too large") {
        return refused(format!("{server} takes no request of this size: raise its --max-request-bytes"));
    }
    if says("too many operations") {
        return refused(format!("{server} takes no transaction of this size: raise its --max-txn-ops to 128 or more"));
    }
    match complaint.code {
        _ if says("no leader") || says("leader changed") => {
            later(format!("{server} has no leader now ({text}): try again when most of its members are well"))
        }
        CANCELLED | DEADLINE | UNAVAILABLE => {
            later(format!("{server} can't answer now ({text}): look at its members' health and disks"))
        }
        _ => refused(format!("{server} refuses: {text}; see its log")),
    }
}

/// What answers is no etcd, or does not answer in JSON.
pub(super) fn stranger(member: &Host, status: Option<u16>) -> Error {
    let server = at(member);
    Error::Refused(match status {
        Some(404) => format!(
            "{server} has no JSON gateway: check host and port, use etcd 3.4 or later, and don't start it with \
             --enable-grpc-gateway=false"
        ),
        _ => format!("what answers as {server} does not speak etcd's JSON: check host and port, or write etcds:// for TLS"),
    })
}

/// A key holds what this program did not write.
pub(super) fn damaged(address: &Address, key: &str, why: &str) -> Error {
    let (server, why) = (address.display(), address.scrub(why));
    let why = why.trim_end_matches('.');
    Error::Damaged(format!(
        "{key} in {server} is damaged: {why}; nothing is granted until it is put right: look at this key there"
    ))
}

/// The store's count of its changes never falls, unless it lost some.
pub(super) fn set_back(address: &Address) -> Error {
    Error::Damaged(format!(
        "{} was set back to an older state (its revision has fallen): nothing is granted while vaultlock runs on it; restore a \
         backup into a cluster with another --initial-cluster-token",
        address.display()
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

/// TLS can't even begin.
pub(super) fn no_tls(member: &Host, why: &str) -> Error {
    Error::Refused(format!("no TLS to {}: {why}", at(member)))
}

/// A user without a password.
pub(super) fn no_password(address: &Address) -> Error {
    Error::Refused(format!(
        "no password for the user of {}: put it into the store URL, ETCDCTL_USER or ETCDCTL_PASSWORD",
        address.display()
    ))
}

/// The kernel does not let us wait.
pub(super) fn cannot_wait(error: &io::Error) -> Error {
    Error::Refused(format!("can't wait for etcd: {}; this is a fault in vaultlock, please report it", error.kind()))
}

fn at(member: &Host) -> String {
    format!("etcd at {}", member.display())
}
