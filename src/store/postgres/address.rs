//! Where a PostgreSQL store is and how it is entered: a URL, and around it what libpq's users are used to. The URL goes
//! before a service, a service before the environment, the environment before what is usual.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Postgres;
use super::habits::Surroundings;
use super::url;
use crate::secret::Secret;
use crate::store::wire::words;
use crate::store::{Server, Store, Terms};

const DEFAULT_PORT: u16 = 5432;
/// What a name may have in PostgreSQL.
const LONGEST_NAME: usize = 63;
/// In the order in which they are told.
const PARAMETERS: [&str; 21] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "service",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "target_session_attrs",
    "application_name",
    "options",
    "channel_binding",
    "gssencmode",
    "prefix",
    "fresh",
    "max_ttl",
];

/// Where the servers are, who enters, and under which names the tables are.
#[derive(Clone, Debug)]
pub struct Address {
    pub(super) hosts: Vec<Host>,
    pub(super) dbname: String,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) tls: Tls,
    /// How long one host may take to answer at all.
    pub(super) connect_timeout: Option<Duration>,
    /// Only a server that takes writes will do, and one that does not is passed.
    pub(super) wants_primary: bool,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    /// The schema.
    pub(super) prefix: String,
    pub(super) fresh: bool,
    max_ttl: Option<String>,
    bare: String,
    secret_in_url: bool,
    password_in_url: bool,
}

/// One place where a server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address, or the directory of a Unix socket.
    pub name: String,
    /// To be used in place of looking the name up.
    pub address: Option<String>,
    pub port: u16,
}

/// How much of TLS there must be. PostgreSQL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    /// TLS if the server has it, unverified.
    Prefer,
    /// TLS, unverified unless an authority was given.
    Require,
    /// A certificate of the authority.
    VerifyCa,
    /// And for this very host.
    VerifyFull,
}

/// TLS as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    /// Where nothing was said it hangs on the host.
    pub mode: Option<SslMode>,
    pub roots: Roots,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The system's, because it was asked for or because there is nothing else.
    System {
        asked: bool,
    },
    File(PathBuf),
}

impl Host {
    pub fn is_socket(&self) -> bool {
        self.name.starts_with(['/', '@'])
    }

    /// Nobody stands between us and a server on this host.
    fn is_local(&self) -> bool {
        let name = self.address.as_ref().unwrap_or(&self.name);
        let loopback = name.parse::<std::net::IpAddr>().map_or(name == "localhost", |address| address.is_loopback());
        self.is_socket() || loopback
    }

    /// For messages.
    pub fn shown(&self) -> String {
        match &self.name {
            name if self.is_socket() => format!("{name}/.s.PGSQL.{}", self.port),
            name => format!("{}:{}", words::bracketed(name), self.port),
        }
    }
}

impl Tls {
    /// What is asked of this host: all that there is, unless it is this very host.
    pub fn mode_for(&self, host: &Host) -> SslMode {
        match self.mode {
            _ if host.is_socket() => SslMode::Disable,
            Some(mode) => mode,
            None if host.is_local() => SslMode::Prefer,
            None => SslMode::VerifyFull,
        }
    }
}

impl Address {
    /// Reads `postgres://` and `postgresql://` URLs.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be; never shows the user or the password.
    pub fn parse(text: &str, around: &Surroundings) -> Result<Address, String> {
        let in_url = url::parameters(text)?;
        if let Some((unknown, _)) = in_url.iter().find(|(key, _)| !PARAMETERS.contains(&key.as_str())) {
            return Err(format!("a postgres URL has no parameter {unknown:?}: it has {}", PARAMETERS.join(", ")));
        }
        let has = |key: &str| in_url.iter().any(|(known, _)| known == key);
        let (secret_in_url, password_in_url) = (has("user") || has("password"), has("password"));
        let mut all: BTreeMap<String, String> = around.parameters().into_iter().collect();
        let named = in_url.iter().rev().find(|(key, _)| key == "service").map(|(_, service)| service.as_str());
        if let Some(service) = named.or(around.service()) {
            all.extend(around.of_service(service)?);
        }
        all.extend(in_url);
        let mut given = Given(all);
        let user = given.take("user").or_else(|| around.user());
        let user = user.ok_or("this user has no name here: write the database's as user= in the URL or $PGUSER")?;
        let dbname = given.take("dbname").unwrap_or_else(|| user.clone());
        let address = Address {
            hosts: hosts(&mut given)?,
            bare: url::bare(text, &["user", "password", "max_ttl"], &dbname),
            dbname,
            user,
            password: given.take("password").map(Secret::new),
            passfile: given.take("passfile").map(PathBuf::from).or_else(|| around.passfile()),
            tls: tls(&mut given, around)?,
            connect_timeout: connect_timeout(given.take("connect_timeout"))?,
            wants_primary: wants_primary(given.take("target_session_attrs").as_deref())?,
            application_name: given.take("application_name").unwrap_or_else(|| "vaultlock".to_owned()),
            options: given.take("options"),
            prefix: prefix(given.take("prefix"))?,
            fresh: fresh(given.take("fresh").as_deref())?,
            max_ttl: given.take("max_ttl"),
            secret_in_url,
            password_in_url,
        };
        only_without(given.take("channel_binding").as_deref(), "channel_binding")?;
        only_without(given.take("gssencmode").as_deref(), "gssencmode")?;
        Ok(address)
    }

    /// What the URL, the service or the environment says of `max_ttl`.
    pub fn max_ttl(&self) -> Option<&str> {
        self.max_ttl.as_deref()
    }

    /// The text with the password struck out of it.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.password.as_ref().map_or_else(|| text.to_owned(), |password| password.scrub(text))
    }
}

impl Server for Address {
    fn open(&self, terms: &Terms) -> Box<dyn Store> {
        Box::new(Postgres::open(self.clone(), terms))
    }

    fn display(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(Host::shown).collect();
        format!("postgres at {}", hosts.join(","))
    }

    fn identity(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.shown().to_lowercase()).collect();
        format!("postgres-{}-{}-{}", hosts.join(","), self.dbname, self.prefix)
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

/// Parameters not yet used; an empty one is as good as none.
struct Given(BTreeMap<String, String>);

impl Given {
    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).filter(|value| !value.is_empty())
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        self.take(key).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }
}

fn hosts(given: &mut Given) -> Result<Vec<Host>, String> {
    let (names, addresses, ports) = (given.list("host"), given.list("hostaddr"), given.list("port"));
    let many = names.len().max(addresses.len()).max(1);
    if ![0, many].contains(&names.len()) || ![0, many].contains(&addresses.len()) {
        return Err("host and hostaddr name different numbers of servers: give one hostaddr for each host".to_owned());
    }
    if ![0, 1, many].contains(&ports.len()) {
        return Err(format!("{} ports for {many} hosts: give one for all, or one for each", ports.len()));
    }
    (0..many)
        .map(|at| {
            let address = addresses.get(at).filter(|address| !address.is_empty()).cloned();
            let name = names.get(at).filter(|name| !name.is_empty()).cloned().or_else(|| address.clone());
            let port = ports.get(at).or(ports.first()).map_or("", String::as_str);
            let name = name.unwrap_or_else(socket_directory);
            if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err("a host holds blanks or control characters".to_owned());
            }
            Ok(Host { name, address, port: port_number(port)? })
        })
        .collect()
}

/// Where the socket is if nothing was said: what distributions chose, or what PostgreSQL's authors did.
fn socket_directory() -> String {
    let chosen = "/var/run/postgresql";
    if Path::new(chosen).exists() { chosen.to_owned() } else { "/tmp".to_owned() }
}

fn port_number(text: &str) -> Result<u16, String> {
    match text {
        "" => Ok(DEFAULT_PORT),
        text => text.parse().ok().filter(|port| *port != 0).ok_or("a port is a number from 1 to 65535".to_owned()),
    }
}

fn tls(given: &mut Given, around: &Surroundings) -> Result<Tls, String> {
    let mode = match given.take("sslmode").as_deref() {
        None => None,
        Some("disable") => Some(SslMode::Disable),
        Some("prefer" | "allow") => Some(SslMode::Prefer),
        Some("require") => Some(SslMode::Require),
        Some("verify-ca") => Some(SslMode::VerifyCa),
        Some("verify-full") => Some(SslMode::VerifyFull),
        Some(other) => {
            return Err(format!("sslmode={other:?} is none of disable, allow, prefer, require, verify-ca and verify-full"));
        }
    };
    let roots = match given.take("sslrootcert") {
        Some(file) if file == "system" => Roots::System { asked: true },
        Some(file) => Roots::File(file.into()),
        None => around.own_file("root.crt").map_or(Roots::System { asked: false }, Roots::File),
    };
    let mut own = |key: &str, usual: &str| given.take(key).map(PathBuf::from).or_else(|| around.own_file(usual));
    let (cert, key) = (own("sslcert", "postgresql.crt"), own("sslkey", "postgresql.key"));
    if cert.is_some() && key.is_none() {
        return Err("a client certificate is two files: give sslkey= besides sslcert=".to_owned());
    }
    Ok(Tls { mode, roots, key: key.filter(|_| cert.is_some()), cert })
}

fn connect_timeout(text: Option<String>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let seconds: i64 = text.parse().map_err(|_| format!("connect_timeout={text:?} is no number of seconds"))?;
    // Libpq: none at all for zero and less, and never less than two seconds.
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.max(2) as u64)))
}

fn wants_primary(text: Option<&str>) -> Result<bool, String> {
    match text {
        Some("any") => Ok(false),
        None | Some("read-write" | "primary") => Ok(true),
        Some(other) => Err(format!(
            "target_session_attrs={other:?} can't hold locks: use read-write, primary or any, for a lock must be written"
        )),
    }
}

/// It is a schema's name.
fn prefix(text: Option<String>) -> Result<String, String> {
    let prefix = text.map_or_else(|| Ok(words::DEFAULT_PREFIX.to_owned()), |text| words::prefix(&text))?;
    if prefix.len() > LONGEST_NAME || prefix.starts_with("pg_") {
        return Err(format!("prefix={prefix:?} is no schema for locks: use at most {LONGEST_NAME} characters, without pg_"));
    }
    Ok(prefix)
}

fn fresh(text: Option<&str>) -> Result<bool, String> {
    text.map_or(Ok(false), |text| text.parse().map_err(|_| format!("fresh={text:?} is neither true nor false")))
}

fn only_without(text: Option<&str>, what: &str) -> Result<(), String> {
    match text {
        None | Some("disable" | "prefer") => Ok(()),
        Some(other) => Err(format!("{what}={other} is more than vaultlock can do: use TLS with sslmode=verify-full")),
    }
}
