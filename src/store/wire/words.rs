//! The words of a server's URL, whatever engine it names. Pure.

pub const DEFAULT_PREFIX: &str = "vaultlock";
const LONGEST_PREFIX: usize = 64;

/// What every key of ours begins with.
///
/// # Errors
/// It holds more than plain words do.
pub fn prefix(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    if plain && (1..=LONGEST_PREFIX).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("prefix={text:?} is not a prefix: use 1 to {LONGEST_PREFIX} letters, digits, _ . : or -"))
    }
}

/// Undoes %xx; `None` for an empty text. Unlike in a query, + stays +.
///
/// # Errors
/// Names `what` it is, and never shows it.
pub fn decoded(text: &str, what: &str) -> Result<Option<String>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(hex_byte);
        if *first == b'%' && escaped.is_none() {
            return Err(format!("{what} in the URL has a % without two hexadecimal digits: write % as %25"));
        }
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{what} in the URL is not UTF-8"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A host as it stands before a port.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
