//! A ZooKeeper store's URL: the members' hosts, below which node the locks are, and who we are. Pure.
//!
//! `url` reads one host with its port; here there are several, so the part before the query is read by hand.

use super::ZooKeeper;
use super::request::Access;
use crate::secret::Secret;
use crate::store::wire::hosts::{self, Host};
use crate::store::wire::words::{DEFAULT_PREFIX, decoded};
use crate::store::{Server, Store, Terms};

const DEFAULT_PORT: u16 = 2181;
/// How the messages tell of its URL.
const FORM: (&str, &str) = ("a zk URL", "zk://HOST:PORT,HOST:PORT");
const LONGEST_CHROOT: usize = 200;

/// Where a ZooKeeper ensemble is and how to enter it.
#[derive(Clone, Debug)]
pub struct Address {
    /// In the order in which they are tried.
    pub(super) members: Vec<Host>,
    user: Option<String>,
    password: Option<Secret>,
    /// The node below which all of ours are: `/vaultlock`.
    pub(super) chroot: String,
}

impl Address {
    /// Reads `zk://USER:PASSWORD@HOST:PORT,HOST:PORT/CHROOT` and `zookeeper://`; `query` is what stands behind the question mark,
    /// without what every store's URL may have.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be; never shows the user or the password.
    pub fn parse(head: &str, query: &[(String, String)]) -> Result<Address, String> {
        let (_scheme, rest) = head.split_once("://").unwrap_or((head, ""));
        if head.contains('#') {
            return Err("a zk URL has no #fragment: write # as %23".to_owned());
        }
        // The last one, as browsers do: half a password must not be taken for a host.
        let (secrets, rest) = rest.rsplit_once('@').map_or((None, rest), |(secrets, rest)| (Some(secrets), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = match secrets.map(|secrets| secrets.split_once(':').unwrap_or((secrets, ""))) {
            Some((user, password)) => (decoded(user, "the user")?, decoded(password, "the password")?),
            None => (None, None),
        };
        if secrets.is_some() && (user.is_none() || password.is_none()) {
            return Err("a user and a password go together: write zk://USER:PASSWORD@HOST:PORT".to_owned());
        }
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err("the user in the URL holds a colon, which ZooKeeper's digest does not know: choose another".to_owned());
        }
        if let Some((key, _)) = query.first() {
            return Err(match key.as_str() {
                "prefix" => "a zk URL has no prefix=: the node for the locks is its path, zk://HOST:PORT/NODE".to_owned(),
                "fresh" => "a zk URL has no fresh=: ZooKeeper forgets nothing, only its very first use waits once".to_owned(),
                "user" | "pass" | "password" => {
                    "user and password stand before the hosts: write zk://USER:PASSWORD@HOST:PORT".to_owned()
                }
                word if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    format!("a zk URL has no parameter {word:?}: it has max_ttl")
                }
                // Half a password, if that held a question mark: not to be shown.
                _ => "the URL has a parameter that is no word: write ? as %3F and & as %26".to_owned(),
            });
        }
        Ok(Address {
            members: hosts::read(hosts, DEFAULT_PORT, FORM)?,
            user,
            password: password.map(Secret::new),
            chroot: chroot(path)?,
        })
    }

    /// What is shown to a server as proof of who we are.
    pub(super) fn login(&self) -> Option<String> {
        let (user, password) = (self.user.as_ref()?, self.password.as_ref()?);
        Some(format!("{user}:{}", password.reveal()))
    }

    /// Whose all that we make is.
    pub(super) fn access(&self) -> Access {
        if self.user.is_some() { Access::Creator } else { Access::Everybody }
    }

    fn hosts(&self) -> String {
        hosts::joined(&self.members)
    }
}

impl Server for Address {
    fn open(&self, terms: &Terms) -> Box<dyn Store> {
        Box::new(ZooKeeper::open(self.clone(), terms))
    }

    fn display(&self) -> String {
        format!("zookeeper at {}", self.hosts())
    }

    fn identity(&self) -> String {
        let mut members = self.members.clone();
        members.sort();
        let hosts: Vec<String> = members.iter().map(|member| format!("{}-{}", member.host, member.port)).collect();
        format!("zk-{}-{}", hosts.join(","), self.chroot)
    }

    fn without_secrets(&self) -> String {
        let path = if self.chroot == format!("/{DEFAULT_PREFIX}") { "" } else { &self.chroot };
        format!("zk://{}{path}", self.hosts())
    }

    fn has_secret(&self) -> bool {
        self.user.is_some()
    }

    fn password_in_url(&self) -> bool {
        self.password.is_some()
    }

    fn first_use(&self) -> &'static str {
        "an ensemble's very first use takes this long, and no other"
    }
}

/// The node that a URL's path names.
fn chroot(path: &str) -> Result<String, String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(format!("/{DEFAULT_PREFIX}"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ':' | '~');
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain);
    let parts: Vec<&str> = path.split('/').collect();
    if path.len() > LONGEST_CHROOT || !parts.iter().all(|part| is_name(part)) {
        return Err(format!(
            "the path in a zk URL is no node for locks: use up to {LONGEST_CHROOT} letters, digits, / _ . : ~ or -, and write / in a \
             password as %2F"
        ));
    }
    if parts[0] == "zookeeper" {
        return Err("the node /zookeeper is ZooKeeper's own: choose another path in the URL".to_owned());
    }
    Ok(format!("/{path}"))
}
