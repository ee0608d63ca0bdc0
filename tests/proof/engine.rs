//! What is tortured beside the runs: the store and its surroundings; how each fault to it is done and how it is undone. A
//! new fault is a row in deeds.rs and an arm in [`Engine::strike`] and [`Engine::mend`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use nix::unistd::geteuid;
use vaultlock::store::locate::Location;

use crate::checker::Rules;
use crate::deeds::{
    Deed, TO_CALLERS, TO_CLOCK, TO_CLUSTER, TO_DISK, TO_LINES, TO_MEMORY, TO_PEERS_RUNS, TO_POOLER, TO_PRIMARY, TO_RUNS,
    TO_SERVER,
};
use crate::dice::Dice;
use crate::log::{Kind, Whom};
use crate::members::{Members, struck};
use crate::support::cluster::Cluster;
use crate::support::disk::Disk;
use crate::support::etcd::Etcd;
use crate::support::postgres::{Bouncer, Postgres};
use crate::support::proxy::{Proxy, Way};
use crate::support::redis::Server;
use crate::support::sentinel::Sentinels;
use crate::support::skew::Skew;
use crate::support::zookeeper::{self, ZooKeeper};
use crate::tool::Tool;
use crate::torture::Options;

/// How far a clock jumps.
const JUMP_MINUTES: i8 = 5;
/// Enough for all tickets of a crowd, and soon filled.
const DISK_KIB: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Store {
    File,
    Redis,
    /// A primary, two replicas and three sentinels.
    Sentinel,
    /// Three primaries and three replicas.
    Cluster,
    Postgres,
    /// PostgreSQL behind PgBouncer in transaction mode.
    Pgbouncer,
    /// Three members.
    Etcd,
    /// Three members.
    Zookeeper,
    /// A folder of files for flock(1).
    #[value(skip)]
    Flock,
    /// One member for etcdctl.
    #[value(skip)]
    Etcdctl,
}

impl Store {
    pub fn is_a_peers(self) -> bool {
        matches!(self, Store::Flock | Store::Etcdctl)
    }

    /// Whether it is one of the tests: they have ten minutes, and a fail-over takes its time.
    pub fn is_brief(self) -> bool {
        !matches!(self, Store::Sentinel | Store::Cluster)
    }

    /// As it is called in a summary.
    pub fn told(self) -> &'static str {
        match self {
            Store::File => "file store",
            Store::Redis => "redis",
            Store::Sentinel => "sentinel",
            Store::Cluster => "cluster",
            Store::Postgres => "postgres",
            Store::Pgbouncer => "pgbouncer",
            Store::Flock => "flock",
            Store::Etcd => "etcd",
            Store::Zookeeper => "zookeeper",
            Store::Etcdctl => "etcdctl",
        }
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    /// What every lock command has and claims to survive.
    Common,
}

pub struct Engine {
    place: Place,
    scope: Scope,
    /// The longest lease of a store on a server; how long one that may have forgotten lets nobody in hangs on it.
    max_ttl: Duration,
    /// What some of the callers live by.
    clock: Option<Skew>,
}

enum Place {
    File {
        dir: PathBuf,
        disk: Option<Disk>,
    },
    Redis {
        server: Box<Server>,
        clock: Skew,
        lines: Vec<Proxy>,
    },
    /// Of each caller a line to each sentinel; to the servers it goes straight.
    Sentinel {
        set: Box<Sentinels>,
        lines: Vec<Vec<Proxy>>,
        struck: usize,
    },
    /// Of each caller a line to each node, on which it asks where a lock is kept.
    Cluster {
        cluster: Box<Cluster>,
        lines: Vec<Vec<Proxy>>,
        struck: usize,
    },
    /// Where there is a pooler, the lines lead to it.
    Postgres {
        server: Box<Postgres>,
        clock: Skew,
        lines: Vec<Proxy>,
        pooler: Option<Bouncer>,
    },
    Flock {
        dir: PathBuf,
    },
    /// Of each caller a line to each member.
    Members {
        server: Box<dyn Members>,
        lines: Vec<Vec<Proxy>>,
        /// What the URL says before and after the hosts.
        around: (&'static str, &'static str),
    },
    Etcdctl {
        server: Box<Etcd>,
        lines: Vec<Proxy>,
    },
}

impl Engine {
    pub fn new(store: Store, options: &Options, dir: &Path) -> Engine {
        let (scope, callers) = (options.scope, options.callers);
        let all = scope == Scope::Everything;
        let place = match store {
            Store::File => {
                let disk = (all && may_mount()).then(|| Disk::mount(DISK_KIB));
                Place::File { dir: disk.as_ref().map_or(dir, Disk::path).join("store"), disk }
            }
            Store::Redis => {
                let clock = Skew::zero();
                let server = Server::by(&clock, &["--appendonly", "yes", "--appendfsync", "always"]);
                Place::Redis { lines: lines(server.port, callers), server: Box::new(server), clock }
            }
            Store::Sentinel => {
                let set = Sentinels::with(&["--appendonly", "yes", "--appendfsync", "always"], &[]);
                Place::Sentinel { lines: lines_to_all(&set.ports(), callers), set: Box::new(set), struck: 0 }
            }
            Store::Cluster => {
                let cluster = Cluster::with(&["--appendonly", "yes", "--appendfsync", "always"]);
                Place::Cluster { lines: lines_to_all(&cluster.ports(), callers), cluster: Box::new(cluster), struck: 0 }
            }
            Store::Postgres | Store::Pgbouncer => {
                let clock = Skew::zero();
                let server = Postgres::by(&clock, &["max_connections=200"]);
                // Else it asks a server that was down for half a minute no more.
                let pooler = (store == Store::Pgbouncer).then(|| Bouncer::before(&server, "server_login_retry = 1"));
                let port = pooler.as_ref().map_or(server.port, |pooler| pooler.port);
                Place::Postgres { lines: lines(port, callers), server: Box::new(server), clock, pooler }
            }
            Store::Flock => {
                let dir = dir.join("flock");
                fs::create_dir_all(&dir).unwrap();
                Place::Flock { dir }
            }
            Store::Etcd => {
                let server = Etcd::three();
                // Otherwise the first part of it would be a wait.
                server.settled(max_ttl(store, scope));
                Place::Members { lines: lines_to_all(&server.ports(), callers), server: Box::new(server), around: ("etcd", "") }
            }
            Store::Zookeeper => {
                let (server, around) = (ZooKeeper::three(), ("zk", "/torture"));
                let all: Vec<String> = server.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
                zookeeper::settle(&format!("zk://{}{}", all.join(","), around.1), max_ttl(store, scope));
                Place::Members { lines: lines_to_all(&server.ports(), callers), server: Box::new(server), around }
            }
            Store::Etcdctl => {
                let server = Etcd::start();
                Place::Etcdctl { lines: lines(server.port, callers), server: Box::new(server) }
            }
        };
        Engine { place, scope, max_ttl: max_ttl(store, scope), clock: (all && options.wants("skew callers")).then(Skew::zero) }
    }

    /// The store as this caller names it.
    pub fn url(&self, caller: usize) -> String {
        match &self.place {
            Place::File { dir, .. } => format!("file://{}", dir.display()),
            Place::Redis { lines, .. } => format!("{}?max_ttl={}s", lines[caller].url(), self.max_ttl.as_secs()),
            Place::Sentinel { lines, .. } => {
                format!("redis+sentinel://{}/main?max_ttl={}s&fresh=true", hosts(&lines[caller]), self.max_ttl.as_secs())
            }
            Place::Cluster { lines, .. } => {
                format!("redis+cluster://{}?max_ttl={}s&fresh=true", hosts(&lines[caller]), self.max_ttl.as_secs())
            }
            Place::Postgres { lines, .. } => {
                let port = lines[caller].port;
                format!("postgres://postgres@127.0.0.1:{port}/postgres?max_ttl={}s", self.max_ttl.as_secs())
            }
            Place::Members { lines, around: (scheme, node), .. } => {
                format!("{scheme}://{}{node}?max_ttl={}s", hosts(&lines[caller]), self.max_ttl.as_secs())
            }
            Place::Flock { dir } => dir.display().to_string(),
            Place::Etcdctl { lines, .. } => format!("127.0.0.1:{}", lines[caller].port),
        }
    }

    /// What this caller runs; `binary` is the vaultlock under torture.
    pub fn tool(&self, caller: usize, binary: &Path) -> Tool {
        match (&self.place, &self.clock) {
            (Place::Flock { .. }, _) => Tool::Flock,
            (Place::Etcdctl { .. }, _) => Tool::Etcdctl,
            (_, Some(clock)) if caller % 4 == 3 => Tool::vaultlock_by(clock),
            _ => Tool::vaultlock(binary),
        }
    }

    pub fn rules(&self) -> Rules {
        match &self.place {
            Place::File { .. } => Rules::file(),
            Place::Redis { .. } | Place::Postgres { .. } | Place::Members { .. } => Rules::redis(self.max_ttl),
            // A fail-over takes three seconds, and then nobody is let in for a while.
            Place::Sentinel { .. } | Place::Cluster { .. } => Rules { settled: self.max_ttl * 3, ..Rules::redis(self.max_ttl) },
            Place::Flock { .. } => Rules::peer(false),
            Place::Etcdctl { .. } => Rules::peer(true),
        }
    }

    /// Whether the runs have vaultlock's processes.
    pub fn is_vaultlocks(&self) -> bool {
        !matches!(self.place, Place::Flock { .. } | Place::Etcdctl { .. })
    }

    /// Ttls to choose from, in milliseconds.
    pub fn ttls(&self) -> &'static [u64] {
        match &self.place {
            // etcd knows whole seconds, and no less than two.
            _ if self.scope == Scope::Common => &[2000, 3000],
            Place::Redis { .. } | Place::Postgres { .. } => &[1000, 1500, 2000],
            // An election takes a second or two: some outlive it and some do not.
            Place::Members { .. } => &[2000, 3000, 6000],
            Place::Sentinel { .. } | Place::Cluster { .. } => &[2000, 3000, 5000],
            _ => &[1000, 1500, 2000, 3000],
        }
    }

    /// Leases run out whatever the job's processes still hold.
    pub fn has_leases(&self) -> bool {
        self.rules().leases
    }

    /// All that can be done here.
    pub fn deeds(&self) -> Vec<Deed> {
        let common = match &self.place {
            Place::File { .. } => TO_RUNS.to_vec(),
            Place::Redis { .. } | Place::Postgres { .. } => [&TO_RUNS[..], &TO_SERVER, &TO_LINES].concat(),
            Place::Flock { .. } => TO_PEERS_RUNS.to_vec(),
            Place::Members { .. } => [&TO_RUNS[..], &TO_CLUSTER, &TO_LINES].concat(),
            Place::Sentinel { .. } | Place::Cluster { .. } => [&TO_RUNS[..], &TO_PRIMARY, &TO_LINES].concat(),
            Place::Etcdctl { .. } => [&TO_PEERS_RUNS[..], &TO_SERVER, &TO_LINES].concat(),
        };
        let more: Vec<Deed> = match &self.place {
            _ if self.scope == Scope::Common => Vec::new(),
            Place::File { disk: Some(_), .. } => [&TO_CALLERS[..], &TO_DISK].concat(),
            Place::Postgres { pooler: Some(_), .. } => [&TO_CALLERS[..], &TO_CLOCK, &TO_MEMORY, &TO_POOLER].concat(),
            Place::Redis { .. } | Place::Postgres { .. } => [&TO_CALLERS[..], &TO_CLOCK, &TO_MEMORY].concat(),
            _ => TO_CALLERS.to_vec(),
        };
        [common, more].concat()
    }

    /// Does what is not done to a run's processes.
    pub fn strike(&mut self, deed: Deed, caller: usize, dice: &mut Dice) {
        let minutes = if dice.percent(50) { JUMP_MINUTES } else { -JUMP_MINUTES };
        match (deed.kind, deed.whom, &mut self.place) {
            (Kind::Skew, Whom::Callers, _) => self.clock.as_ref().expect("there is such a deed").set(minutes),
            (Kind::Jump, Whom::Clock, Place::Redis { clock, .. } | Place::Postgres { clock, .. }) => clock.set(minutes),
            (Kind::Fill, Whom::Disk, Place::File { disk: Some(disk), .. }) if dice.percent(50) => disk.fill(),
            (Kind::Fill, Whom::Disk, Place::File { disk: Some(disk), .. }) => disk.fill_with_names(),
            (Kind::Flush, Whom::Server, Place::Redis { server, .. }) => drop(server.tell(&["FLUSHALL"])),
            (Kind::Restart | Kind::Wipe, Whom::Server, Place::Redis { server, .. }) => server.kill(),
            (Kind::Freeze, Whom::Server, Place::Redis { server, .. }) => server.freeze(),
            (Kind::Flush, Whom::Server, Place::Postgres { server, .. }) => server.forget(),
            (Kind::Restart | Kind::Wipe, Whom::Server, Place::Postgres { server, .. }) => server.kill(),
            (Kind::Freeze, Whom::Server, Place::Postgres { server, .. }) => server.freeze(),
            (Kind::Restart, Whom::Pooler, Place::Postgres { pooler: Some(pooler), .. }) => pooler.kill(),
            (Kind::Freeze, Whom::Pooler, Place::Postgres { pooler: Some(pooler), .. }) => pooler.freeze(),
            (Kind::Restart, Whom::Server, Place::Etcdctl { server, .. }) => server.kill(),
            (Kind::Freeze, Whom::Server, Place::Etcdctl { server, .. }) => server.freeze(),
            (Kind::Restart, Whom::Server, Place::Members { server, .. }) => {
                struck(server.as_ref(), dice).into_iter().for_each(|member| server.kill_member(member));
            }
            (Kind::Freeze, Whom::Server, Place::Members { server, .. }) => {
                struck(server.as_ref(), dice).into_iter().for_each(|member| server.freeze_member(member));
            }
            (kind, Whom::Line, Place::Redis { lines, .. } | Place::Postgres { lines, .. } | Place::Etcdctl { lines, .. }) => {
                spoil(&lines[caller], kind, dice)
            }
            (Kind::Restart, Whom::Server, Place::Sentinel { set, struck, .. }) => {
                *struck = set.primary();
                set.servers[*struck].kill();
            }
            (Kind::Freeze, Whom::Server, Place::Sentinel { set, struck, .. }) => {
                *struck = set.primary();
                set.servers[*struck].freeze();
            }
            (Kind::Restart, Whom::Server, Place::Cluster { cluster, struck, .. }) => {
                *struck = cluster.some_primary(dice.below(3));
                cluster.nodes[*struck].kill();
            }
            (Kind::Freeze, Whom::Server, Place::Cluster { cluster, struck, .. }) => {
                *struck = cluster.some_primary(dice.below(3));
                cluster.nodes[*struck].freeze();
            }
            (kind, Whom::Line, Place::Members { lines, .. } | Place::Sentinel { lines, .. } | Place::Cluster { lines, .. }) => {
                // All of them, or one: then there are others.
                let chosen = dice.below(lines[caller].len() * 2);
                let hit = |member: usize| chosen >= lines[caller].len() || chosen == member;
                let lines = lines[caller].iter().enumerate().filter(|(member, _)| hit(*member));
                lines.for_each(|(_, line)| spoil(line, kind, dice));
            }
            _ => unreachable!("{deed:?} can not be done here"),
        }
    }

    /// Once all is mended: waits until a fail-over that is still going on is over.
    pub fn settle(&self) {
        match &self.place {
            Place::Sentinel { set, .. } => set.wait_until_well(),
            Place::Cluster { cluster, .. } => cluster.wait_until_well(),
            _ => {}
        }
    }

    /// Undoes it.
    pub fn mend(&mut self, deed: Deed, caller: usize) {
        match (deed.kind, deed.whom, &mut self.place) {
            (Kind::Skew, Whom::Callers, _) => self.clock.as_ref().expect("there is such a deed").set(0),
            (Kind::Jump, Whom::Clock, Place::Redis { clock, .. } | Place::Postgres { clock, .. }) => clock.set(0),
            (Kind::Fill, Whom::Disk, Place::File { disk: Some(disk), .. }) => disk.make_room(),
            (Kind::Restart, Whom::Server, Place::Redis { server, .. }) => server.start_again(),
            (Kind::Wipe, Whom::Server, Place::Redis { server, .. }) => {
                fs::remove_dir_all(server.path("appendonlydir")).expect("the server kept its data there");
                server.start_again();
            }
            (Kind::Freeze, Whom::Server, Place::Redis { server, .. }) => server.thaw(),
            (Kind::Restart, Whom::Server, Place::Postgres { server, .. }) => server.start_again(),
            (Kind::Wipe, Whom::Server, Place::Postgres { server, .. }) => server.start_anew(),
            (Kind::Freeze, Whom::Server, Place::Postgres { server, .. }) => server.thaw(),
            (Kind::Restart, Whom::Pooler, Place::Postgres { pooler: Some(pooler), .. }) => pooler.start_again(),
            (Kind::Freeze, Whom::Pooler, Place::Postgres { pooler: Some(pooler), .. }) => pooler.thaw(),
            (Kind::Restart, Whom::Server, Place::Members { server, .. }) => server.start_again(),
            (Kind::Freeze, Whom::Server, Place::Members { server, .. }) => server.thaw(),
            (Kind::Restart, Whom::Server, Place::Etcdctl { server, .. }) => server.start_again(),
            (Kind::Freeze, Whom::Server, Place::Etcdctl { server, .. }) => server.thaw(),
            (Kind::Restart, Whom::Server, Place::Sentinel { set, struck, .. }) => set.servers[*struck].start_again(),
            (Kind::Freeze, Whom::Server, Place::Sentinel { set, struck, .. }) => set.servers[*struck].thaw(),
            (Kind::Restart, Whom::Server, Place::Cluster { cluster, struck, .. }) => cluster.nodes[*struck].start_again(),
            (Kind::Freeze, Whom::Server, Place::Cluster { cluster, struck, .. }) => cluster.nodes[*struck].thaw(),
            (_, Whom::Line, Place::Members { lines, .. } | Place::Sentinel { lines, .. } | Place::Cluster { lines, .. }) => {
                for line in &lines[caller] {
                    line.to_server(Way::Pass);
                    line.to_client(Way::Pass);
                }
            }
            (kind, Whom::Line, Place::Redis { lines, .. } | Place::Postgres { lines, .. } | Place::Etcdctl { lines, .. }) => {
                // A line that lost bytes ends, as TCP ends it. That vaultlock gets over a gap is no reason to ask it of all.
                if kind == Kind::Swallow && self.scope == Scope::Common {
                    lines[caller].cut();
                }
                lines[caller].to_server(Way::Pass);
                lines[caller].to_client(Way::Pass);
            }
            _ => {}
        }
    }
}

fn max_ttl(store: Store, scope: Scope) -> Duration {
    Duration::from_secs(match (store, scope) {
        (Store::Etcd | Store::Zookeeper, Scope::Everything) => 6,
        (Store::Sentinel | Store::Cluster, Scope::Everything) => 5,
        (_, Scope::Common) => 3,
        _ => 2,
    })
}

fn may_mount() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("the disk is never full here: root alone can mount a small one");
    }
    root
}

fn lines(server: u16, callers: usize) -> Vec<Proxy> {
    (0..callers).map(|_| Proxy::before(server)).collect()
}

fn lines_to_all(servers: &[u16], callers: usize) -> Vec<Vec<Proxy>> {
    (0..callers).map(|_| servers.iter().copied().map(Proxy::before).collect()).collect()
}

/// As they stand in a URL.
fn hosts(lines: &[Proxy]) -> String {
    lines.iter().map(|line| format!("127.0.0.1:{}", line.port)).collect::<Vec<_>>().join(",")
}

fn spoil(line: &Proxy, kind: Kind, dice: &mut Dice) {
    match kind {
        Kind::Cut if dice.percent(50) => line.cut(),
        Kind::Cut => bend(line, Way::CutAfter(dice.below(600)), dice),
        Kind::HalfClose => line.half_close(),
        Kind::Swallow => bend(line, Way::Swallow, dice),
        Kind::Hold => bend(line, Way::Hold, dice),
        Kind::Delay => {
            let by = dice.span(Duration::from_millis(5), Duration::from_millis(500));
            bend(line, Way::Delay(by), dice);
        }
        _ => unreachable!("{kind} of a line"),
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
        let callers = match &self.place {
            Place::Redis { lines, .. } | Place::Postgres { lines, .. } => lines.len(),
            Place::Members { lines, .. } | Place::Sentinel { lines, .. } | Place::Cluster { lines, .. } => lines.len(),
            _ => 0,
        };
        for url in (0..callers).map(|caller| self.url(caller)) {
            if let Some(notes) = Location::parse(&url).ok().and_then(|location| location.notes_dir()) {
                let _ = fs::remove_dir_all(notes);
            }
        }
    }
}
