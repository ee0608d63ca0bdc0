//! P6: a holder is killed, frozen or cut off at a random moment; how long until the next one's job starts?

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};
use vaultlock::time::Clock;

use super::quiet::Deed;
use super::row::{Found, Row};
use super::stage::{Engine, Noted, Part, Run, Stage};
use super::{Setting, lanes};
use crate::support::proxy::{Proxy, Way};
use crate::support::redis::Server;
use crate::support::running::wait_for;

const TTL: Duration = Duration::from_secs(1);
/// On the file store the kernel frees the lock with its last process.
const AT_ONCE: Duration = Duration::from_millis(200);

/// What happens to a holder.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    Kill,
    /// On the file store a frozen sentry keeps the lock, though its job is dead: only the worker, or until it is thawed.
    FreezeWorker,
    FreezeAndThaw,
    Freeze,
    RequestsLost,
    AnswersLost,
    Cut,
}

impl Case {
    fn says(self) -> &'static str {
        match self {
            Case::Kill => "all its processes killed",
            Case::FreezeWorker => "its worker frozen",
            Case::FreezeAndThaw => "all its processes frozen, thawed after the deadline",
            Case::Freeze => "all its processes frozen",
            Case::RequestsLost => "its requests are lost",
            Case::AnswersLost => "the answers to it are lost",
            Case::Cut => "cut off",
        }
    }

    /// On the file store, the moment that counts.
    fn from(self) -> &'static str {
        match self {
            Case::FreezeWorker => "from the last process's end to the next start",
            Case::FreezeAndThaw => "from the thaw to the next start",
            _ => "from the kill to the next start",
        }
    }

    /// Those that can happen on this engine.
    fn of(engine: Engine) -> &'static [Case] {
        match engine {
            Engine::Files => &[Case::Kill, Case::FreezeWorker, Case::FreezeAndThaw],
            Engine::Redis => &[Case::Kill, Case::Freeze, Case::RequestsLost, Case::AnswersLost, Case::Cut],
        }
    }
}

pub fn measure(setting: &Setting) -> Vec<Row> {
    let server = Server::start();
    let url = Noted(format!("{}?max_ttl=2s&fresh=true", server.url()));
    let mut rows = Vec::new();
    for engine in Engine::ALL {
        let cases = Case::of(engine);
        for case in cases {
            let open = |number| match engine {
                Engine::Files => Lane::open(Stage::on_files(setting), "x".to_owned(), Vec::new()),
                Engine::Redis => {
                    let lines = (0..2).map(|_| Line::to(&server)).collect();
                    Lane::open(Stage::on(setting, url.0.clone()), format!("x{number}-{}", fastrand::u32(..)), lines)
                }
            };
            let (bound, from) = match engine {
                Engine::Files => (AT_ONCE, case.from()),
                Engine::Redis => (TTL.mul_f64(1.01) + Duration::from_secs(2), "from the fault to the next start; ttl 1 s"),
            };
            // What is over in milliseconds is measured alone.
            let side_by_side = if *case == Case::Kill && engine == Engine::Files { 1 } else { 16 };
            let trials = setting.trials(24, 500) / cases.len();
            let found = lanes::run(side_by_side, trials, open, |lane: &mut Lane, _| lane.lose(*case));
            rows.push(
                Row::new("P6 replaced in time", format!("{}: {}", engine.word(), case.says()))
                    .within(bound)
                    .noted(from)
                    .add_all(found),
            );
        }
    }
    rows
}

/// A lock and its next holder, always already there. Each second run reaches its server by the other line.
struct Lane {
    stage: Stage,
    lock: String,
    lines: Vec<Line>,
    turn: usize,
    front: Option<Run>,
}

/// A line of its own to the server.
struct Line {
    proxy: Proxy,
    url: Noted,
}

impl Line {
    fn to(server: &Server) -> Line {
        let proxy = Proxy::before(server.port);
        let url = Noted(format!("{}?max_ttl=2s&fresh=true", proxy.url()));
        Line { proxy, url }
    }

    fn fail(&self, case: Case) {
        match case {
            Case::RequestsLost => self.proxy.to_server(Way::Swallow),
            Case::AnswersLost => self.proxy.to_client(Way::Swallow),
            _ => {
                self.proxy.to_server(Way::CutAfter(0));
                self.proxy.cut();
            }
        }
    }

    fn mend(&self) {
        self.proxy.cut();
        self.proxy.to_server(Way::Pass);
        self.proxy.to_client(Way::Pass);
    }
}

impl Lane {
    fn open(stage: Stage, lock: String, lines: Vec<Line>) -> Lane {
        Lane { stage, lock, lines, turn: 0, front: None }
    }

    fn join(&mut self) -> Run {
        self.turn += 1;
        let line = self.lines.get(self.turn % 2).map(|line| line.url.0.as_str());
        let store = line.map_or(Vec::new(), |url| vec!["--store", url]);
        self.stage.run(&[&store[..], &["--ttl", "1s"]].concat(), &self.lock, Part::Quiet(0, Deed::Stay))
    }

    fn lose(&mut self, case: Case) -> Found {
        let mut found = Found { faults: 1, ..Found::trial() };
        let mut holder = self.front.take().unwrap_or_else(|| self.join());
        self.stage.wait_until_up(&mut holder);
        let line = self.turn % 2;
        let next = self.join();
        self.stage.wait_for_waiting(&self.lock, 1);
        let processes = holder.processes();
        // Anywhere between two beats.
        sleep(Duration::from_micros(fastrand::u64(0..TTL.as_micros() as u64 / 4)));
        let fault = Clock::Boottime.now();
        match case {
            Case::Kill => processes.send_all(SIGKILL),
            Case::FreezeWorker => processes.worker.send(SIGSTOP),
            Case::Freeze | Case::FreezeAndThaw => processes.send_all(SIGSTOP),
            _ => self.lines[line].fail(case),
        }
        let mut from = fault;
        if matches!(case, Case::FreezeWorker | Case::FreezeAndThaw) {
            let end = processes.last_end(fault + TTL * 5);
            found.expect(end.is_some(), || format!("{}: the job lives on", case.says()));
            from = end.unwrap_or(fault);
        }
        if case == Case::FreezeAndThaw {
            found.expect(self.stage.started(next.job).is_none(), || "a frozen sentry did not keep the lock".to_owned());
            from = Clock::Boottime.now();
            processes.sentry.send(SIGCONT);
        }
        let start = || self.stage.started(next.job);
        wait_for("the next start", || start().is_some());
        found.times.push(start().map_or(Duration::MAX, |start| start.since(from)));
        found.violations.extend(self.stage.overlap(next.job));
        processes.send_all(SIGKILL);
        holder.running.end();
        if let Some(line) = self.lines.get(line) {
            line.mend();
        }
        self.front = Some(next);
        found
    }
}
