//! An etcd store's URL: the members' hosts, how they are spoken to, and under which keys. Pure.
//!
//! `url` reads one host with its port; here there are several, so the part before the query is read by hand.

use std::path::PathBuf;

use url::form_urlencoded;

use super::Etcd;
use crate::secret::Secret;
use crate::store::wire::hosts::{self, Host};
use crate::store::wire::tls::TlsFiles;
use crate::store::wire::words::{DEFAULT_PREFIX, decoded, prefix};
use crate::store::{Server, Store, Terms};

const DEFAULT_PORT: u16 = 2379;
/// How the messages tell of its URL.
const FORM: (&str, &str) = ("an etcd URL", "etcd://HOST:PORT,HOST:PORT");

/// Where an etcd cluster is and how to enter it.
#[derive(Clone, Debug)]
pub struct Address {
    /// In the order in which they are tried.
    pub(super) members: Vec<Host>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) prefix: String,
    secret_in_url: bool,
    password_in_url: bool,
}

impl Address {
    /// Reads `etcd://USER:PASSWORD@HOST:PORT,HOST:PORT` and `etcds://`; `query` is what stands behind the question mark, without
    /// what every store's URL may have.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be; never shows the user or the password.
    pub fn parse(head: &str, query: &[(String, String)]) -> Result<Address, String> {
        let (scheme, rest) = head.split_once("://").unwrap_or((head, ""));
        let tls = scheme.eq_ignore_ascii_case("etcds").then(TlsFiles::default);
        if head.contains('#') {
            return Err("an etcd URL has no #fragment: write # as %23".to_owned());
        }
        // The last one, as browsers do: half a password must not be taken for a host.
        let (secrets, rest) = rest.rsplit_once('@').map_or((None, rest), |(secrets, rest)| (Some(secrets), rest));
        let hosts = rest.strip_suffix('/').unwrap_or(rest);
        if hosts.contains('/') {
            return Err("an etcd URL has no path: give prefix=NAME for the keys, and write / in a password as %2F".to_owned());
        }
        let (user, password) = match secrets.map(|secrets| secrets.split_once(':').unwrap_or((secrets, ""))) {
            Some((user, password)) => (decoded(user, "the user")?, decoded(password, "the password")?.map(Secret::new)),
            None => (None, None),
        };
        let mut address = Address {
            members: hosts::read(hosts, DEFAULT_PORT, FORM)?,
            tls,
            secret_in_url: user.is_some() || password.is_some(),
            password_in_url: password.is_some(),
            user,
            password,
            prefix: DEFAULT_PREFIX.to_owned(),
        };
        for (key, value) in query {
            address.set(key, value)?;
        }
        address.check()?;
        Ok(address)
    }

    /// Takes user and password from `ETCDCTL_USER` (`USER` or `USER:PASSWORD`) and `ETCDCTL_PASSWORD`, given as their values, as
    /// far as the URL has none.
    #[must_use]
    pub fn or_login(mut self, etcdctl_user: Option<String>, etcdctl_password: Option<String>) -> Address {
        let told = etcdctl_user.filter(|text| !text.is_empty());
        let (user, password) = match told.as_deref().map(|told| told.split_once(':').unwrap_or((told, ""))) {
            Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
            None => (None, None),
        };
        let same_user = self.user.is_none() || self.user == user;
        self.user = self.user.or(user);
        if self.password.is_none() && self.user.is_some() {
            let own = password.filter(|text| same_user && !text.is_empty());
            self.password = own.or(etcdctl_password.filter(|text| !text.is_empty())).map(Secret::new);
        }
        self
    }

    /// The text with the password struck out of it.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.password.as_ref().map_or_else(|| text.to_owned(), |password| password.scrub(text))
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "etcds" } else { "etcd" }
    }

    fn hosts(&self) -> String {
        hosts::joined(&self.members)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let file = || (!value.is_empty()).then(|| PathBuf::from(value)).ok_or(format!("{key}= needs a file"));
        match (&mut self.tls, key) {
            (_, "prefix") => self.prefix = prefix(value)?,
            (Some(files), "cacert") => files.cacert = Some(file()?),
            (Some(files), "cert") => files.cert = Some(file()?),
            (Some(files), "key") => files.key = Some(file()?),
            (None, "cacert" | "cert" | "key") => return Err(format!("{key}= needs TLS: write etcds:// instead")),
            (_, "user" | "pass" | "password") => {
                return Err("user and password stand before the hosts: write etcd://USER:PASSWORD@HOST:PORT".to_owned());
            }
            (_, "fresh") => {
                return Err("an etcd URL has no fresh=: etcd forgets nothing, only its very first use waits once".to_owned());
            }
            _ if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                // Half a password, if that held a question mark: not to be shown.
                return Err("the URL has a parameter that is no word: write ? as %3F and & as %26".to_owned());
            }
            (Some(_), _) => {
                return Err(format!("an etcds URL has no parameter {key:?}: it has prefix, max_ttl, cacert, cert and key"));
            }
            (None, _) => return Err(format!("an etcd URL has no parameter {key:?}: it has prefix and max_ttl")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.password.is_some() && self.user.is_none() {
            return Err("a password needs its user: write etcd://USER:PASSWORD@HOST:PORT".to_owned());
        }
        match &self.tls {
            Some(files) if files.cert.is_some() != files.key.is_some() => {
                Err("a client certificate is two files: give both cert= and key=".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Server for Address {
    fn open(&self, terms: &Terms) -> Box<dyn Store> {
        Box::new(Etcd::open(self.clone(), terms))
    }

    fn display(&self) -> String {
        format!("etcd at {}", self.hosts())
    }

    fn identity(&self) -> String {
        let mut members = self.members.clone();
        members.sort();
        let hosts: Vec<String> = members.iter().map(|member| format!("{}-{}", member.host, member.port)).collect();
        format!("{}-{}-{}", self.scheme(), hosts.join(","), self.prefix)
    }

    fn without_secrets(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if self.prefix != DEFAULT_PREFIX {
            query.append_pair("prefix", &self.prefix);
        }
        let files = self.tls.clone().unwrap_or_default();
        for (key, file) in [("cacert", files.cacert), ("cert", files.cert), ("key", files.key)] {
            if let Some(file) = file {
                query.append_pair(key, &file.to_string_lossy());
            }
        }
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}://{}{mark}{query}", self.scheme(), self.hosts())
    }

    fn has_secret(&self) -> bool {
        self.secret_in_url
    }

    fn password_in_url(&self) -> bool {
        self.password_in_url
    }

    fn first_use(&self) -> &'static str {
        "a cluster's very first use takes this long, and no other"
    }
}
