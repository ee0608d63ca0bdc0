//! What went wrong with PostgreSQL, in words that name the server, end in what to do and never show a password.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::address::{Address, Host};
use super::message::{Complaint, Demand};
use crate::store::{Error, Server as _};

use crate::timing::LONGEST_REQUEST;

/// Where the schema's text is, for a role that may not make it.
const FILE: &str = "man/postgres.sql (github.com/vaultlock/vaultlock/blob/main/man/postgres.sql)";

/// The connection failed.
pub(super) fn line(address: &Address, host: &Host, error: &io::Error, within: Duration) -> Error {
    let server = shown(host);
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return handshake(host, error);
    }
    let text = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            // The shorter the ttl, the less time there is for a request.
            let longer = if within < LONGEST_REQUEST { ", or choose a longer --ttl" } else { "" };
            let within = humantime::format_duration(Duration::from_millis(within.as_millis() as u64));
            format!("no answer from {server} within {within}: look at the network and the server's load{longer}")
        }
        io::ErrorKind::ConnectionRefused => format!("{server} refuses connections: is the server running there?"),
        io::ErrorKind::NotFound if host.is_socket() => {
            format!("no socket for {server}: is the server running, with this unix_socket_directories?")
        }
        io::ErrorKind::NotFound => format!("the host of {server} has no address: check the name in the URL"),
        io::ErrorKind::PermissionDenied => {
            return Error::Refused(format!("may not connect to {server}: check unix_socket_permissions there"));
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => format!("{server} closed the connection: see its log, it may be restarting"),
        io::ErrorKind::FileTooLarge => {
            return Error::Damaged(format!("{server} sent more than any lock has: look at its schema {}", address.prefix));
        }
        kind => format!("lost {server}: {kind}; look at the network"),
    };
    Error::Unreachable(text)
}

/// The server answered with an error.
pub(super) fn said(address: &Address, host: &Host, complaint: &Complaint) -> Error {
    let server = shown(host);
    let (user, dbname, schema) = (&address.user, &address.dbname, &address.prefix);
    let text = address.scrub(&complaint.text);
    let refused = |text: String| Error::Refused(text);
    let later = |text: String| Error::Unreachable(text);
    match complaint.code.as_str() {
        "28P01" => {
            refused(format!("{server} does not accept the password of {user:?}: check the store URL, PGPASSWORD or ~/.pgpass"))
        }
        "28000" => refused(format!("{server} does not let {user:?} in ({text}): check pg_hba.conf there, and the role")),
        "3D000" => refused(format!("{server} has no database {dbname:?}: create it, or name another in the store URL")),
        "25006" | "0A000" if text.contains("recovery") || text.contains("read-only") => standby(address, host),
        "25006" => standby(address, host),
        "42501" => refused(format!(
            "{server} refuses the role {user:?} something ({text}): let the owner of database {dbname:?} run {FILE}, \
             then GRANT USAGE ON SCHEMA {schema} and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} to it"
        )),
        "42883" | "42703" => refused(format!(
            "{server} has not the functions or columns that are needed ({text}): use PostgreSQL 11 or later, and the tables of {FILE}"
        )),
        // They were made a moment ago; or are being made, or dropped, right now.
        "42P01" | "3F000" | "XX000" => later(format!("{server} has not the tables of schema {schema} ({text}): try again")),
        "53300" => later(format!("{server} has no connection left ({text}): raise its max_connections or use a pooler")),
        "53100" | "53400" => refused(format!("{server} is full ({text}): make room on its disk")),
        "53200" => later(format!("{server} is out of memory: try again in a while")),
        "57P03" => later(format!("{server} is not ready ({text}): try again in a while")),
        "57P01" | "57P02" => later(format!("{server} is shutting down: try again when it is up")),
        "57014" | "55P03" => {
            later(format!("{server} was too slow ({text}): look at its load and at who locks tables of schema {schema}"))
        }
        "40001" | "40P01" => later(format!("{server} could not do it beside others ({text}): try again")),
        "08P01" if text.contains("startup parameter") || text.contains("options") => {
            refused(format!("{server} is a pooler that does not take this ({text}): leave options= out"))
        }
        "08P01" if text.contains("no such database") => {
            refused(format!("{server} has no database {dbname:?}: add it to the pooler, or name another in the store URL"))
        }
        "08P01" if text.contains("auth") || text.contains("no such user") => {
            refused(format!("{server} does not accept this user and password ({text}): check the store URL or ~/.pgpass"))
        }
        // A pooler's word for whatever keeps it from its server.
        "08P01" | "08000" | "08003" | "08006" | "58000" => {
            later(format!("{server} can't be used now ({text}): try again, and see its log"))
        }
        "22021" | "22P05" => refused(format!("{server} can't keep a name or label in its encoding: use a database with UTF8")),
        code => refused(format!("{server} refuses: {code} {text}; see its log")),
    }
}

/// It takes no writes. Of several hosts another may soon: in a fail-over there is a while without a primary.
pub(super) fn standby(address: &Address, host: &Host) -> Error {
    let read_only = format!("{} is read-only (a standby, or default_transaction_read_only)", shown(host));
    if address.hosts.len() > 1 {
        return Error::Unreachable(format!("{read_only}, and so far no other host is a primary: promote one, or try again"));
    }
    Error::Refused(format!("{read_only}: give the primary in the store URL, or all hosts separated by commas"))
}

/// Its text would be read wrongly.
pub(super) fn encoding(address: &Address, host: &Host, encoding: &str) -> Error {
    Error::Refused(format!(
        "database {:?} of {} is encoded in {encoding}: use one with UTF8 for locks",
        address.dbname,
        shown(host)
    ))
}

/// What answers is no PostgreSQL server.
pub(super) fn stranger(host: &Host) -> Error {
    Error::Refused(format!("what answers as {} does not speak PostgreSQL's protocol: check host and port", shown(host)))
}

/// The schema holds what this program did not write.
pub(super) fn damaged(address: &Address, what: &str, why: &str) -> Error {
    let why = address.scrub(why);
    let why = why.trim_end_matches('.');
    Error::Damaged(format!(
        "{what} in {} is damaged: {why}; nothing is granted until it is put right: look at schema {} there",
        address.display(),
        address.prefix
    ))
}

/// Another caller has another bound.
pub(super) fn max_ttl(address: &Address, theirs: u64) -> Error {
    Error::Refused(format!(
        "{} has a max_ttl of {}, the store URL here another: use the same max_ttl in every store URL",
        address.display(),
        humantime::format_duration(Duration::from_millis(theirs))
    ))
}

/// Too many wait.
pub(super) fn full(address: &Address, waiting: usize) -> Error {
    Error::Refused(format!("{}: {waiting} already wait for this lock: try again when fewer do", address.display()))
}

/// TLS can't even begin.
pub(super) fn tls(host: &Host, why: &str) -> Error {
    Error::Refused(format!("no TLS to {}: {why}", shown(host)))
}

pub(super) fn no_tls(host: &Host) -> Error {
    tls(host, "the server has none: set ssl=on there, or sslmode=disable where the network is trusted")
}

/// The server asks for one; `open` is a password file that others could read.
pub(super) fn no_password(host: &Host, open: Option<&Path>) -> Error {
    let why = open
        .map_or_else(String::new, |file| format!(" ({} is not looked at while others may read it: chmod 600)", file.display()));
    Error::Refused(format!("{} wants a password: put it into the store URL, PGPASSWORD or ~/.pgpass{why}", shown(host)))
}

pub(super) fn other_proof(host: &Host, demand: &Demand) -> Error {
    let wanted = match demand {
        Demand::Sasl(ways) => ways.join(", "),
        Demand::Unknown(2) => "Kerberos".to_owned(),
        Demand::Unknown(7 | 8) => "GSSAPI".to_owned(),
        Demand::Unknown(9) => "SSPI".to_owned(),
        other => format!("{other:?}"),
    };
    Error::Refused(format!(
        "{} wants to know us by {wanted}, which vaultlock can't: allow scram-sha-256 or a certificate in pg_hba.conf",
        shown(host)
    ))
}

pub(super) fn impostor(host: &Host) -> Error {
    Error::Refused(format!("{} does not know the password itself: it is not the server it should be", shown(host)))
}

pub(super) fn no_randomness() -> Error {
    Error::Refused("this host gives no random numbers: see getrandom(2)".to_owned())
}

fn shown(host: &Host) -> String {
    format!("postgres at {}", host.shown())
}

fn handshake(host: &Host, error: &rustls::Error) -> Error {
    use rustls::CertificateError as Bad;
    let why = match error {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is of an unknown authority: give that one's certificate as sslrootcert=FILE".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another host: use the name in it, or sslmode=verify-ca".to_owned()
        }
        rustls::Error::InvalidCertificate(why) => format!("its certificate is not valid ({why}): renew it"),
        rustls::Error::AlertReceived(why) => {
            format!("it breaks the handshake off ({why:?}): it may want a client certificate, sslcert=FILE and sslkey=FILE")
        }
        other => format!("{}; check the server's TLS settings", other.source().map_or(other.to_string(), ToString::to_string)),
    };
    tls(host, &why)
}
