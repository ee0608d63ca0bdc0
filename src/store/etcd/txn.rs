//! Transactions as etcd's JSON gateway reads them: int64 as text, keys and values in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// etcd's --max-txn-ops is 128 unless somebody chose otherwise, and what is inside of a transaction has what it leaves.
const PORTION: usize = 50;

/// Bytes that travel in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes(text.as_bytes().to_vec())
    }
}

/// Does one thing or the other, all or nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

impl Txn {
    /// Reads and changes nothing: then it goes through no log, and still sees all that was ever acknowledged.
    pub fn read(ops: Vec<Op>) -> Txn {
        Txn { success: ops, ..Txn::default() }
    }

    /// Does `changes` if all of `compare` holds, and then ends with `reads`.
    pub fn change(compare: Vec<Compare>, changes: Vec<Op>, reads: Vec<Op>) -> Txn {
        Txn { compare, success: [in_portions(changes), reads].concat(), failure: Vec::new() }
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a transaction is plain data")
    }
}

fn in_portions(ops: Vec<Op>) -> Vec<Op> {
    if ops.len() <= PORTION {
        return ops;
    }
    ops.chunks(PORTION).map(|portion| Op::Txn(Txn::read(portion.to_vec()))).collect()
}

#[derive(Clone, Debug, Serialize)]
pub(super) enum Op {
    #[serde(rename = "request_range")]
    Range(Range),
    #[serde(rename = "request_put")]
    Put(Put),
    #[serde(rename = "request_delete_range")]
    Delete(Delete),
    #[serde(rename = "request_txn")]
    Txn(Txn),
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Range {
    key: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range_end: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_order: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_target: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_create_revision: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keys_only: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    serializable: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Put {
    key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_value: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_lease: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Delete {
    key: Bytes,
}

impl Range {
    pub fn one(key: &str) -> Range {
        Range { key: Some(key.into()), ..Range::default() }
    }

    /// All keys that begin so; `prefix` ends in a slash.
    pub fn all(prefix: &str) -> Range {
        Range { range_end: Some(after(prefix).as_str().into()), ..Range::one(prefix) }
    }

    /// From a key to another, without that one.
    pub fn between(from: &str, to: &str) -> Range {
        Range { range_end: Some(to.into()), ..Range::one(from) }
    }

    /// In the order they were created.
    pub fn by_age(self) -> Range {
        Range { sort_order: Some("ASCEND"), sort_target: Some("CREATE"), ..self }
    }

    pub fn by_value(self) -> Range {
        Range { sort_order: Some("ASCEND"), sort_target: Some("VALUE"), ..self }
    }

    /// The first so many; all are counted.
    pub fn first(self, limit: usize) -> Range {
        Range { limit: Some(limit.to_string()), ..self }
    }

    pub fn created_before(self, revision: u64) -> Range {
        Range { max_create_revision: Some((revision - 1).to_string()), ..self }
    }

    pub fn keys_only(self) -> Range {
        Range { keys_only: true, ..self }
    }

    /// As the member that is asked has it, which may be late.
    pub fn serializable(self) -> Range {
        Range { serializable: true, ..self }
    }
}

impl From<Range> for Op {
    fn from(range: Range) -> Op {
        Op::Range(range)
    }
}

impl Op {
    pub fn put(key: &str, value: &str) -> Op {
        Op::put_on(key, value, None)
    }

    /// Goes away with the lease, if there is one.
    pub fn put_on(key: &str, value: &str, lease: Option<i64>) -> Op {
        let lease = lease.map(|lease| lease.to_string());
        Op::Put(Put { key: key.into(), value: Some(value.into()), lease, ignore_value: false, ignore_lease: false })
    }

    pub fn delete(key: &str) -> Op {
        Op::Delete(Delete { key: key.into() })
    }

    /// Whoever watches the key hears of it; it stays as it is. Does nothing where there is no such key.
    pub fn touch(key: &str) -> Op {
        let touched = Put { key: key.into(), value: None, lease: None, ignore_value: true, ignore_lease: true };
        let compare = vec![Compare::present(key)];
        Op::Txn(Txn { compare, success: vec![Op::Put(touched)], failure: Vec::new() })
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Compare {
    key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    range_end: Option<Bytes>,
    target: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mod_revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Bytes>,
}

impl Compare {
    /// How often the key was written since it was created; 0 where there is none.
    pub fn version(key: &str, version: u64) -> Compare {
        let (key, version) = (key.into(), Some(version.to_string()));
        Compare { key, range_end: None, target: "VERSION", result: "EQUAL", version, mod_revision: None, value: None }
    }

    pub fn absent(key: &str) -> Compare {
        Compare::version(key, 0)
    }

    pub fn present(key: &str) -> Compare {
        Compare { result: "GREATER", ..Compare::version(key, 0) }
    }

    /// No key begins so.
    pub fn none(prefix: &str) -> Compare {
        Compare { range_end: Some(after(prefix).as_str().into()), ..Compare::absent(prefix) }
    }

    /// No key that begins so was written after this revision; of those that went away since it says nothing.
    pub fn unchanged(prefix: &str, revision: u64) -> Compare {
        let mod_revision = Some((revision + 1).to_string());
        Compare { target: "MOD", result: "LESS", version: None, mod_revision, ..Compare::none(prefix) }
    }

    pub fn value(key: &str, value: &str) -> Compare {
        Compare { target: "VALUE", version: None, value: Some(value.into()), ..Compare::absent(key) }
    }
}

/// The first key that does not begin with `prefix`, which ends in a slash.
fn after(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}
