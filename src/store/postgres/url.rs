//! A PostgreSQL URL taken apart, as libpq does it: `postgres://user:password@host:port,host:port/dbname?key=value`. Pure.
//! No complaint quotes a part that could be half a password.

use crate::store::wire::words;

/// What stands in the URL, in its order: parameters that stand in their own place first, then those behind the `?`.
pub(super) fn parameters(text: &str) -> Result<Vec<(String, String)>, String> {
    let rest = text.split_once("://").map(|(_, rest)| rest).ok_or("a postgres URL begins with postgres://")?;
    if rest.contains('#') {
        return Err("a postgres URL has no #fragment: write # as %23".to_owned());
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = place.split_once('/').unwrap_or((place, ""));
    let mut found = Vec::new();
    let hosts = match authority.split_once('@') {
        Some((_, hosts)) if hosts.contains('@') => return Err("the URL has two @: write @ in a password as %40".to_owned()),
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            push(&mut found, "user", decoded(user, "the user")?);
            push(&mut found, "password", decoded(password, "the password")?);
            hosts
        }
        None => authority,
    };
    let (names, ports) = hosts_and_ports(hosts)?;
    push(&mut found, "host", names);
    push(&mut found, "port", ports);
    if dbname.contains(['@', ':']) {
        return Err("the URL's path is no database: write / in a password as %2F".to_owned());
    }
    push(&mut found, "dbname", decoded(dbname, "the database")?);
    if query.contains(['@', '?']) {
        return Err("what follows ? is no list of parameters: write ? in a password as %3F, @ as %40".to_owned());
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter in the URL has no =: write & as %26")?;
        let key = decoded(key, "a parameter")?;
        if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Err("the URL has a parameter that is no word: write ? as %3F and & as %26".to_owned());
        }
        let value = decoded(value, &format!("{key}="))?;
        match (key.as_str(), value.as_str()) {
            // As JDBC has it, and libpq understands.
            ("ssl", "true") => found.push(("sslmode".to_owned(), "require".to_owned())),
            _ => found.push((key, value)),
        }
    }
    Ok(found)
}

/// The URL without user and password, for the job's environment. It names the database, which would else be that of another user.
pub(super) fn bare(text: &str, drops: &[&str], dbname: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return String::new() };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let named = path.len() > 1 || query.split('&').any(|pair| pair.starts_with("dbname="));
    let path = if named { path.to_owned() } else { format!("/{}", encoded(dbname)) };
    let kept = |pair: &&str| !drops.contains(&pair.split('=').next().unwrap_or_default()) && !pair.is_empty();
    let query: Vec<&str> = query.split('&').filter(kept).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{hosts}{path}{mark}{}", query.join("&"))
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// `h1:1,[::1]:2,h3` as the two lists that the parameters `host` and `port` are.
fn hosts_and_ports(text: &str) -> Result<(String, String), String> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (name, port) = match one.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or("an address in the URL has no ]: write [::1]:5432")?;
                if !port.is_empty() && !port.starts_with(':') {
                    return Err("what follows ] in the URL is no port: write [::1]:5432".to_owned());
                }
                (name, port.strip_prefix(':').unwrap_or(""))
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        if port.contains(':') {
            return Err("the port in the URL is not one number: write an IPv6 address as [::1]:5432".to_owned());
        }
        names.push(decoded(name, "the host")?);
        ports.push(decoded(port, "the port")?);
    }
    let all = |list: Vec<String>| if list.iter().all(String::is_empty) { String::new() } else { list.join(",") };
    Ok((all(names), all(ports)))
}

fn push(found: &mut Vec<(String, String)>, key: &str, value: String) {
    if !value.is_empty() {
        found.push((key.to_owned(), value));
    }
}

/// Undoes %xx. Control characters end words in the protocol, and lines in files and messages.
fn decoded(text: &str, what: &str) -> Result<String, String> {
    let text = words::decoded(text, what)?.unwrap_or_default();
    if text.chars().any(char::is_control) { Err(format!("{what} in the URL holds control characters")) } else { Ok(text) }
}
