//! P3: a queue of jobs that leave daemons behind, change their pids, ignore the stop signal or are interrupted. Each next
//! holder asks the kernel whether a process of the one before it still lives.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;

use super::row::{Found, Row};
use super::stage::{Engine, Noted, Part, Run, Stage};
use super::{Setting, lanes};
use crate::job::Manner;
use crate::log::{Event, What};
use crate::support::redis::Server;
use crate::support::running::wait_for;

/// So many stand in the queue at any time, so that a lock given back too early is taken at once.
const QUEUE: usize = 3;

pub fn measure(setting: &Setting) -> Vec<Row> {
    let server = Server::start();
    let url = Noted(format!("{}?max_ttl=5s&fresh=true", server.url()));
    let row = |engine: Engine| {
        let open = |number| {
            let stage = match engine {
                Engine::Files => Stage::on_files(setting),
                Engine::Redis => Stage::on(setting, url.0.clone()),
            };
            Lane::open(stage, format!("x{number}"))
        };
        let found = lanes::run(2, setting.trials(60, 1000), open, |lane, _| lane.serve());
        let what = format!("{}: daemons, forks, changing pids, TERM ignored", engine.word());
        Row::new("P3 released after the last process", what).add_all(found)
    };
    Engine::ALL.into_iter().map(row).collect()
}

/// One lock and its queue.
struct Lane {
    stage: Stage,
    lock: String,
    queue: VecDeque<(Run, bool)>,
    /// The last job that began, and all the kernel's and the log's complaints so far.
    holder: u64,
    complaints: Vec<String>,
}

impl Lane {
    fn open(stage: Stage, lock: String) -> Lane {
        let mut lane = Lane { stage, lock, queue: VecDeque::new(), holder: 0, complaints: Vec::new() };
        (0..QUEUE).for_each(|_| lane.join());
        lane
    }

    /// One more in the queue: of any manner, and one in four is to be interrupted.
    fn join(&mut self) {
        let manner = Manner::ALL[fastrand::usize(..Manner::ALL.len())];
        let stragglers = if manner.ends() && fastrand::bool() { "wait" } else { "kill" };
        let span = Duration::from_millis(fastrand::u64(0..40));
        let run = self.stage.run(&["--ttl", "5s", "--stragglers", stragglers], &self.lock, Part::Manner(manner, span));
        self.queue.push_back((run, fastrand::u8(..4) == 0));
    }

    /// Sees the next one through to its end.
    fn serve(&mut self) -> Found {
        self.join();
        let (mut run, interrupt) = self.queue.pop_front().expect("it was just joined");
        let mut found = Found { faults: usize::from(interrupt), ..Found::trial() };
        if interrupt {
            wait_for("its turn", || {
                self.look();
                self.holder >= run.job || run.running.is_over()
            });
            sleep(Duration::from_millis(fastrand::u64(0..20)));
            // The second one ends the patience with those who do not obey the first.
            run.running.send(SIGTERM);
            sleep(Duration::from_millis(fastrand::u64(1..20)));
            run.running.send(SIGTERM);
        }
        let done = run.running.end();
        found.expect(interrupt || done.code == 0, || format!("code {}: {}", done.code, done.err));
        self.look();
        found.violations.append(&mut self.complaints);
        found
    }

    fn look(&mut self) {
        for event in self.stage.take_events() {
            match &event.what {
                What::Start(sign) => self.holder = sign.job,
                What::Tick(sign) | What::End(sign) if sign.job == self.holder => {}
                _ => self.complain(&event),
            }
        }
    }

    fn complain(&mut self, event: &Event) {
        self.complaints.push(format!("while job {} holds the lock: {event}", self.holder));
    }
}
