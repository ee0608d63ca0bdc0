//! Several hosts with their ports, as a store's URL names them: `HOST:PORT,[::1]:PORT,HOST`. Pure.

use super::words::{bracketed, decoded};

/// No cluster needs more to be found by.
const MOST_HOSTS: usize = 16;

/// One end for clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    pub host: String,
    pub port: u16,
}

impl Host {
    pub fn display(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }
}

/// As they stand in a URL.
pub fn joined(hosts: &[Host]) -> String {
    hosts.iter().map(Host::display).collect::<Vec<_>>().join(",")
}

/// Reads them. `form` is how the URL begins, for the messages: `an etcd URL`, `etcd://HOST:PORT,HOST:PORT`.
///
/// # Errors
/// Says which part is wrong and what it may be.
pub fn read(hosts: &str, default_port: u16, (whose, form): (&str, &str)) -> Result<Vec<Host>, String> {
    if hosts.is_empty() {
        return Err(format!("{whose} needs hosts: {form}"));
    }
    let mut read = Vec::new();
    for text in hosts.split(',') {
        let host = one(text, default_port, form)?;
        if read.contains(&host) {
            return Err(format!("the URL names {} twice: name each member once", host.display()));
        }
        read.push(host);
    }
    if read.len() > MOST_HOSTS {
        return Err(format!("the URL names more than {MOST_HOSTS} members: leave some out"));
    }
    Ok(read)
}

fn one(text: &str, default_port: u16, form: &str) -> Result<Host, String> {
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
    let host = decoded(host, "a host")?.ok_or(format!("a host in the URL is empty: {form}"))?.to_lowercase();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(plain) {
        return Err(
            "a host in the URL holds what no host has: check hosts and commas, and write @ in a password as %40".to_owned()
        );
    }
    let digits = port.map(|port| port.strip_prefix(':').unwrap_or_default());
    let port = match digits {
        None => Some(default_port),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
    };
    match port {
        // It may be half a password: the text is not shown.
        Some(0) | None => Err(format!("a port in the URL is not a number from 1 to 65535: leave it out for {default_port}")),
        Some(port) => Ok(Host { host, port }),
    }
}
