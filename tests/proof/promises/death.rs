//! P2: vaultlock is killed or frozen while its job is a tree of daemons; the kernel says when the last of them is gone.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal::{self, SIGKILL, SIGSTOP};
use vaultlock::time::{Clock, Tick};

use super::quiet::Deed;
use super::row::{Found, Row};
use super::stage::{Engine, Noted, Part, Stage};
use super::{Setting, lanes};
use crate::support::redis::Server;

const NAME: &str = "P2 dead by the deadline";
const TTL: Duration = Duration::from_secs(1);
/// A lease ends so much earlier than its ttl for the holder: clocks may tick 1 % apart.
const LEASE: Duration = Duration::from_millis(990);
/// How far past the deadline a process may be seen: what it takes to look.
const LATE: Duration = Duration::from_millis(50);
/// Beyond this the trial is given up and what still lives is counted.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// Side by side, and one at a time: the end of so many is most of the machine's work while it lasts.
const TREES: [usize; 2] = [1, 50];
const FOREST: usize = 500;
const POLL: Duration = Duration::from_micros(500);

/// What is done to whom.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    signal: Signal,
    sentry: bool,
    worker: bool,
}

impl Case {
    /// Both at once: then only a namespace reaches what the job's leader has left in the background.
    fn isolates(self) -> bool {
        self.sentry && self.worker
    }

    fn kills(self) -> bool {
        self.signal == SIGKILL
    }
}

const CASES: [Case; 5] = [
    Case { what: "sentry killed", signal: SIGKILL, sentry: true, worker: false },
    Case { what: "worker killed", signal: SIGKILL, sentry: false, worker: true },
    Case { what: "both killed, --isolate", signal: SIGKILL, sentry: true, worker: true },
    Case { what: "worker frozen", signal: SIGSTOP, sentry: false, worker: true },
    Case { what: "both frozen, --isolate", signal: SIGSTOP, sentry: true, worker: true },
];

pub fn measure(setting: &Setting) -> Vec<Row> {
    let server = Server::start();
    let url = Noted(format!("{}?max_ttl=2s&fresh=true", server.url()));
    let mut rows = Vec::new();
    for engine in Engine::ALL {
        let open = |_| match engine {
            Engine::Files => Stage::on_files(setting),
            Engine::Redis => Stage::on(setting, url.0.clone()),
        };
        for case in CASES {
            // A kill is over in milliseconds; a freeze lasts as long as the lease.
            let side_by_side = if case.kills() { 2 } else { 8 };
            let trees = lanes::run(side_by_side, setting.trials(12, 200), open, |stage, number| {
                die(stage, &format!("tree-{number}"), TREES[number % TREES.len()], case)
            });
            let forest =
                lanes::run(1, setting.trials(1, 15), open, |stage, number| die(stage, &format!("forest-{number}"), FOREST, case));
            let times = if case.kills() {
                "from the kill to the last process's end"
            } else {
                "from the freeze to the last process's end"
            };
            let row = Row::new(NAME, format!("{}: {}", engine.word(), case.what)).within(LEASE + LATE);
            rows.push(row.noted(times).add_all(trees.into_iter().chain(forest)));
        }
        let found = lanes::run(8, setting.trials(6, 60), open, live_on);
        rows.push(Row::new(NAME, format!("{}: sentry frozen: job and lock live on", engine.word())).add_all(found));
    }
    rows
}

fn die(stage: &mut Stage, tree: &str, daemons: usize, case: Case) -> Found {
    let mut found = Found { faults: 1, ..Found::trial() };
    let name = format!("{}-{tree}", case.what.replace([' ', ','], ""));
    let isolate: &[&str] = if case.isolates() { &["--isolate"] } else { &[] };
    let run = stage.hold(&[&["--ttl", "1s"], isolate].concat(), &name, Part::Quiet(daemons, Deed::Stay));
    let presence = Presence::open(&stage.file(&format!("presence-{name}")));
    let processes = run.processes();
    // Anywhere between two beats.
    sleep(Duration::from_micros(fastrand::u64(0..TTL.as_micros() as u64 / 4)));
    found.expect(presence.is_had(), || "the witness does not see a living tree".to_owned());
    let fault = Clock::Boottime.now();
    for (hit, process) in [case.sentry, case.worker].into_iter().zip(processes.vaultlock()) {
        if hit {
            process.send(case.signal);
        }
    }
    let gone = presence.gone_by(fault + GIVEN_UP);
    let survivors = processes.job.iter().filter(|process| !process.is_gone()).count();
    processes.send_all(SIGKILL);
    let said = run.running.end().err;
    match gone {
        Some(gone) => found.times.push(gone.since(fault)),
        None => found.violations.push(format!("{name}: {survivors} of {daemons} daemons live {GIVEN_UP:?} later: {said}")),
    }
    found
}

/// The worker renews without the sentry: nobody dies and nobody is let in, however long the sentry stands still.
fn live_on(stage: &mut Stage, number: usize) -> Found {
    let mut found = Found { faults: 1, ..Found::trial() };
    let name = format!("lives-on-{number}");
    let run = stage.hold(&["--ttl", "1s"], &name, Part::Quiet(1, Deed::Wait));
    let next = stage.run(&["--ttl", "1s"], &name, Part::Quiet(0, Deed::Wait));
    stage.wait_for_waiting(&name, 1);
    let presence = Presence::open(&stage.file(&format!("presence-{name}")));
    let processes = run.processes();
    processes.sentry.send(SIGSTOP);
    let end = Clock::Boottime.now() + TTL * 2;
    while Clock::Boottime.now() < end {
        let alive = presence.is_had() && stage.started(next.job).is_none();
        found.expect(alive, || "with its sentry frozen, a job died or was overtaken".to_owned());
        if !alive {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    processes.send_all(SIGKILL);
    next.processes().send_all(SIGKILL);
    run.running.end();
    next.running.end();
    found
}

/// The kernel's word that a process of the job lives: they all share one open file with an flock on it.
struct Presence(File);

impl Presence {
    fn open(path: &Path) -> Presence {
        Presence(OpenOptions::new().read(true).open(path).unwrap())
    }

    fn is_had(&self) -> bool {
        let free = self.0.try_lock_shared().is_ok();
        if free {
            self.0.unlock().unwrap();
        }
        !free
    }

    /// When it was first seen free.
    fn gone_by(&self, until: Tick) -> Option<Tick> {
        loop {
            let had = self.is_had();
            let now = Clock::Boottime.now();
            if !had {
                return Some(now);
            }
            if now > until {
                return None;
            }
            sleep(POLL);
        }
    }
}
