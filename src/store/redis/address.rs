//! A Redis store's URL: where the server is, how it is spoken to, and under which keys; those of several hosts are in
//! several.rs. Pure.

use std::path::PathBuf;

use url::{Host, Url};

use super::Redis;
use super::several::{By, Several};
use crate::secret::Secret;
use crate::store::wire::tls::TlsFiles;
use crate::store::wire::words::{DEFAULT_PREFIX, bracketed, decoded, prefix};
use crate::store::{Server, Store, Terms};

const DEFAULT_PORT: u16 = 6379;

/// Where a Redis server is and how to enter it.
#[derive(Clone, Debug)]
pub struct Address {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: u32,
    pub(super) prefix: String,
    pub(super) fresh: bool,
    /// Whether a server that does not tell of itself is put up with.
    pub(super) noinfo: bool,
    pub(super) bare: String,
    pub(super) secret_in_url: bool,
    pub(super) password_in_url: bool,
}

/// The two ends a server can have, and TLS; or who must be asked for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: Option<TlsFiles> },
    Unix(PathBuf),
    Several(Several),
}

impl Address {
    /// Reads `redis://`, `rediss://` and `redis+unix://` URLs.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be; never shows the user or the password.
    pub fn parse(url: &Url) -> Result<Address, String> {
        if url.fragment().is_some() {
            return Err("a redis URL has no #fragment: write # as %23".to_owned());
        }
        let password = match url.password() {
            Some(password) => decoded(password, "the password")?.map(Secret::new),
            None => None,
        };
        let mut address = Address::at(place(url)?, decoded(url.username(), "the user")?, password, 0);
        if let Place::Tcp { .. } = address.place {
            let path = url.path().trim_matches('/');
            address.db = if path.is_empty() { 0 } else { db(path)? };
        }
        for (key, value) in url.query_pairs() {
            address.set(&key, &value)?;
        }
        address.check()?;
        address.bare = bare(url);
        Ok(address)
    }

    /// With these ends, as whom, and what follows from that; the rest as it is where nothing is said.
    pub(super) fn at(place: Place, user: Option<String>, password: Option<Secret>, db: u32) -> Address {
        Address {
            secret_in_url: user.is_some() || password.is_some(),
            password_in_url: password.is_some(),
            place,
            user,
            password,
            db,
            prefix: DEFAULT_PREFIX.to_owned(),
            fresh: false,
            noinfo: false,
            bare: String::new(),
        }
    }

    /// Takes the password from `REDISCLI_AUTH`, given as its value, if the URL has none.
    #[must_use]
    pub fn or_password(mut self, rediscli_auth: Option<String>) -> Address {
        if self.password.is_none() {
            self.password = rediscli_auth.filter(|text| !text.is_empty()).map(Secret::new);
        }
        self
    }

    /// Whether each lock has a home of its own among the servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Several(Several { by: By::Nodes, .. }))
    }

    /// The text with the password struck out of it.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.password.as_ref().map_or_else(|| text.to_owned(), |password| password.scrub(text))
    }

    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let file = || (!value.is_empty()).then(|| PathBuf::from(value)).ok_or(format!("{key}= needs a file"));
        match (&mut self.place, key) {
            (_, "prefix") => self.prefix = prefix(value)?,
            (_, "fresh") => {
                self.fresh = value.parse().map_err(|_| format!("fresh={value:?} is neither true nor false"))?;
            }
            (_, "noinfo") => {
                self.noinfo = value.parse().map_err(|_| format!("noinfo={value:?} is neither true nor false"))?;
            }
            (Place::Unix(_), "db") => self.db = db(value)?,
            (Place::Unix(_), "user") => {
                (self.user, self.secret_in_url) = (Some(value.to_owned()), true);
            }
            (Place::Unix(_), "pass") => {
                (self.password, self.secret_in_url, self.password_in_url) = (Some(Secret::new(value)), true, true);
            }
            (Place::Several(Several { by: By::Sentinels { user, .. }, .. }), "sentinel_user") => *user = Some(value.to_owned()),
            (Place::Several(Several { by: By::Sentinels { password_file, .. }, .. }), "sentinel_password_file") => {
                *password_file = Some(file()?);
            }
            (Place::Tcp { tls: Some(files), .. } | Place::Several(Several { tls: Some(files), .. }), "cacert") => {
                files.cacert = Some(file()?);
            }
            (Place::Tcp { tls: Some(files), .. } | Place::Several(Several { tls: Some(files), .. }), "cert") => {
                files.cert = Some(file()?);
            }
            (Place::Tcp { tls: Some(files), .. } | Place::Several(Several { tls: Some(files), .. }), "key") => {
                files.key = Some(file()?);
            }
            (Place::Tcp { .. } | Place::Several(_), "user" | "pass" | "db") => {
                return Err(format!("{key}= is for redis+unix URLs: write redis://USER:PASSWORD@HOST:PORT/DB"));
            }
            (_, "cacert" | "cert" | "key") => return Err(format!("{key}= needs TLS: write rediss:// instead")),
            _ if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                // Half a password, if that held a question mark: not to be shown.
                return Err("the URL has a parameter that is no word: write ? as %3F and & as %26".to_owned());
            }
            _ => return Err(format!("a redis URL has no parameter {key:?}: it has {}", self.parameters())),
        }
        Ok(())
    }

    fn parameters(&self) -> &'static str {
        match self.place {
            Place::Unix(_) => "prefix, fresh, noinfo, max_ttl, db, user and pass",
            Place::Tcp { tls: Some(_), .. } => "prefix, fresh, noinfo, max_ttl, cacert, cert and key",
            Place::Tcp { tls: None, .. } => "prefix, fresh, noinfo and max_ttl",
            Place::Several(Several { by: By::Sentinels { .. }, .. }) => {
                "prefix, fresh, noinfo, max_ttl, sentinel_user and sentinel_password_file, with TLS cacert, cert and key"
            }
            Place::Several(Several { by: By::Nodes, .. }) => "prefix, fresh, noinfo and max_ttl, with TLS cacert, cert and key",
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if let Place::Tcp { tls: Some(files), .. } | Place::Several(Several { tls: Some(files), .. }) = &self.place
            && files.cert.is_some() != files.key.is_some()
        {
            return Err("a client certificate is two files: give both cert= and key=".to_owned());
        }
        Ok(())
    }
}

impl Server for Address {
    fn open(&self, terms: &Terms) -> Box<dyn Store> {
        Box::new(Redis::open(self.clone(), terms))
    }

    fn display(&self) -> String {
        match &self.place {
            Place::Tcp { host, port, .. } => format!("redis at {}:{port}", bracketed(host)),
            Place::Unix(path) => format!("redis at {}", path.display()),
            Place::Several(several) => several.display(),
        }
    }

    fn identity(&self) -> String {
        let place = match &self.place {
            Place::Tcp { host, port, tls: None } => format!("redis-{}-{port}", host.to_lowercase()),
            Place::Tcp { host, port, tls: Some(_) } => format!("rediss-{}-{port}", host.to_lowercase()),
            Place::Unix(path) => format!("redis+unix-{}", path.display()),
            Place::Several(several) => several.identity(),
        };
        format!("{place}-{}-{}", self.db, self.prefix)
    }

    fn without_secrets(&self) -> String {
        self.bare.clone()
    }

    fn has_secret(&self) -> bool {
        self.secret_in_url
    }

    fn password_in_url(&self) -> bool {
        self.password_in_url
    }
}

fn place(url: &Url) -> Result<Place, String> {
    let tls = match url.scheme() {
        "redis" => None,
        "rediss" => Some(TlsFiles::default()),
        "redis+unix" => return socket_path(url),
        other => return Err(format!("{other}:// is not a redis URL: use redis://, rediss:// or redis+unix://")),
    };
    let host = match url.host() {
        Some(Host::Domain(host)) => decoded(host, "the host")?,
        Some(Host::Ipv4(host)) => Some(host.to_string()),
        Some(Host::Ipv6(host)) => Some(host.to_string()),
        None => None,
    };
    let host = host.ok_or("a redis URL needs a host: redis://HOST:PORT/DB")?;
    if host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the host in the URL holds blanks or control characters".to_owned());
    }
    match url.port() {
        Some(0) => Err("port 0 is no port: leave it out for 6379".to_owned()),
        port => Ok(Place::Tcp { host, port: port.unwrap_or(DEFAULT_PORT), tls }),
    }
}

fn socket_path(url: &Url) -> Result<Place, String> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("a redis+unix URL has three slashes: redis+unix:///run/redis.sock".to_owned());
    }
    let path = decoded(url.path(), "the path")?.filter(|path| path.len() > 1);
    path.map(|path| Place::Unix(path.into())).ok_or("a redis+unix URL needs a path: redis+unix:///run/redis.sock".into())
}

pub(super) fn db(text: &str) -> Result<u32, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| plain);
    number.ok_or_else(|| match text {
        // Half a password, if that held a slash: not to be shown.
        text if text.contains(['@', ':']) => "the URL's path is no database: write / in a password as %2F".to_owned(),
        text => format!("{text:?} is not a redis database: use a number such as 0"),
    })
}

fn bare(url: &Url) -> String {
    let mut bare = url.clone();
    // Fails only where there is no host, and then there is no user either.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != "user" && key != "pass")
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    bare.set_query(None);
    if !kept.is_empty() {
        bare.query_pairs_mut().extend_pairs(kept);
    }
    bare.into()
}
