//! P11: a Redis forgets who held what, by a crash without its data, a flush, or a fail-over to a replica that lagged.
//! Nobody may start before every holder it may have forgotten is dead, and then somebody must.

use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use vaultlock::time::Clock;

use super::quiet::Deed;
use super::row::{Found, Row};
use super::stage::{Noted, Part, Run, Stage};
use super::{Setting, lanes};
use crate::job::Manner;
use crate::log::{Event, What};
use crate::support::proxy::{Proxy, Way};
use crate::support::redis::Server;
use crate::support::running::wait_for;

const MAX_TTL: Duration = Duration::from_secs(2);
/// No job ends by itself.
const LONG: Duration = Duration::from_secs(600);

/// How a server forgets.
#[derive(Clone, Copy)]
enum Loss {
    Restart,
    Flush,
    FailOver,
}

pub fn measure(setting: &Setting) -> Vec<Row> {
    let losses = [
        (Loss::Restart, "killed and started without its data"),
        (Loss::Flush, "FLUSHALL"),
        (Loss::FailOver, "fail-over to a replica that lagged"),
    ];
    let row = |(loss, what): (Loss, &str)| {
        let found = lanes::run(12, setting.trials(8, 72), |_| Lane::open(setting), |lane, number| lane.lose(loss, number));
        let row =
            Row::new("P11 a store that forgot", format!("redis: {what}")).within(MAX_TTL.mul_f64(1.01) + Duration::from_secs(2));
        row.noted("from the loss to the next start; max_ttl 2 s").add_all(found)
    };
    losses.into_iter().map(row).collect()
}

/// A server at an address that outlives it.
struct Lane {
    stage: Stage,
    server: Server,
    door: Proxy,
    _url: Noted,
}

impl Lane {
    fn open(setting: &Setting) -> Lane {
        let server = Server::start();
        let door = Proxy::before(server.port);
        let url = format!("{}?max_ttl=2s", door.url());
        Lane { stage: Stage::on(setting, url.clone()), server, door, _url: Noted(url) }
    }

    fn lose(&mut self, loss: Loss, number: usize) -> Found {
        let mut found = Found { faults: 1, ..Found::trial() };
        let lock = format!("x{number}");
        self.use_once(&format!("{lock}-before"));
        let replica = matches!(loss, Loss::FailOver).then(|| Replica::lagging(&self.server));
        // It dies of nothing but SIGKILL.
        let stubborn = Part::Manner(Manner::Stubborn, LONG);
        let holder = self.stage.hold(&["--ttl", "2s"], &lock, stubborn);
        let waiter = self.stage.run(&["--ttl", "2s"], &lock, Part::Quiet(0, Deed::Stay));
        self.stage.wait_for_waiting(&lock, 1);
        let fault = Clock::Boottime.now();
        match replica {
            Some(replica) => {
                self.server = replica.takes_over(&self.door, &mut self.server);
            }
            None if matches!(loss, Loss::Restart) => self.server.restart(),
            None => drop(self.server.tell(&["FLUSHALL"])),
        }
        // One who comes after the loss knows nothing of what was before.
        let newcomer = self.stage.run(&["--ttl", "2s"], &lock, Part::Quiet(0, Deed::Stay));
        let next = || [&waiter, &newcomer].into_iter().filter_map(|run| self.stage.started(run.job)).min();
        wait_for("the next start", || next().is_some());
        found.times.extend(next().map(|start| start.since(fault)));
        found.violations.extend(beside(&self.stage.take_events(), holder.job));
        end([waiter, newcomer]);
        let done = holder.running.end();
        found.expect(done.code == 121, || format!("the holder ended with {}: {}", done.code, done.err));
        found
    }

    /// A store that nobody used yet has nothing to forget.
    fn use_once(&self, lock: &str) {
        let done = self.stage.say(&["run", "--ttl", "2s", lock, "true"]);
        assert_eq!((done.code, done.err.as_str()), (0, ""));
    }
}

/// What the old job did after a new one began, and fences that did not rise.
fn beside(events: &[Event], old: u64) -> Vec<String> {
    let (mut begun, mut fence, mut found) = (false, 0, Vec::new());
    for event in events {
        let wrong = match &event.what {
            What::Start(sign) => {
                let rises = sign.fence > fence;
                (begun, fence) = (begun || sign.job != old, sign.fence);
                !rises
            }
            What::Tick(sign) => begun && sign.job == old,
            _ => true,
        };
        if wrong {
            found.push(format!("after a loss of memory: {event}"));
        }
    }
    found
}

fn end(runs: [Run; 2]) {
    for run in &runs {
        run.processes().send_all(SIGKILL);
    }
    runs.into_iter().for_each(|run| drop(run.running.end()));
}

/// A server that followed another one until a moment ago.
struct Replica {
    server: Server,
    _link: Proxy,
}

impl Replica {
    /// It has what the primary has, and gets no more.
    fn lagging(primary: &Server) -> Replica {
        primary.tell(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        let (server, link) = (Server::start(), Proxy::before(primary.port));
        server.tell(&["REPLICAOF", "127.0.0.1", &link.port.to_string()]);
        wait_for("a replica in step", || {
            let keys = |server: &Server| server.ask(&["DBSIZE"]);
            server.ask(&["INFO", "replication"]).contains("master_link_status:up") && keys(&server) == keys(primary)
        });
        link.to_client(Way::Swallow);
        Replica { server, _link: link }
    }

    /// The primary dies, and its address leads here.
    fn takes_over(self, door: &Proxy, primary: &mut Server) -> Server {
        primary.kill();
        self.server.tell(&["REPLICAOF", "NO", "ONE"]);
        door.redirect(self.server.port);
        door.cut();
        self.server
    }
}
