//! The faults that can be done, by what they are done to.

use crate::log::{Kind, Whom};

/// A fault that can be done.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    pub kind: Kind,
    pub whom: Whom,
    /// How often, beside the others.
    pub weight: u32,
    /// For how long, in milliseconds, from and to. None where it is done at once and not undone.
    pub span: Option<(u64, u64)>,
}

const fn deed(kind: Kind, whom: Whom, weight: u32, span: Option<(u64, u64)>) -> Deed {
    Deed { kind, whom, weight, span }
}

/// Short ones are survived, those beyond the ttl are not.
const FREEZE: Option<(u64, u64)> = Some((20, 4000));
const LINE: Option<(u64, u64)> = Some((50, 3000));

/// To the processes of a run, whatever the store.
pub const TO_RUNS: [Deed; 10] = [
    deed(Kind::Kill, Whom::Sentry, 4, None),
    deed(Kind::Kill, Whom::Worker, 4, None),
    deed(Kind::Kill, Whom::Both, 4, None),
    deed(Kind::Kill, Whom::Job, 2, None),
    deed(Kind::Kill, Whom::All, 4, None),
    deed(Kind::Freeze, Whom::Sentry, 3, FREEZE),
    deed(Kind::Freeze, Whom::Worker, 4, FREEZE),
    deed(Kind::Freeze, Whom::Both, 4, FREEZE),
    deed(Kind::Freeze, Whom::Job, 2, FREEZE),
    deed(Kind::Freeze, Whom::All, 4, FREEZE),
];

/// To those of a tool that is one process beside the job, as often as to vaultlock's two.
pub const TO_PEERS_RUNS: [Deed; 6] = [
    deed(Kind::Kill, Whom::Client, 12, None),
    deed(Kind::Kill, Whom::Job, 2, None),
    deed(Kind::Kill, Whom::All, 4, None),
    deed(Kind::Freeze, Whom::Client, 11, FREEZE),
    deed(Kind::Freeze, Whom::Job, 2, FREEZE),
    deed(Kind::Freeze, Whom::All, 4, FREEZE),
];

/// To a server that keeps its data.
pub const TO_SERVER: [Deed; 2] =
    [deed(Kind::Restart, Whom::Server, 1, Some((1, 1500))), deed(Kind::Freeze, Whom::Server, 1, Some((20, 3000)))];

/// To the pooler before a server.
pub const TO_POOLER: [Deed; 2] =
    [deed(Kind::Restart, Whom::Pooler, 3, Some((1, 1500))), deed(Kind::Freeze, Whom::Pooler, 3, Some((20, 3000)))];

/// To a cluster, mostly to its leader. Frozen for longer than a lease, it revokes what it should not when it thaws.
pub const TO_CLUSTER: [Deed; 2] =
    [deed(Kind::Restart, Whom::Server, 3, Some((1, 3000))), deed(Kind::Freeze, Whom::Server, 5, Some((20, 7000)))];

/// To a primary that is watched over. One that is away for less than a second or so comes back as it was, or without what
/// it kept in memory; otherwise another takes its place.
pub const TO_PRIMARY: [Deed; 2] =
    [deed(Kind::Restart, Whom::Server, 2, Some((1, 5000))), deed(Kind::Freeze, Whom::Server, 3, Some((20, 7000)))];

/// To the line between a server and one caller.
pub const TO_LINES: [Deed; 5] = [
    deed(Kind::Cut, Whom::Line, 4, None),
    deed(Kind::HalfClose, Whom::Line, 4, None),
    deed(Kind::Swallow, Whom::Line, 5, LINE),
    deed(Kind::Hold, Whom::Line, 5, LINE),
    deed(Kind::Delay, Whom::Line, 5, LINE),
];

/// To the wall clock of those callers who live by one of their own.
pub const TO_CALLERS: [Deed; 1] = [deed(Kind::Skew, Whom::Callers, 3, Some((50, 4000)))];

/// To the server's wall clock.
pub const TO_CLOCK: [Deed; 1] = [deed(Kind::Jump, Whom::Clock, 3, Some((50, 4000)))];

/// To the disk below a file store.
pub const TO_DISK: [Deed; 1] = [deed(Kind::Fill, Whom::Disk, 3, Some((20, 1500)))];

/// To the memory of a Redis server.
pub const TO_MEMORY: [Deed; 2] = [deed(Kind::Wipe, Whom::Server, 1, Some((1, 1500))), deed(Kind::Flush, Whom::Server, 1, None)];
