//! What ZooKeeper answers.

use super::jute::{Reader, Strange};

pub(super) const NO_NODE: i32 = -101;
pub(super) const NODE_EXISTS: i32 = -110;

/// The answer to one request, its text not yet read.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// The number of the last change that the server had seen.
    pub zxid: i64,
    /// Zero, or why it was not done.
    pub error: i32,
    body: Vec<u8>,
}

/// What ZooKeeper knows of a node beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// The number of its last change; the upper half counts leaders.
    pub mzxid: i64,
    /// When it was made and last changed, by the clock of the leader of that time, in milliseconds.
    pub ctime: i64,
    pub mtime: i64,
    /// How often its text was written since it was made.
    pub version: i32,
}

/// What a reader finds in a packet.
pub(super) enum Packet {
    /// The answer to the request of this number.
    Reply(i32, Reply),
    /// A node that was watched has changed.
    Event(String),
    Ping,
    Auth {
        error: i32,
    },
}

impl Packet {
    pub fn read(packet: &[u8]) -> Result<Packet, Strange> {
        let mut reader = Reader(packet);
        let (xid, zxid, error) = (reader.int()?, reader.long()?, reader.int()?);
        Ok(match xid {
            -1 => {
                let (_kind, _state) = (reader.int()?, reader.int()?);
                Packet::Event(reader.text()?)
            }
            super::request::PING => Packet::Ping,
            super::request::AUTH => Packet::Auth { error },
            xid => Packet::Reply(xid, Reply { zxid, error, body: reader.0.to_vec() }),
        })
    }
}

impl Reply {
    /// A node's text and what is known of it.
    pub fn node(&self) -> Result<(Vec<u8>, Stat), Strange> {
        let mut reader = Reader(&self.body);
        Ok((reader.bytes()?.to_vec(), stat(&mut reader)?))
    }

    pub fn stat(&self) -> Result<Stat, Strange> {
        stat(&mut Reader(&self.body))
    }

    /// The names of a node's children, and how often the node itself was written.
    pub fn children(&self) -> Result<(Vec<String>, Stat), Strange> {
        let mut reader = Reader(&self.body);
        Ok((reader.texts()?, stat(&mut reader)?))
    }

    /// Of several changes what became of each; all are done if none failed.
    pub fn multi(&self) -> Result<Multi, Strange> {
        let mut reader = Reader(&self.body);
        let mut multi = Multi::default();
        for at in 0.. {
            let (number, end, _) = (reader.int()?, reader.bool()?, reader.int()?);
            match number {
                _ if end => break,
                -1 => match reader.int()? {
                    // The others of those that were not done either.
                    0 | ROLLED_BACK => {}
                    error => drop(multi.failed.get_or_insert((at, error))),
                },
                1 => drop(reader.text()?),
                5 => multi.written = Some(stat(&mut reader)?),
                2 | 13 => {}
                _ => return Err(Strange),
            }
        }
        Ok(multi)
    }
}

const ROLLED_BACK: i32 = -2;

#[derive(Clone, Debug, Default)]
pub(super) struct Multi {
    /// The first that could not be done, and why.
    pub failed: Option<(usize, i32)>,
    /// What is known of the node that was written last.
    pub written: Option<Stat>,
}

fn stat(reader: &mut Reader<'_>) -> Result<Stat, Strange> {
    let _czxid = reader.long()?;
    let (mzxid, ctime, mtime, version) = (reader.long()?, reader.long()?, reader.long()?, reader.int()?);
    let _rest = (reader.int()?, reader.int()?, reader.long()?, reader.int()?, reader.int()?, reader.long()?);
    Ok(Stat { mzxid, ctime, mtime, version })
}
