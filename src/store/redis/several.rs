//! URLs of several hosts: sentinels that tell where the primary is, and the nodes of a cluster. Pure, but for a password's file.

use std::path::PathBuf;

use url::form_urlencoded;

use super::address::{Address, Place, db};
use crate::secret::Secret;
use crate::store::Error;
use crate::store::wire::hosts::{self, Host};
use crate::store::wire::tls::TlsFiles;
use crate::store::wire::words::{DEFAULT_PREFIX, decoded};

const SENTINELS: (&str, &str) = ("a redis+sentinel URL", "redis+sentinel://HOST:26379,HOST,HOST/MASTER");
const NODES: (&str, &str) = ("a redis+cluster URL", "redis+cluster://HOST:6379,HOST,HOST");

/// Hosts that are asked where a lock is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Several {
    pub by: By,
    pub hosts: Vec<Host>,
    pub tls: Option<TlsFiles>,
}

/// What the hosts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Sentinels { master: String, user: Option<String>, password_file: Option<PathBuf> },
    Nodes,
}

impl Address {
    /// Reads `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST/MASTER/DB` and `redis+cluster://USER:PASSWORD@HOST:PORT,HOST`, with
    /// `rediss` for TLS; `query` is what stands behind the question mark, without what every store's URL may have.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn of_several(head: &str, query: &[(String, String)]) -> Result<Address, String> {
        let (scheme, rest) = head.split_once("://").unwrap_or((head, ""));
        let scheme = scheme.to_ascii_lowercase();
        if head.contains('#') {
            return Err("a redis URL has no #fragment: write # as %23".to_owned());
        }
        // The last one, as browsers do: half a password must not be taken for a host.
        let (secrets, rest) = rest.rsplit_once('@').map_or((None, rest), |(secrets, rest)| (Some(secrets), rest));
        let (user, password) = match secrets.map(|secrets| secrets.split_once(':').unwrap_or((secrets, ""))) {
            Some((user, password)) => (decoded(user, "the user")?, decoded(password, "the password")?.map(Secret::new)),
            None => (None, None),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let tls = scheme.starts_with("rediss+").then(TlsFiles::default);
        let (several, db) = match scheme.ends_with("+sentinel") {
            true => {
                let (master, db) = master(path)?;
                let hosts = hosts::read(hosts, 26379, SENTINELS)?;
                (Several { by: By::Sentinels { master, user: None, password_file: None }, hosts, tls }, db)
            }
            false if path.is_empty() => (Several { by: By::Nodes, hosts: hosts::read(hosts, 6379, NODES)?, tls }, 0),
            false => {
                return Err(
                    "a redis+cluster URL has no path: a cluster has one database; write / in a password as %2F".to_owned()
                );
            }
        };
        let mut address = Address::at(Place::Several(several), user, password, db);
        for (key, value) in query {
            address.set(key, value)?;
        }
        address.check()?;
        address.bare = address.spelled();
        Ok(address)
    }

    /// One of the servers that the hosts told of.
    pub(super) fn server(&self, host: &Host) -> Address {
        Address { place: self.end(host), ..self.clone() }
    }

    /// One of the hosts that are asked.
    ///
    /// # Errors
    /// The sentinels' password can't be read.
    pub(super) fn post(&self, host: &Host) -> Result<Address, Error> {
        let mut post = Address { place: self.end(host), db: 0, ..self.clone() };
        if let Place::Several(Several { by: By::Sentinels { user, password_file, .. }, .. }) = &self.place {
            post.user = user.clone();
            post.password = password_file.as_ref().map(read_password).transpose()?;
        }
        Ok(post)
    }

    fn end(&self, Host { host, port }: &Host) -> Place {
        let tls = match &self.place {
            Place::Several(Several { tls, .. }) | Place::Tcp { tls, .. } => tls.clone(),
            Place::Unix(_) => None,
        };
        Place::Tcp { host: host.clone(), port: *port, tls }
    }

    /// The URL without its secrets.
    fn spelled(&self) -> String {
        let Place::Several(several) = &self.place else { return String::new() };
        let mut query = form_urlencoded::Serializer::new(String::new());
        let files = several.tls.clone().unwrap_or_default();
        let mut path = String::new();
        if let By::Sentinels { master, user, password_file } = &several.by {
            path = if self.db == 0 { format!("/{master}") } else { format!("/{master}/{}", self.db) };
            query.extend_pairs(user.iter().map(|user| ("sentinel_user", user)));
            query.extend_pairs(password_file.iter().map(|file| ("sentinel_password_file", file.to_string_lossy())));
        }
        if self.prefix != DEFAULT_PREFIX {
            query.append_pair("prefix", &self.prefix);
        }
        if self.fresh {
            query.append_pair("fresh", "true");
        }
        if self.noinfo {
            query.append_pair("noinfo", "true");
        }
        for (key, file) in [("cacert", files.cacert), ("cert", files.cert), ("key", files.key)] {
            query.extend_pairs(file.iter().map(|file| (key, file.to_string_lossy())));
        }
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}://{}{path}{mark}{query}", several.scheme(), hosts::joined(&several.hosts))
    }
}

impl Several {
    fn scheme(&self) -> String {
        let tls = if self.tls.is_some() { "rediss" } else { "redis" };
        let by = if matches!(self.by, By::Nodes) { "cluster" } else { "sentinel" };
        format!("{tls}+{by}")
    }

    /// How many of the hosts must say the same.
    pub fn majority(&self) -> usize {
        self.hosts.len() / 2 + 1
    }

    /// What the hosts are called.
    pub fn told(&self) -> &'static str {
        if matches!(self.by, By::Nodes) { "nodes" } else { "sentinels" }
    }

    pub fn display(&self) -> String {
        let hosts = hosts::joined(&self.hosts);
        match &self.by {
            By::Sentinels { master, .. } => format!("redis {master} of the sentinels at {hosts}"),
            By::Nodes => format!("the redis cluster at {hosts}"),
        }
    }

    pub fn identity(&self) -> String {
        let mut hosts = self.hosts.clone();
        hosts.sort();
        let master = if let By::Sentinels { master, .. } = &self.by { master } else { "" };
        format!("{}-{}-{master}", self.scheme(), hosts::joined(&hosts))
    }
}

/// The path of a sentinel URL: the primary's name, and perhaps a database.
fn master(path: &str) -> Result<(String, u32), String> {
    let (name, number) = path.split_once('/').unwrap_or((path, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        // It may be half a password: not to be shown.
        return Err(format!("the path of a redis+sentinel URL is the primary's name, as its sentinels know it: {}", SENTINELS.1));
    }
    Ok((name.to_owned(), if number.is_empty() { 0 } else { db(number)? }))
}

fn read_password(file: &PathBuf) -> Result<Secret, Error> {
    let unusable = |why: &dyn std::fmt::Display| {
        Error::Refused(format!("can't use sentinel_password_file={}: {why}; give a readable file", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error.kind()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unusable(&"it is empty")),
        text if text.contains('\n') => Err(unusable(&"it has several lines")),
        text => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Server as _;

    fn read(url: &str) -> Result<Address, String> {
        let (head, query) = url.split_once('?').unwrap_or((url, ""));
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Address::of_several(head, &pairs)
    }

    #[test]
    fn hosts_master_and_database_are_read_and_written_without_secrets() {
        for (url, bare) in [
            ("redis+sentinel://a,b:1,[::1]/main", "redis+sentinel://a:26379,b:1,[::1]:26379/main"),
            (
                "rediss+sentinel://me:p%40ss@A/main/3?cacert=/ca&sentinel_user=eye&sentinel_password_file=/p",
                "rediss+sentinel://a:26379/main/3?sentinel_user=eye&sentinel_password_file=%2Fp&cacert=%2Fca",
            ),
            ("redis+cluster://:secret@a,b,c:7000/?prefix=ci", "redis+cluster://a:6379,b:6379,c:7000?prefix=ci"),
        ] {
            let address = read(url).unwrap();
            assert_eq!(address.without_secrets(), bare);
            assert_eq!(read(bare).unwrap().identity(), address.identity(), "one store");
            assert_eq!(address.has_secret(), url.contains('@'));
        }
        assert_eq!(read("redis+cluster://b,a").unwrap().identity(), read("redis+cluster://a,b").unwrap().identity());
        assert_ne!(read("redis+sentinel://a/x").unwrap().identity(), read("redis+sentinel://a/y").unwrap().identity());
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (url, part) in [
            ("redis+sentinel://a,b", "the primary's name"),
            ("redis+sentinel://:secret@a,b/x y", "the primary's name"),
            ("redis+sentinel://:secret@a,b/x/one", "not a redis database"),
            ("redis+sentinel://:secret@/x", "needs hosts"),
            ("redis+sentinel://:secret@a,,b/x", "empty"),
            ("redis+sentinel://a,a/x", "twice"),
            ("redis+cluster://:secret@a:0", "not a number"),
            ("redis+cluster://a/3", "one database"),
            ("redis+cluster://a?sentinel_user=x", "no parameter"),
            ("redis+cluster://a?cacert=/x", "needs TLS"),
            ("rediss+cluster://a?cert=/x", "two files"),
        ] {
            let why = read(url).unwrap_err();
            assert!(why.contains(part) && !why.contains("secret"), "{url}: {why}");
        }
    }
}
