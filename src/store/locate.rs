//! From what names a store, a URL or a path, to the store.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::engines::{self, max_ttl_of};
use super::file::{FileStore, address, default_dir};
use super::{Server, Store, Terms};
use crate::time::Clock;
use crate::timing::DEFAULT_TTL;

/// Where a store is, read and checked, but not touched.
#[derive(Clone, Debug)]
pub struct Location {
    engine: Engine,
    max_ttl: Duration,
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
    Server(Rc<dyn Server>),
}

/// Why a text is not a store's URL. It never quotes a password.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadUrl(pub(super) String);

impl Location {
    /// The store named by a URL or a path.
    ///
    /// # Errors
    /// [`BadUrl`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Location, BadUrl> {
        if text.is_empty() {
            return Err(bad("the store's URL is empty: name a directory or a server, such as redis://localhost"));
        }
        if let Some((scheme, _)) = text.split_once(':')
            && !text.contains("://")
            && (scheme.eq_ignore_ascii_case("file") || engines::knows(scheme))
        {
            return Err(bad(format!(
                "a store's URL goes on with // after its scheme: write {scheme}://, or ./{scheme}: if it is a directory"
            )));
        }
        if !text.contains("://") {
            let dir = address::from_path(Path::new(text)).map_err(BadUrl)?;
            return Ok(Location::new(Engine::File { dir, default: false }, DEFAULT_TTL));
        }
        let (scheme, _) = text.split_once("://").unwrap_or_default();
        if scheme.eq_ignore_ascii_case("file") {
            address::refuse_host(text).map_err(BadUrl)?;
            let (url, max_ttl) = max_ttl_of(text)?;
            return Ok(Location::new(Engine::File { dir: address::from_url(&url).map_err(BadUrl)?, default: false }, max_ttl));
        }
        let (server, max_ttl) = engines::read(&scheme.to_ascii_lowercase(), text)?;
        Ok(Location::new(Engine::Server(server), max_ttl))
    }

    /// The file store where nothing was said.
    ///
    /// # Errors
    /// This user has no home for it.
    pub fn default_store() -> Result<Location, super::Error> {
        let engine = Engine::File { dir: default_dir()?, default: true };
        Ok(Location::new(engine, DEFAULT_TTL))
    }

    fn new(engine: Engine, max_ttl: Duration) -> Location {
        Location { engine, max_ttl, real: OnceCell::new() }
    }

    /// The store, not yet connected. `request` is how long one request may take.
    pub fn open(&self, request: Duration) -> Box<dyn Store> {
        match &self.engine {
            Engine::File { dir, .. } => Box::new(FileStore::new(dir, self.max_ttl).known_as(self.real.get())),
            Engine::Server(server) => server.open(&Terms { request, max_ttl: self.max_ttl }),
        }
    }

    /// Whether the URL itself holds a password: whoever reads it on a command line knows it.
    pub fn password_in_url(&self) -> bool {
        matches!(&self.engine, Engine::Server(server) if server.password_in_url())
    }

    /// The longest ttl anyone may ask for here.
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// The clock its leases run on.
    pub fn clock(&self) -> Clock {
        match self.engine {
            Engine::File { .. } => Clock::Monotonic,
            Engine::Server(_) => Clock::Boottime,
        }
    }

    /// What it is called in messages, without any secret.
    pub fn display(&self) -> String {
        match &self.engine {
            Engine::File { dir, .. } => format!("the file store {}", dir.display()),
            Engine::Server(server) => server.display(),
        }
    }

    /// What whoever waits for a store that may have forgotten should know of one that was never used before.
    pub fn first_use(&self) -> &'static str {
        match &self.engine {
            Engine::File { .. } => "",
            Engine::Server(server) => server.first_use(),
        }
    }

    /// Two URLs of one store share this; 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let identity = match &self.engine {
            Engine::File { dir, .. } => format!("file {}", self.real.get_or_init(|| address::resolved(dir)).display()),
            Engine::Server(server) => server.identity(),
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
            Engine::Server(_) => state().map(|state| state.join("notes").join(self.fingerprint())),
        }
    }

    /// The URL as the job may see it: without user and password.
    pub fn for_job(&self) -> String {
        let mut url = match &self.engine {
            Engine::File { dir, .. } => address::url_of(dir),
            Engine::Server(server) => server.without_secrets(),
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
            Engine::Server(server) => server.has_secret(),
        }
    }
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
            "redis+sentinel://:secret@a,b:26380,c/main/2?max_ttl=20s",
            "rediss+sentinel://a,b/main",
            "redis+cluster://a:7000,b",
            "etcd://a:2379,b,c?max_ttl=20s",
            "zk://a:2181,b/locks?max_ttl=20s",
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
            ("redis+cluster://a,b/1", "one database"),
            ("redis+sentinel://:secret@a,b", "the primary's name"),
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
