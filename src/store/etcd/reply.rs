//! What etcd answers, as its JSON gateway writes it: int64 as text, what is zero, empty or false left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What every answer begins with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub cluster_id: u64,
    #[serde(deserialize_with = "number")]
    pub member_id: u64,
    /// The store's own count of its changes.
    #[serde(deserialize_with = "number")]
    pub revision: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Txn {
    pub header: Header,
    pub succeeded: bool,
    pub responses: Vec<Part>,
}

impl Txn {
    /// Whether each transaction inside of it found what it was to find.
    pub fn found_all(&self) -> bool {
        self.responses.iter().filter_map(|part| part.response_txn.as_ref()).all(|inner| inner.succeeded && inner.found_all())
    }

    /// Whether it did what it was to do, and the last `count` of its answers, which are those to its reads.
    pub fn settled(self, count: usize) -> (bool, Vec<Range>) {
        let skipped = self.responses.len().saturating_sub(count);
        let reads = self.responses.into_iter().skip(skipped).map(|part| part.response_range.unwrap_or_default());
        (self.succeeded, reads.collect())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub response_range: Option<Range>,
    pub response_txn: Option<Txn>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub kvs: Vec<Kv>,
    /// All that are in the range, listed or not.
    #[serde(deserialize_with = "number")]
    pub count: u64,
}

impl Range {
    pub fn first(&self) -> Option<&Kv> {
        self.kvs.first()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kv {
    #[serde(deserialize_with = "bytes")]
    pub key: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    pub value: Vec<u8>,
    #[serde(deserialize_with = "number")]
    pub create_revision: u64,
    #[serde(deserialize_with = "number")]
    pub mod_revision: u64,
    /// How often it was written since it was created.
    #[serde(deserialize_with = "number")]
    pub version: u64,
}

/// An answer on a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Streamed<T> {
    pub result: Option<T>,
    pub error: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeptAlive {
    /// None, or zero, where there is no such lease.
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub ttl: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Watched {
    pub canceled: bool,
    pub events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub kv: Kv,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Authenticated {
    pub token: String,
}

/// A refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Complaint {
    pub error: String,
    pub message: String,
    /// gRPC's.
    pub code: u32,
}

impl Complaint {
    pub fn text(&self) -> &str {
        if self.error.is_empty() { &self.message } else { &self.error }
    }

    pub fn says(&self, part: &str) -> bool {
        self.text().contains(part)
    }
}

/// As text or as a number.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u64),
    }
    match Either::deserialize(from)? {
        Either::Text(text) => text.parse().map_err(D::Error::custom),
        Either::Number(number) => Ok(number),
    }
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD.decode(text).map_err(D::Error::custom)
}
