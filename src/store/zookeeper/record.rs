//! The store's record: in which life it was written, whether somebody has waited its memory out, and the one max_ttl.
//!
//! ZooKeeper forgets nothing by itself, and has no name of its own for an ensemble: one whose data were lost, and one whose node
//! an operator deleted after a restore, have no record. So the record has a mark that is never drawn twice.

use serde::{Deserialize, Serialize};

use crate::ledger::Memory;
use crate::ledger::codec::{sealed, unsealed};
use crate::time::Clock;

const FMT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    fmt: u32,
    pub mark: String,
    /// The mark that was waited out, or nothing: no flipped digit makes a memory sure.
    settled: Option<String>,
    pub max_ttl_ms: u64,
}

impl Record {
    /// The first one of a life.
    pub fn new(max_ttl_ms: u64) -> Record {
        Record { fmt: FMT, mark: random_mark(), settled: None, max_ttl_ms }
    }

    /// # Errors
    /// It is not what this program writes.
    pub fn read(text: &[u8]) -> Result<Record, String> {
        let body = unsealed(text).map_err(|damage| damage.to_string())?;
        let record: Record = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match record.fmt {
            FMT if record.settled.as_ref().is_none_or(|settled| *settled == record.mark) => Ok(record),
            FMT => Err("it settles another mark than its own".to_owned()),
            other => Err(format!("written in format {other}, which this version does not know: upgrade vaultlock here")),
        }
    }

    pub fn text(&self) -> String {
        sealed(&serde_json::to_string(self).expect("a record is plain data"))
    }

    /// The life of the store, as ledgers name it.
    pub fn epoch(&self) -> String {
        self.mark.chars().take(16).collect()
    }

    pub fn settled(&self) -> Record {
        Record { settled: Some(self.mark.clone()), ..self.clone() }
    }

    /// No member can prove how long it has forgotten nobody: its memory is sure once somebody has waited it out.
    pub fn memory(&self) -> Memory {
        match self.settled {
            Some(_) => Memory::Intact,
            None => Memory::Unsure { mark: self.mark.clone(), quiet: std::time::Duration::ZERO },
        }
    }
}

fn random_mark() -> String {
    let mut random = [0u8; 16];
    // Marks must differ, not be secret: without randomness the time does.
    if getrandom::getrandom(&mut random).is_err() {
        random = u128::from(Clock::Boottime.now().0).to_be_bytes();
    }
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
