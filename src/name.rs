//! Lock names: what a person may type, and how a name is spelled where a store keeps it.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;

const LONGEST_NAME: usize = 200;
/// Longer spellings are cut and closed with a digest, so that prefix and suffix still fit a file name of 255 bytes.
const LONGEST_SPELLING: usize = 120;
const KEPT_OF_LONG: usize = 80;

/// The name of a lock: 1 to 200 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is not a lock name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    #[error("a lock name can't be empty: give it one, such as vault-7")]
    Empty,
    #[error("a lock name of {0} bytes is too long: use {LONGEST_NAME} bytes at most")]
    Long(usize),
    #[error("a lock name can't hold control characters (this one has {0}): use letters, digits and punctuation")]
    Control(String),
}

impl Name {
    /// Checks a name as it was typed or read.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn new(text: &str) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > LONGEST_NAME {
            return Err(NameError::Long(text.len()));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(NameError::Control(control.escape_default().to_string()));
        }
        Ok(Name(text.to_owned()))
    }

    /// The name as it was typed. Escape it before it goes to a terminal: it may hold bidirectional marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one word in a list: a space is `%20` and a percent sign `%25`. [`Name::from_word`] reads it.
    pub fn word(&self) -> String {
        self.0.replace('%', "%25").replace(' ', "%20")
    }

    /// The name that [`Name::word`] spelled so; `None` if it spelled none.
    pub fn from_word(word: &str) -> Option<Name> {
        let name = Name::new(&word.replace("%20", " ").replace("%25", "%")).ok()?;
        (name.word() == word).then_some(name)
    }

    /// The name spelled with `a-z 0-9 _ . - % ~` alone: safe as a file name and inside a key. No two names share a
    /// spelling: what is not plain becomes `%xx`, and `~` opens the digest of a name too long to spell out.
    pub fn spelled(&self) -> String {
        let mut spelled = String::with_capacity(self.0.len());
        for (at, byte) in self.0.bytes().enumerate() {
            // Capitals are not plain: a file system that folds case would make one lock of two.
            let plain = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') || (byte == b'.' && at > 0);
            if plain {
                spelled.push(byte as char);
            } else {
                spelled.push_str(&format!("%{byte:02x}"));
            }
        }
        if spelled.len() > LONGEST_SPELLING {
            let digest = Sha256::digest(self.0.as_bytes());
            spelled.truncate(KEPT_OF_LONG);
            spelled.push('~');
            spelled.extend(digest.iter().map(|byte| format!("{byte:02x}")));
        }
        spelled
    }

    /// The name that is spelled so; `None` if it was too long to spell out, or none is.
    pub fn from_spelled(spelled: &str) -> Option<Name> {
        let mut bytes = Vec::with_capacity(spelled.len());
        let mut rest = spelled.as_bytes();
        while let [first, tail @ ..] = rest {
            let digits = if *first == b'%' { Some(std::str::from_utf8(tail.get(..2)?).ok()?) } else { None };
            bytes.push(digits.map_or(Some(*first), |digits| u8::from_str_radix(digits, 16).ok())?);
            rest = &tail[if digits.is_some() { 2 } else { 0 }..];
        }
        let name = Name::new(&String::from_utf8(bytes).ok()?).ok()?;
        (name.spelled() == spelled).then_some(name)
    }
}

/// The order in which everybody takes several locks, whatever order they were named in: by their bytes. One that is named
/// twice is one.
pub fn in_order(mut names: Vec<Name>) -> Vec<Name> {
    names.sort();
    names.dedup();
    names
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nasty_names_are_refused_or_spelled_plainly() {
        let ninety = "é".repeat(45);
        for (typed, spelled) in [
            ("vault-7", "vault-7"),
            ("a/b", "a%2fb"),
            ("..", "%2e."),
            (".hidden", "%2ehidden"),
            ("two words", "two%20words"),
            ("Vault", "%56ault"),
            ("{tag}", "%7btag%7d"),
            ("%2f", "%252f"),
            ("~", "%7e"),
            ("*", "%2a"),
        ] {
            assert_eq!(Name::new(typed).map(|name| name.spelled()).as_deref(), Ok(spelled));
        }
        let long = Name::new(&ninety).unwrap().spelled();
        assert_eq!((long.len(), long.as_bytes()[80]), (80 + 1 + 64, b'~'));
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(10_000)), Err(NameError::Long(10_000)));
        assert!(Name::new(&"é".repeat(100)).is_ok());
        for control in ["a\nb", "a\0", "\x1b[2J", "\u{85}"] {
            assert!(matches!(Name::new(control), Err(NameError::Control(_))), "{control:?}");
        }
    }

    #[test]
    fn a_list_of_names_is_split_at_its_spaces() {
        for (typed, word) in
            [("vault-7", "vault-7"), ("db:main/X", "db:main/X"), ("a b", "a%20b"), ("50%", "50%25"), ("%20", "%2520")]
        {
            let name = Name::new(typed).unwrap();
            assert_eq!(name.word(), word);
            assert_eq!(Name::from_word(word), Some(name));
        }
        for wrong in ["", "a b", "%", "%2f", "50%2"] {
            assert_eq!(Name::from_word(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_word_is_read_as_it_was_written(text in "[ %250a:é]{1,12}") {
            if let Ok(name) = Name::new(&text) {
                prop_assert!(!name.word().contains(' '));
                prop_assert_eq!(Name::from_word(&name.word()), Some(name));
            }
        }

        #[test]
        fn no_two_names_share_a_spelling(a in "\\PC{1,60}", b in "\\PC{1,60}") {
            if let (Ok(a), Ok(b)) = (Name::new(&a), Name::new(&b)) {
                prop_assert_eq!(a == b, a.spelled() == b.spelled());
            }
        }

        #[test]
        fn names_one_edit_apart_are_spelled_apart(a in "[%2fF/.~aA-]{1,12}", at in 0usize..12, with in "[%2fF/.~aA-]") {
            let mut b: Vec<char> = a.chars().collect();
            let at = at % b.len();
            b[at] = with.chars().next().unwrap();
            let b: String = b.into_iter().collect();
            let (a, b) = (Name::new(&a).unwrap(), Name::new(&b).unwrap());
            prop_assert_eq!(a == b, a.spelled() == b.spelled());
        }

        #[test]
        fn a_spelling_is_a_safe_file_name(text in "\\PC{1,60}") {
            if let Ok(name) = Name::new(&text) {
                let spelled = name.spelled();
                prop_assert!(spelled.len() <= 145 && !spelled.starts_with('.'));
                prop_assert!(spelled.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-%~".contains(&b)));
                prop_assert_eq!(Name::from_spelled(&spelled), Some(name).filter(|_| !spelled.contains('~')));
            }
        }
    }
}
