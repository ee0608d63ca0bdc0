//! Text of others, made fit for a terminal: no escape sequence, no bidirectional trick, no line of its own.

use std::io;

use nix::errno::Errno;

/// The text with every character that could move the cursor, change colours, hide or reorder text spelled out
/// (CWE-150), cut to `longest` characters.
pub fn shown(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == longest {
            out.push('…');
            break;
        }
        match c {
            '\\' => out.push_str("\\\\"),
            c if c.is_control() || reorders_or_hides(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// What the system says of an error, in lower case and without its number.
pub fn system(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// An error with what caused it, each in its own words.
pub fn chain(error: &anyhow::Error) -> String {
    let told = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(error) => system(error),
        None => cause.to_string(),
    };
    error.chain().map(told).collect::<Vec<_>>().join(": ")
}

/// A JSON text with the same characters escaped: they stand in its strings alone, where `\u` may stand for any.
pub fn shown_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && (c.is_control() || reorders_or_hides(c)) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Bidirectional marks, embeddings and isolates; zero-width and other invisible characters; line separators.
fn reorders_or_hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{shown, shown_json};

    #[test]
    fn json_says_the_same_without_raw_controls() {
        let text = "del\u{7f} csi\u{9b}31m bidi\u{202e} tag\u{e0041} é 鍵 \" \\ \n \x1b";
        let safe = shown_json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap()[0], text);
        assert!(!safe.chars().any(|c| (c.is_control() && c != '\n') || super::reorders_or_hides(c)), "{safe}");
    }

    #[test]
    fn nothing_of_others_reaches_the_terminal_raw() {
        for (text, safe) in [
            ("alice@db1 backup.sh", "alice@db1 backup.sh"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("two\nlines", "two\\u{a}lines"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}fed", "abc\\u{202e}fed"),
            ("a\u{200b}b", "a\\u{200b}b"),
            ("back\\slash", "back\\\\slash"),
            ("grüße 鍵", "grüße 鍵"),
        ] {
            assert_eq!(shown(text, 80), safe);
        }
        assert_eq!(shown("abcdef", 3), "abc…");
    }
}
