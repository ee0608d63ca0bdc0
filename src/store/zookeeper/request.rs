//! What we ask of ZooKeeper: single requests, and several changes that are carried out whole or not at all.

use super::jute::Writer;

pub(super) const PING: i32 = -2;
pub(super) const AUTH: i32 = -4;

/// A request on its own.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// What is asked after it is answered by what was agreed on before it.
    Sync(String),
    /// A node's text; with `true` its next change is told once.
    Get(String, bool),
    Children(String),
    Exists(String),
    Set(String, Vec<u8>),
    Create(String, Access),
    Delete(String),
    Multi(Vec<Op>),
}

/// One of several changes.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// With a running number behind its name, if so.
    Create {
        path: String,
        text: Vec<u8>,
        access: Access,
        numbered: bool,
    },
    Delete(String),
    /// Only at this version; any if -1.
    Set(String, Vec<u8>, i32),
    /// The node is there, at this version; any if -1.
    Check(String, i32),
}

/// Whose a new node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Everybody,
    /// Whoever has shown the same user and password.
    Creator,
}

impl Access {
    fn write(self, to: &mut Writer) {
        let (scheme, who) = match self {
            Access::Everybody => ("world", "anyone"),
            Access::Creator => ("auth", ""),
        };
        to.int(1).int(0x1f).text(scheme).text(who);
    }
}

impl Op {
    pub fn path(&self) -> &str {
        match self {
            Op::Create { path, .. } | Op::Delete(path) | Op::Set(path, ..) | Op::Check(path, _) => path,
        }
    }

    fn number(&self) -> i32 {
        match self {
            Op::Create { .. } => 1,
            Op::Delete(_) => 2,
            Op::Set(..) => 5,
            Op::Check(..) => 13,
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Op::Create { path, text, access, numbered } => {
                to.text(path).bytes(text);
                access.write(to);
                to.int(if *numbered { 2 } else { 0 });
            }
            Op::Delete(path) => drop(to.text(path).int(-1)),
            Op::Set(path, text, version) => drop(to.text(path).bytes(text).int(*version)),
            Op::Check(path, version) => drop(to.text(path).int(*version)),
        }
    }
}

impl Request {
    fn number(&self) -> i32 {
        match self {
            Request::Sync(_) => 9,
            Request::Get(..) => 4,
            Request::Children(_) => 12,
            Request::Exists(_) => 3,
            Request::Set(..) => 5,
            Request::Create(..) => 1,
            Request::Delete(_) => 2,
            Request::Multi(_) => 14,
        }
    }

    /// The packet with this number.
    pub fn packet(&self, xid: i32) -> Vec<u8> {
        let mut to = Writer::default();
        to.int(xid).int(self.number());
        match self {
            Request::Sync(path) => drop(to.text(path)),
            Request::Get(path, watch) => drop(to.text(path).bool(*watch)),
            Request::Children(path) | Request::Exists(path) => drop(to.text(path).bool(false)),
            Request::Set(path, text) => Op::Set(path.clone(), text.clone(), -1).write(&mut to),
            Request::Create(path, access) => {
                Op::Create { path: path.clone(), text: Vec::new(), access: *access, numbered: false }.write(&mut to);
            }
            Request::Delete(path) => Op::Delete(path.clone()).write(&mut to),
            Request::Multi(ops) => {
                for op in ops {
                    to.int(op.number()).bool(false).int(-1);
                    op.write(&mut to);
                }
                to.int(-1).bool(true).int(-1);
            }
        }
        to.packet()
    }
}

/// Proves who we are, for this connection.
pub(super) fn auth(login: &str) -> Vec<u8> {
    let mut to = Writer::default();
    to.int(AUTH).int(100).int(0).text("digest").bytes(login.as_bytes());
    to.packet()
}

/// Keeps the session.
pub(super) fn ping() -> Vec<u8> {
    let mut to = Writer::default();
    to.int(PING).int(11);
    to.packet()
}

/// Ends the session.
pub(super) fn close() -> Vec<u8> {
    let mut to = Writer::default();
    to.int(i32::MAX).int(-11);
    to.packet()
}
