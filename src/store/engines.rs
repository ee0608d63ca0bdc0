//! The only list of engines that are servers: whose a URL is by its scheme, and which of them this build has.

use std::rc::Rc;
use std::time::Duration;

use url::Url;

use super::Server;
use super::locate::BadUrl;
use crate::timing::{DEFAULT_TTL, LONGEST_TTL, SHORTEST_TTL};

/// Every engine's schemes, and the cargo feature that brings it.
const ENGINES: [(&[&str], &str); 4] = [
    (&["redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"], "redis"),
    (&["postgres", "postgresql"], "postgres"),
    (&["etcd", "etcds"], "etcd"),
    (&["zk", "zookeeper"], "zookeeper"),
];

type Read = (Rc<dyn Server>, Duration);
#[cfg(any(feature = "redis", feature = "etcd", feature = "zookeeper"))]
type Parameters = Vec<(String, String)>;

/// Whether URLs of a server begin so.
pub fn knows(scheme: &str) -> bool {
    ENGINES.iter().flat_map(|(schemes, _)| schemes.iter()).any(|known| known.eq_ignore_ascii_case(scheme))
}

/// Reads a store's URL with this scheme.
///
/// # Errors
/// What is wrong with it.
#[cfg_attr(not(feature = "server"), allow(unused_variables))]
pub fn read(scheme: &str, text: &str) -> Result<Read, BadUrl> {
    match scheme {
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" => {
            let (url, max_ttl) = max_ttl_of(text)?;
            let address = super::redis::Address::parse(&url).map_err(BadUrl)?;
            Ok((Rc::new(address.or_password(std::env::var("REDISCLI_AUTH").ok())), max_ttl))
        }
        // `url` knows one host; here its query alone is for it.
        #[cfg(feature = "redis")]
        "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster" => {
            let (head, query, max_ttl) = query_of(text)?;
            let address = super::redis::Address::of_several(&head, &query).map_err(BadUrl)?;
            Ok((Rc::new(address.or_password(std::env::var("REDISCLI_AUTH").ok())), max_ttl))
        }
        // Its URL names several hosts and leaves out what libpq's users set around it, so no other reads it.
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            let around = super::postgres::Surroundings::here();
            let address = super::postgres::Address::parse(text, &around).map_err(BadUrl)?;
            let max_ttl = address.max_ttl().map_or(Ok(DEFAULT_TTL), max_ttl_in_range)?;
            Ok((Rc::new(address), max_ttl))
        }
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => {
            let (head, query, max_ttl) = query_of(text)?;
            let address = super::etcd::Address::parse(&head, &query).map_err(BadUrl)?;
            let login = |name| std::env::var(name).ok();
            Ok((Rc::new(address.or_login(login("ETCDCTL_USER"), login("ETCDCTL_PASSWORD"))), max_ttl))
        }
        #[cfg(feature = "zookeeper")]
        "zk" | "zookeeper" => {
            let (head, query, max_ttl) = query_of(text)?;
            Ok((Rc::new(super::zookeeper::Address::parse(&head, &query).map_err(BadUrl)?), max_ttl))
        }
        _ => Err(missing(scheme)),
    }
}

fn missing(scheme: &str) -> BadUrl {
    if let Some((_, feature)) = ENGINES.iter().find(|(schemes, _)| schemes.contains(&scheme)) {
        return bad(format!(
            "the engine {scheme}:// was left out of this build of vaultlock: build it with the cargo feature {feature}"
        ));
    }
    let known: Vec<String> =
        ENGINES.iter().flat_map(|(schemes, _)| schemes.iter()).map(|scheme| format!("{scheme}://")).collect();
    bad(format!("there is no engine {scheme}://: use file:///dir, {}", known.join(", ")))
}

/// What stands before the question mark, and the parameters after it without `max_ttl`.
#[cfg(any(feature = "redis", feature = "etcd", feature = "zookeeper"))]
fn query_of(text: &str) -> Result<(String, Parameters, Duration), BadUrl> {
    let (head, query) = text.split_once('?').unwrap_or((text, ""));
    let (url, max_ttl) = max_ttl_of(&format!("several://hosts/?{query}"))?;
    let parameters = url.query_pairs().map(|(key, value)| (key.into(), value.into())).collect();
    Ok((head.to_owned(), parameters, max_ttl))
}

/// A URL without its `max_ttl`, and that.
///
/// # Errors
/// It can't be read.
pub fn max_ttl_of(text: &str) -> Result<(Url, Duration), BadUrl> {
    refuse_foreign_letters(text)?;
    let url = Url::parse(text).map_err(|error| bad(format!("the store's URL can't be read: {error}")))?;
    take_max_ttl(url)
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
    // Half a password, if that held a question mark: not to be shown.
    if text.contains('@') {
        return Err(bad("max_ttl in the store's URL has an @: in a password write ? as %3F, & as %26 and @ as %40"));
    }
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

fn bad(text: impl Into<String>) -> BadUrl {
    BadUrl(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(feature = "redis", feature = "postgres", feature = "etcd"))]
    fn half_a_password_is_not_shown() {
        for url in ["etcd://h?max_ttl=1s:hunter2@", "redis://h?max_ttl=1s:hunter2@h", "postgres://h?max_ttl=1s:hunter2@h"] {
            let said = crate::store::locate::Location::parse(url).unwrap_err().to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn an_engine_that_is_not_here_is_told_of() {
        assert!(missing("etcds").to_string().contains("build it with the cargo feature etcd"));
        assert!(missing("gopher").to_string().contains("no engine gopher://: use file:///dir, redis://,"));
    }

    #[test]
    #[cfg(all(feature = "redis", feature = "postgres", feature = "etcd", feature = "zookeeper"))]
    fn every_engine_of_the_list_is_read() {
        for scheme in ENGINES.iter().flat_map(|(schemes, _)| schemes.iter()) {
            let host = match *scheme {
                "redis+unix" => "/socket",
                scheme if scheme.ends_with("+sentinel") => "h/main",
                _ => "h",
            };
            assert!(read(scheme, &format!("{scheme}://{host}")).is_ok(), "{scheme}");
        }
    }
}
