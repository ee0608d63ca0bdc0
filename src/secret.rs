//! Words that must never be shown: passwords and whatever quotes them.

use std::fmt;

/// A password. It can be used, but neither printed nor compared by accident.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The password itself, for the one call that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The text with every quotation of this password struck out: client libraries put what they were given into
    /// their errors, as it was and percent-encoded.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let encoded: String = url::form_urlencoded::byte_serialize(self.0.as_bytes()).collect();
        text.replace(&self.0, "***").replace(&encoded, "***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_struck_out_however_it_is_quoted() {
        let secret = Secret::new("s3 cr&t");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.scrub("AUTH s3 cr&t failed for s3+cr%26t"), "AUTH *** failed for ***");
        assert_eq!(Secret::new("").scrub("nothing"), "nothing");
    }
}
