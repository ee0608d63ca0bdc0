//! P7: a lock that is given back is taken by the next in line, soon where it is woken, and within one beat where every
//! notification is lost.

use std::fs;
use std::time::Duration;

use vaultlock::timing::BEATS_PER_TTL;

use super::quiet::Deed;
use super::row::{Found, Row};
use super::stage::{Engine, Noted, Part, Run, Stage};
use super::{Setting, lanes};
use crate::support::proxy::Proxy;
use crate::support::redis::Server;
use crate::support::running::wait_for;

const NAME: &str = "P7 no lost wake-ups";
const SOON: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(5);
/// What it takes to look once more and to start a job, on a machine with other work.
const START: Duration = Duration::from_millis(150);

pub fn measure(setting: &Setting) -> Vec<Row> {
    let beat = TTL / BEATS_PER_TTL;
    let mut rows = Vec::new();
    for engine in Engine::ALL {
        let server = Server::start();
        let (woken, deaf) = (Line::to(&server, false), Line::to(&server, true));
        for line in [&woken, &deaf] {
            let open = |number| {
                let stage = match engine {
                    Engine::Files => Stage::on_files(setting),
                    Engine::Redis => Stage::on(setting, line.url.0.clone()),
                };
                Lane { stage, lock: format!("x{number}"), mute: line.deaf && engine == Engine::Files, holder: None }
            };
            // What is woken is over in milliseconds; what is not waits for its beat.
            let (side_by_side, bound) = if line.deaf { (24, beat + START) } else { (2, SOON) };
            let found = lanes::run(side_by_side, setting.trials(if line.deaf { 48 } else { 100 }, 2000), open, |lane, _| {
                lane.hand_over()
            });
            let (what, note) = match (line.deaf, engine) {
                (false, _) => ("woken", "from one job's end to the next one's start".to_owned()),
                (true, Engine::Files) => ("no bell rings", "the kernel still tells who watches a lock's file".to_owned()),
                (true, Engine::Redis) => {
                    ("no notification arrives", format!("{} were lost; a beat is 1 s", line.proxy.unheard()))
                }
            };
            let mut row = Row::new(NAME, format!("{}: {what}", engine.word())).within(bound).noted(note).add_all(found);
            let lost = line.proxy.unheard() > 0;
            row.expect(engine == Engine::Files || lost == line.deaf, "the proxy did not do what it was told");
            rows.push(row);
        }
    }
    rows
}

/// A line to the server, on which subscribers may hear nothing.
struct Line {
    proxy: Proxy,
    url: Noted,
    deaf: bool,
}

impl Line {
    fn to(server: &Server, deaf: bool) -> Line {
        let proxy = Proxy::before(server.port);
        if deaf {
            proxy.deafen();
        }
        let url = Noted(format!("{}?max_ttl=5s&fresh=true", proxy.url()));
        Line { proxy, url, deaf }
    }
}

/// A lock with a holder and one who waits.
struct Lane {
    stage: Stage,
    lock: String,
    /// The bell of each that waits is taken away.
    mute: bool,
    holder: Option<Run>,
}

impl Lane {
    fn hand_over(&mut self) -> Found {
        let mut found = Found { faults: usize::from(self.mute), ..Found::trial() };
        let mut holder = self.holder.take().unwrap_or_else(|| self.join());
        self.stage.wait_until_up(&mut holder);
        let next = self.join();
        self.stage.wait_for_waiting(&self.lock, 1);
        if self.mute {
            wait_for("a bell to take away", || self.take_bell());
        }
        self.stage.let_go(&holder);
        let times = || Some((self.stage.ended(holder.job)?, self.stage.started(next.job)?));
        wait_for("the next start", || times().is_some());
        found.times.extend(times().map(|(end, start)| start.since(end)));
        found.violations.extend(self.stage.overlap(next.job));
        let done = holder.running.end();
        found.expect(done.code == 0 && done.err.is_empty(), || format!("code {}: {}", done.code, done.err));
        self.holder = Some(next);
        found
    }

    fn join(&self) -> Run {
        self.stage.run(&["--ttl", "5s"], &self.lock, Part::Quiet(0, Deed::Wait))
    }

    /// Whether the one who waits had one. Its holder's, made late in a brief job, rings for nobody here.
    fn take_bell(&self) -> bool {
        let boots: Vec<_> = fs::read_dir(self.stage.file("store")).into_iter().flatten().flatten().collect();
        let view = self.stage.view(&self.lock);
        let waiter = view.waiters().next().map(|listed| listed.ticket.id.clone());
        waiter.is_some_and(|id| {
            let bell = |boot: &fs::DirEntry| boot.path().join(&self.lock).join("bells").join(id.as_str());
            boots.iter().any(|boot| fs::remove_file(bell(boot)).is_ok())
        })
    }
}
