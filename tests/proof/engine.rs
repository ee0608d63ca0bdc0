//! The store under torture: what its faults are, how each is done and how it is undone. A new fault is a row of the table
//! and an arm in [`Engine::strike`] and [`Engine::mend`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use vaultlock::store::locate::Location;

use crate::checker::Rules;
use crate::dice::Dice;
use crate::log::{Kind, Whom};
use crate::support::proxy::{Proxy, Way};
use crate::support::redis::Server;

/// A lease of a Redis store at most; how long a server that may have forgotten lets nobody in hangs on it.
const MAX_TTL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Store {
    File,
    Redis,
}

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
const TO_RUNS: [Deed; 10] = [
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

/// To a Redis server, and to the line of one caller.
const TO_REDIS: [Deed; 9] = [
    deed(Kind::Restart, Whom::Server, 1, Some((1, 1500))),
    deed(Kind::Wipe, Whom::Server, 1, Some((1, 1500))),
    deed(Kind::Freeze, Whom::Server, 1, Some((20, 3000))),
    deed(Kind::Flush, Whom::Server, 1, None),
    deed(Kind::Cut, Whom::Line, 4, None),
    deed(Kind::HalfClose, Whom::Line, 4, None),
    deed(Kind::Swallow, Whom::Line, 5, LINE),
    deed(Kind::Hold, Whom::Line, 5, LINE),
    deed(Kind::Delay, Whom::Line, 5, LINE),
];

pub enum Engine {
    File { dir: PathBuf },
    Redis { server: Box<Server>, lines: Vec<Proxy> },
}

impl Engine {
    pub fn new(store: Store, dir: &Path, callers: usize) -> Engine {
        match store {
            Store::File => Engine::File { dir: dir.join("store") },
            Store::Redis => {
                let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
                let lines = (0..callers).map(|_| Proxy::before(server.port)).collect();
                Engine::Redis { server: Box::new(server), lines }
            }
        }
    }

    /// The store as this caller names it.
    pub fn url(&self, caller: usize) -> String {
        match self {
            Engine::File { dir } => format!("file://{}", dir.display()),
            Engine::Redis { lines, .. } => format!("{}?max_ttl={}s", lines[caller].url(), MAX_TTL.as_secs()),
        }
    }

    pub fn rules(&self) -> Rules {
        match self {
            Engine::File { .. } => Rules::file(),
            Engine::Redis { .. } => Rules::redis(MAX_TTL),
        }
    }

    /// Ttls to choose from, in milliseconds.
    pub fn ttls(&self) -> &'static [u64] {
        match self {
            Engine::File { .. } => &[1000, 1500, 2000, 3000],
            Engine::Redis { .. } => &[1000, 1500, 2000],
        }
    }

    /// Leases run out whatever the job's processes still hold.
    pub fn has_leases(&self) -> bool {
        self.rules().leases
    }

    /// All that can be done here.
    pub fn deeds(&self) -> Vec<Deed> {
        match self {
            Engine::File { .. } => TO_RUNS.to_vec(),
            Engine::Redis { .. } => [&TO_RUNS[..], &TO_REDIS].concat(),
        }
    }

    /// Does what is not done to a run's processes.
    pub fn strike(&mut self, deed: Deed, caller: usize, dice: &mut Dice) {
        let Engine::Redis { server, lines } = self else { unreachable!("{deed:?} on a file store") };
        let line = &lines[caller];
        match (deed.kind, deed.whom) {
            (Kind::Restart | Kind::Wipe, Whom::Server) => server.kill(),
            (Kind::Freeze, Whom::Server) => server.freeze(),
            (Kind::Flush, Whom::Server) => drop(server.tell(&["FLUSHALL"])),
            (Kind::Cut, Whom::Line) if dice.percent(50) => line.cut(),
            (Kind::Cut, Whom::Line) => bend(line, Way::CutAfter(dice.below(600)), dice),
            (Kind::HalfClose, Whom::Line) => line.half_close(),
            (Kind::Swallow, Whom::Line) => bend(line, Way::Swallow, dice),
            (Kind::Hold, Whom::Line) => bend(line, Way::Hold, dice),
            (Kind::Delay, Whom::Line) => {
                let by = dice.span(Duration::from_millis(5), Duration::from_millis(500));
                bend(line, Way::Delay(by), dice);
            }
            _ => unreachable!("{deed:?} on a Redis store"),
        }
    }

    /// Undoes it.
    pub fn mend(&mut self, deed: Deed, caller: usize) {
        let Engine::Redis { server, lines } = self else { return };
        match (deed.kind, deed.whom) {
            (Kind::Restart, Whom::Server) => server.start_again(),
            (Kind::Wipe, Whom::Server) => {
                fs::remove_dir_all(server.path("appendonlydir")).expect("the server kept its data there");
                server.start_again();
            }
            (Kind::Freeze, Whom::Server) => server.thaw(),
            (_, Whom::Line) => {
                lines[caller].to_server(Way::Pass);
                lines[caller].to_client(Way::Pass);
            }
            _ => {}
        }
    }
}

/// Either direction, or both.
fn bend(line: &Proxy, way: Way, dice: &mut Dice) {
    let direction = dice.below(3);
    if direction != 1 {
        line.to_server(way);
    }
    if direction != 0 {
        line.to_client(way);
    }
}

impl Drop for Engine {
    /// What this host noted of a store that is gone.
    fn drop(&mut self) {
        let Engine::Redis { lines, .. } = self else { return };
        for line in lines {
            if let Some(notes) = Location::parse(&line.url()).ok().and_then(|location| location.notes_dir()) {
                let _ = fs::remove_dir_all(notes);
            }
        }
    }
}
