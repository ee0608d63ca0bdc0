//! The members of one cluster, as its URL names them. Pure.

use super::words::{bracketed, decoded};

/// A cluster has seven members at the most; this leaves room for one address more of each.
const MOST_MEMBERS: usize = 16;

/// What an engine's URL is called.
pub struct Words {
    /// "an etcd URL".
    pub url: &'static str,
    pub scheme: &'static str,
    /// Where none is given.
    pub port: u16,
}

/// One member's end for clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub host: String,
    pub port: u16,
}

impl Member {
    pub fn display(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }
}

/// The members that a URL names, in its order.
///
/// # Errors
/// Says which part is wrong; what may be half a password is not shown.
pub fn members(hosts: &str, words: &Words) -> Result<Vec<Member>, String> {
    if hosts.is_empty() {
        return Err(format!("{} needs hosts: {}://HOST:PORT,HOST:PORT", words.url, words.scheme));
    }
    let mut members = Vec::new();
    for host in hosts.split(',') {
        let member = member(host, words)?;
        if members.contains(&member) {
            return Err(format!("the URL names {} twice: name each member once", member.display()));
        }
        members.push(member);
    }
    if members.len() > MOST_MEMBERS {
        return Err(format!("the URL names more than {MOST_MEMBERS} members: leave some out"));
    }
    Ok(members)
}

fn member(text: &str, words: &Words) -> Result<Member, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("an IPv6 host in the URL lacks its closing ]")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("what stands in [] in the URL is no IPv6 address".to_owned());
            }
            (host, (!port.is_empty()).then_some(port))
        }
        None => match text.find(':') {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        },
    };
    let host = decoded(host, "a host")?
        .ok_or_else(|| format!("a host in the URL is empty: {}://HOST:PORT,HOST:PORT", words.scheme))?
        .to_lowercase();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(plain) {
        return Err(
            "a host in the URL holds what no host has: check hosts and commas, and write @ in a password as %40".to_owned()
        );
    }
    let digits = port.map(|port| port.strip_prefix(':').unwrap_or_default());
    let port = match digits {
        None => Some(words.port),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
    };
    match port {
        // It may be half a password: the text is not shown.
        Some(0) | None => Err(format!("a port in the URL is not a number from 1 to 65535: leave it out for {}", words.port)),
        Some(port) => Ok(Member { host, port }),
    }
}
