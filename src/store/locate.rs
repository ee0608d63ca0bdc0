//! The only list of engines: from a store's URL to the store.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use thiserror::Error;
use url::Url;

use super::etcd::{self, Etcd};
use super::file::{FileStore, address, default_dir};
use super::postgres::{self, Postgres, Surroundings};
use super::redis::{Address, Redis};
use super::{Store, Terms};
use crate::time::Clock;
use crate::timing::{DEFAULT_TTL, LONGEST_TTL, SHORTEST_TTL};

/// Engines that the product promises and this version does not have yet.
const LATER: [&str; 3] = ["zk", "zookeeper", "redis+sentinel"];

/// Where a store is, read and checked, but not touched.
#[derive(Clone, Debug)]
pub struct Location {
    engine: Engine,
    max_ttl: Duration,
    password_in_url: bool,
    /// A file store's path without links, once somebody asked.
    real: OnceCell<PathBuf>,
}

#[derive(Clone, Debug)]
enum Engine {
    /// The directory, and whether nobody chose it.
    File {
        dir: PathBuf,
        default: bool,
    },
    Redis(Address),
    Postgres(Box<postgres::Address>),
    Etcd(etcd::Address),
}

/// Why a text is not a store's URL. It never quotes a password.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadUrl(String);

impl Location {
    /// The store named by a URL or a path.
    ///
    /// # Errors
    /// [`BadUrl`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Location, BadUrl> {
        if text.is_empty() {
            return Err(bad("the store's URL is empty: name a directory or a server, such as redis://localhost"));
        }
        if !text.contains("://") {
            let dir = address::from_path(Path::new(text)).map_err(BadUrl)?;
            return Ok(Location::new(Engine::File { dir, default: false }, DEFAULT_TTL, false));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Location::of_postgres(text, &Surroundings::here());
        }
        if etcd::Address::is_meant(text) {
            return from_etcd_url(text);
        }
        refuse_foreign_letters(text)?;
        let url = Url::parse(text).map_err(|error| bad(format!("the store's URL can't be read: {error}")))?;
        let password_in_url = url.password().is_some() || url.query_pairs().any(|(key, _)| key == "pass");
        let (url, max_ttl) = take_max_ttl(url)?;
        let engine = match url.scheme() {
            "file" => Engine::File { dir: address::from_url(&url).map_err(BadUrl)?, default: false },
            "redis" | "rediss" | "redis+unix" => {
                let address = Address::parse(&url).map_err(BadUrl)?;
                Engine::Redis(address.or_password(std::env::var("REDISCLI_AUTH").ok()))
            }
            "redis+cluster" => return Err(later("redis+cluster")),
            scheme if LATER.contains(&scheme) => return Err(later(scheme)),
            scheme => {
                return Err(bad(format!(
                    "there is no engine {scheme}://: use file:///dir, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://"
                )));
            }
        };
        Ok(Location::new(engine, max_ttl, password_in_url))
    }

    /// Its URL names several hosts and leaves out what libpq's users set around it, so no other reads it.
    fn of_postgres(text: &str, around: &Surroundings) -> Result<Location, BadUrl> {
        let address = postgres::Address::parse(text, around).map_err(BadUrl)?;
        let max_ttl = address.max_ttl().map_or(Ok(DEFAULT_TTL), max_ttl_in_range)?;
        let password_in_url = address.password_in_url();
        Ok(Location::new(Engine::Postgres(Box::new(address)), max_ttl, password_in_url))
    }

    /// The file store where nothing was said.
    ///
    /// # Errors
    /// This user has no home for it.
    pub fn default_store() -> Result<Location, super::Error> {
        let engine = Engine::File { dir: default_dir()?, default: true };
        Ok(Location::new(engine, DEFAULT_TTL, false))
    }

    fn new(engine: Engine, max_ttl: Duration, password_in_url: bool) -> Location {
        Location { engine, max_ttl, password_in_url, real: OnceCell::new() }
    }

    /// The store, not yet connected. `request` is how long one request may take.
    pub fn open(&self, request: Duration) -> Box<dyn Store> {
        match &self.engine {
            Engine::File { dir, .. } => Box::new(FileStore::new(dir, self.max_ttl).known_as(self.real.get())),
            Engine::Redis(address) => Box::new(Redis::open(address.clone(), &Terms { request, max_ttl: self.max_ttl })),
            Engine::Postgres(address) => Box::new(Postgres::open((**address).clone(), &Terms { request, max_ttl: self.max_ttl })),
            Engine::Etcd(address) => Box::new(Etcd::open(address.clone(), &Terms { request, max_ttl: self.max_ttl })),
        }
    }

    /// Whether the URL itself holds a password: whoever reads it on a command line knows it.
    pub fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    /// The longest ttl anyone may ask for here.
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// The clock its leases run on.
    pub fn clock(&self) -> Clock {
        match self.engine {
            Engine::File { .. } => Clock::Monotonic,
            Engine::Redis(_) | Engine::Postgres(_) | Engine::Etcd(_) => Clock::Boottime,
        }
    }

    /// What it is called in messages, without any secret.
    pub fn display(&self) -> String {
        match &self.engine {
            Engine::File { dir, .. } => format!("the file store {}", dir.display()),
            Engine::Redis(address) => address.display(),
            Engine::Postgres(address) => address.display(),
            Engine::Etcd(address) => address.display(),
        }
    }

    /// What whoever waits for a store that may have forgotten should know of one that was never used before.
    pub fn first_use(&self) -> &'static str {
        match self.engine {
            Engine::Etcd(_) => "a cluster's very first use takes this long, and no other",
            _ => "for a server that was never used before, fresh=true in the store's URL skips this once",
        }
    }

    /// Two URLs of one store share this; 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let identity = match &self.engine {
            Engine::File { dir, .. } => format!("file {}", self.real.get_or_init(|| address::resolved(dir)).display()),
            Engine::Redis(address) => address.identity(),
            Engine::Postgres(address) => address.identity(),
            Engine::Etcd(address) => address.identity(),
        };
        Sha256::digest(identity.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Where this host keeps its notes on the store's locks. A store that was chosen keeps its own; the others' notes
    /// must outlive a reboot, as /run does not.
    pub fn notes_dir(&self) -> Option<PathBuf> {
        let state = || match geteuid().is_root() {
            true => Some(PathBuf::from("/var/lib/vaultlock")),
            false => default_dir().ok(),
        };
        match &self.engine {
            Engine::File { dir, default: false } => Some(dir.join("notes")),
            Engine::File { default: true, .. } => state().map(|state| state.join("notes/local")),
            Engine::Redis(_) | Engine::Postgres(_) | Engine::Etcd(_) => {
                state().map(|state| state.join("notes").join(self.fingerprint()))
            }
        }
    }

    /// The URL as the job may see it: without user and password.
    pub fn for_job(&self) -> String {
        let mut url = match &self.engine {
            Engine::File { dir, .. } => address::url_of(dir),
            Engine::Redis(address) => address.without_secrets(),
            Engine::Postgres(address) => address.without_secrets(),
            Engine::Etcd(address) => address.without_secrets(),
        };
        if self.max_ttl != DEFAULT_TTL {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("max_ttl={}ms", self.max_ttl.as_millis()));
        }
        url
    }

    /// Whether it can't be reached without a user or password that [`Location::for_job`] leaves out.
    pub fn has_secret(&self) -> bool {
        match &self.engine {
            Engine::File { .. } => false,
            Engine::Redis(address) => address.has_secret(),
            Engine::Postgres(address) => address.has_secret(),
            Engine::Etcd(address) => address.has_secret(),
        }
    }
}

/// `url` knows one host; here its query alone is for it.
fn from_etcd_url(text: &str) -> Result<Location, BadUrl> {
    let (head, query) = text.split_once('?').unwrap_or((text, ""));
    let url = Url::parse(&format!("etcd://members/?{query}")).map_err(|_| bad("the store's URL can't be read"))?;
    let (url, max_ttl) = take_max_ttl(url)?;
    let query: Vec<(String, String)> = url.query_pairs().map(|(key, value)| (key.into(), value.into())).collect();
    let address = etcd::Address::parse(head, &query).map_err(BadUrl)?;
    let password_in_url = address.password_in_url();
    let (user, password) = (std::env::var("ETCDCTL_USER").ok(), std::env::var("ETCDCTL_PASSWORD").ok());
    Ok(Location::new(Engine::Etcd(address.or_login(user, password)), max_ttl, password_in_url))
}

fn take_max_ttl(mut url: Url) -> Result<(Url, Duration), BadUrl> {
    let mut max_ttl = None;
    let mut rest = Vec::new();
    for (key, value) in url.query_pairs() {
        if key == "max_ttl" {
            max_ttl = Some(max_ttl_in_range(&value)?);
        } else {
            rest.push((key.into_owned(), value.into_owned()));
        }
    }
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    Ok((url, max_ttl.unwrap_or(DEFAULT_TTL)))
}

fn max_ttl_in_range(text: &str) -> Result<Duration, BadUrl> {
    let max_ttl = crate::duration::parse(text).map_err(|error| bad(format!("max_ttl in the store's URL: {error}")))?;
    if (SHORTEST_TTL..=LONGEST_TTL).contains(&max_ttl) {
        return Ok(max_ttl);
    }
    let (shortest, longest) = (humantime::format_duration(SHORTEST_TTL), humantime::format_duration(LONGEST_TTL));
    Err(bad(format!("max_ttl in the store's URL must be from {shortest} to {longest}")))
}

/// `url` is built without the tables of the world's letters, and names of hosts are not looked up in them.
fn refuse_foreign_letters(text: &str) -> Result<(), BadUrl> {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#', '\\']).next().unwrap_or_default());
    match authority.rsplit('@').next().is_some_and(|host| !host.is_ascii()) {
        true => {
            Err(bad("the host in the store's URL has letters that are not ASCII: write it as DNS has it, such as xn--bse-sna"))
        }
        false => Ok(()),
    }
}

fn later(scheme: &str) -> BadUrl {
    bad(format!(
        "the engine {scheme}:// is not in this version yet: use file:///dir, redis://, rediss://, redis+unix://, postgres://, etcd:// or \
         etcds://"
    ))
}

fn bad(text: impl Into<String>) -> BadUrl {
    BadUrl(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_a_reason() {
        for good in [
            "/srv/locks",
            "relative/dir",
            "file:///srv/locks",
            "file:///srv/locks?max_ttl=10s",
            "redis://localhost",
            "redis://[::1]:6380/3?prefix=ci&max_ttl=90",
            "rediss://user:secret@db.example:6380/0?cacert=/etc/ca.pem",
            "redis+unix:///run/redis.sock?db=2",
            "postgres://db/locks?sslmode=require",
            "etcd://a:2379,b,c?max_ttl=20s",
        ] {
            assert!(Location::parse(good).is_ok(), "{good}: {:?}", Location::parse(good));
        }
        for (wrong, part) in [
            ("", "empty"),
            ("file://host/dir", "three slashes"),
            ("file:///dir?prefix=x", "no parameter"),
            ("file:///dir?max_ttl=0", "max_ttl"),
            ("file:///dir?max_ttl=nonsense", "not a duration"),
            ("file:///dir?max_ttl=25h", "max_ttl"),
            ("zk://db", "not in this version"),
            ("redis+cluster://a,b", "not in this version"),
            ("gopher://hole", "no engine gopher"),
            ("redis://:secret@h:99999", "port"),
            ("redis://:secret@Böse:1", "not ASCII"),
        ] {
            let complaint = Location::parse(wrong).unwrap_err().to_string();
            assert!(complaint.contains(part) && !complaint.contains("secret"), "{wrong}: {complaint}");
        }
    }

    #[test]
    fn the_job_sees_the_store_without_user_and_password() {
        for (url, bare) in [
            ("redis://alice:secret@h:7000/2?max_ttl=10s&prefix=ci", "redis://h:7000/2?prefix=ci&max_ttl=10000ms"),
            ("redis://:secret@h", "redis://h"),
            ("redis+unix:///s?user=alice&pass=secret&db=1", "redis+unix:///s?db=1"),
            ("file:///srv/my%20locks?max_ttl=5s", "file:///srv/my%20locks?max_ttl=5000ms"),
        ] {
            let location = Location::parse(url).unwrap();
            assert_eq!(location.for_job(), bare);
            let again = Location::parse(&location.for_job()).unwrap();
            assert_eq!((again.max_ttl(), again.fingerprint()), (location.max_ttl(), location.fingerprint()), "one store");
            assert_eq!(location.password_in_url(), url.contains("secret"));
        }
    }

    #[test]
    fn a_store_keeps_its_fingerprint_when_its_first_use_makes_it() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(place.path(), place.path().join("link")).unwrap();
        let dir = place.path().join("link/new/store");
        let before = Location::parse(dir.to_str().unwrap()).unwrap().fingerprint();
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(Location::parse(dir.to_str().unwrap()).unwrap().fingerprint(), before);
    }
}
