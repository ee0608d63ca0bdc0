//! The servers of the secrets' scenarios, and the ways in which a password can be given.

use std::fs;
use std::path::Path;

use redis::Value;
use vaultlock::store::locate::Location;

use crate::support::redis::{Server, free_port};
use crate::support::verdict::CANARY;

/// A way to give the password.
pub struct Way {
    pub says: &'static str,
    scheme: Scheme,
    /// The part of the URL before the host, or the socket's parameters.
    secret: &'static str,
    pub on_command_line: bool,
    pub by_auth: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Scheme {
    Plain,
    Tls,
    Socket,
}

const fn way(says: &'static str, scheme: Scheme, secret: &'static str) -> Way {
    Way { says, scheme, secret, on_command_line: false, by_auth: false }
}

/// The canary stands in all of them; in two it is but the head of the password.
pub const WAYS: [Way; 9] = [
    way("in $VAULTLOCK_STORE", Scheme::Plain, ":c4n4ry-s3cret@"),
    way("with a user", Scheme::Plain, "locks:c4n4ry-s3cret@"),
    way("with characters that a URL must spell", Scheme::Plain, "odd:c4n4ry-s3cret%2F%40%25@"),
    way("over TLS", Scheme::Tls, "locks:c4n4ry-s3cret@"),
    way("for a socket", Scheme::Socket, "&pass=c4n4ry-s3cret"),
    way("for a socket, with a user and odd characters", Scheme::Socket, "&user=odd&pass=c4n4ry-s3cret%2F%40%25"),
    Way { by_auth: true, ..way("in $REDISCLI_AUTH", Scheme::Plain, "") },
    Way { on_command_line: true, ..way("in --store", Scheme::Plain, ":c4n4ry-s3cret@") },
    Way { on_command_line: true, ..way("in --store, for a socket", Scheme::Socket, "&pass=c4n4ry-s3cret") },
];

/// What is wrong with the URL.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// A database that the server does not have.
    Database,
    /// A max_ttl that is not the store's.
    MaxTtl,
    /// A parameter that there is not.
    Parameter,
    /// It leads to a server with another password.
    Password,
    /// It leads to a server that says what it was told.
    Mirror,
    /// It leads nowhere.
    Nowhere,
}

impl Way {
    pub fn url(&self, site: &Site) -> String {
        self.url_with(site, Fault::None)
    }

    pub fn url_with(&self, site: &Site, fault: Fault) -> String {
        let db = if fault == Fault::Database { 99 } else { 0 };
        let ttl = if fault == Fault::MaxTtl { "3s" } else { "2s" };
        let server = if fault == Fault::Password { &site.other } else { &site.server };
        let more = if fault == Fault::Parameter { "&fresher=true" } else { "" };
        let end = format!("max_ttl={ttl}&fresh=true{more}");
        let secret = self.secret;
        if self.scheme == Scheme::Socket {
            let socket = match fault {
                Fault::Mirror | Fault::Nowhere => Path::new("/nowhere/x.sock").to_owned(),
                _ => server.path("redis.sock"),
            };
            return format!("redis+unix://{}?db={db}{secret}&{end}", socket.display());
        }
        let tls = self.scheme == Scheme::Tls;
        let port = match fault {
            Fault::Mirror => site.mirror,
            Fault::Nowhere => free_port(),
            _ if tls && fault != Fault::Password => site.tls,
            _ => server.port,
        };
        let (scheme, cacert) = match tls {
            true => ("rediss", format!("&cacert={}", site.server.path("tls/ca.pem").display())),
            false => ("redis", String::new()),
        };
        format!("{scheme}://{secret}127.0.0.1:{port}/{db}?{end}{cacert}")
    }
}

/// The servers.
pub struct Site {
    pub server: Server,
    tls: u16,
    /// Its password is another.
    other: Server,
    mirror: u16,
}

impl Site {
    pub fn open() -> Site {
        let (server, tls) = Server::with_tls(&["--requirepass", CANARY]);
        for (user, password) in [("locks", CANARY.to_owned()), ("odd", format!("{CANARY}/@%"))] {
            server.tell(&["ACL", "SETUSER", user, "on", &format!(">{password}"), "~*", "&*", "+@all"]);
        }
        let other = Server::with(&["--requirepass", "another"]);
        Site { server, tls, other, mirror: mirror() }
    }

    /// What the server keeps and tells of its clients, and what this host has noted; all of it is then forgotten.
    pub fn traces(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = vec![("CLIENT LIST".to_owned(), self.server.ask(&["CLIENT", "LIST"]).into_bytes())];
        for key in self.server.ask(&["KEYS", "*"]).split_whitespace() {
            if let Value::BulkString(bytes) = self.server.tell(&["DUMP", key]) {
                found.push((format!("the key {key}"), bytes));
            }
        }
        for url in WAYS.iter().map(|way| way.url(self)) {
            let Some(notes) = Location::parse(&url).ok().and_then(|location| location.notes_dir()) else { continue };
            let files = fs::read_dir(&notes).into_iter().flatten().flatten();
            found.extend(
                files.map(|file| (format!("the note {:?}", file.file_name()), fs::read(file.path()).unwrap_or_default())),
            );
            let _ = fs::remove_dir_all(notes);
        }
        found
    }
}

/// A server that answers with an error that quotes what it was sent.
fn mirror() -> u16 {
    crate::support::proxy::parrot(b"-ERR unknown command 'AUTH', with args beginning with: 'c4n4ry-s3cret'\r\n")
}
