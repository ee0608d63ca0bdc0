//! P8: those who wait are let in in the order of their tickets. One that stands first and does not move is passed, and
//! keeps its place.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};

use vaultlock::timing::{BEATS_PER_TTL, DEFAULT_TTL};

use super::processes::stand_still;
use super::quiet::Deed;
use super::row::{Found, Row};
use super::stage::{Engine, Noted, Part, Run, Stage};
use super::{Setting, lanes};
use crate::support::redis::Server;
use crate::support::running::wait_for;

const NAME: &str = "P8 first come, first served";
const QUEUE: usize = 20;
/// A waiter of rank 1 lets a vacancy pass for so long before it acts. Not being woken, it learns of it at its next beat.
const PATIENCE: Duration = Duration::from_secs(1);
/// What it takes to look once more and to start a job, on a machine with other work.
const START: Duration = Duration::from_millis(150);

pub fn measure(setting: &Setting) -> Vec<Row> {
    let server = Server::start();
    let url = Noted(format!("{}?fresh=true", server.url()));
    let mut rows = Vec::new();
    for engine in Engine::ALL {
        let open = |_| match engine {
            Engine::Files => Stage::on_files(setting),
            Engine::Redis => Stage::on(setting, url.0.clone()),
        };
        let found = lanes::run(2, setting.trials(4, 125), open, |stage, number| serve(stage, &format!("queue{number}")));
        let what = format!("{}: {QUEUE} waiters, grants in the order of tickets", engine.word());
        rows.push(Row::new(NAME, what).add_all(found));
        let pass_at = [(Duration::from_secs(5), setting.trials(8, 80)), (DEFAULT_TTL, setting.trials(0, 40))];
        for (ttl, trials) in pass_at.into_iter().filter(|(_, trials)| *trials > 0) {
            let found =
                lanes::run(16, trials, open, |stage, number| pass(stage, &format!("frozen{number}-{}", ttl.as_secs()), ttl));
            let what = format!("{}: a frozen head is passed and keeps its place; ttl {} s", engine.word(), ttl.as_secs());
            let row = Row::new(NAME, what).within(PATIENCE + ttl / BEATS_PER_TTL + START);
            rows.push(row.noted("from the vacancy to the second's start; never before 1 s").add_all(found));
        }
    }
    rows
}

/// All join at random moments while the lock is held; each grant is a trial.
fn serve(stage: &mut Stage, lock: &str) -> Found {
    let mut found = Found::default();
    let holder = stage.hold(&["--ttl", "10s"], lock, Part::Quiet(0, Deed::Wait));
    let join = |_| {
        let run = stage.run(&["--ttl", "10s"], lock, Part::Quiet(0, Deed::Wait));
        stage.let_go(&run);
        sleep(Duration::from_micros(fastrand::u64(0..4000)));
        run
    };
    let queue: Vec<Run> = (0..QUEUE).map(join).collect();
    stage.wait_for_waiting(lock, QUEUE);
    let tickets: Vec<u64> = stage.queue(lock);
    stage.let_go(&holder);
    holder.running.end();
    let mut starts = Vec::new();
    for run in queue {
        let done = run.running.end();
        found.expect(done.code == 0, || format!("code {}: {}", done.code, done.err));
        starts.push((stage.started(run.job), run.job));
        found.violations.extend(stage.overlap(run.job));
    }
    starts.sort();
    let grants = || starts.iter().map(|(_, job)| *job);
    let place = |job: u64| tickets.iter().position(|ticket| *ticket == job);
    let places: Vec<Option<usize>> = grants().map(place).collect();
    let inversions = places.iter().enumerate().flat_map(|(at, one)| places[at..].iter().map(move |later| later < one));
    let inversions = inversions.filter(|inverted| *inverted).count();
    found.expect(inversions == 0, || {
        format!("{inversions} inversions: tickets {tickets:?}, grants {:?}", grants().collect::<Vec<_>>())
    });
    found.trials = QUEUE;
    found
}

/// The first of three waiters stands still when the lock is given back: the second passes it, nobody passes the second,
/// and the first is served once it moves again.
fn pass(stage: &mut Stage, lock: &str, ttl: Duration) -> Found {
    let mut found = Found { faults: 1, ..Found::trial() };
    let said = format!("{}s", ttl.as_secs());
    let holder = stage.hold(&["--ttl", &said], lock, Part::Quiet(0, Deed::Wait));
    let queue = [1, 2, 3].map(|count| {
        let run = stage.run(&["--ttl", &said], lock, Part::Quiet(0, Deed::Wait));
        stage.wait_for_waiting(lock, count);
        // Those who come at the same moment also look at the same moments.
        sleep((ttl / BEATS_PER_TTL).mul_f64(fastrand::f64()));
        run
    });
    let frozen = queue[0].processes();
    frozen.vaultlock().into_iter().for_each(|process| process.send(SIGSTOP));
    wait_for("a head that stands still", || stand_still(frozen.vaultlock()));
    stage.let_go(&holder);
    let first_start = || queue.iter().filter_map(|run| stage.started(run.job)).min();
    wait_for("a pass", || first_start().is_some() && stage.ended(holder.job).is_some());
    if let (Some(end), Some(start)) = (stage.ended(holder.job), first_start()) {
        let took = start.since(end);
        found.expect(took >= PATIENCE, || format!("the head was passed after {took:?} only"));
        found.times.push(took);
    }
    frozen.vaultlock().into_iter().for_each(|process| process.send(SIGCONT));
    queue.iter().for_each(|run| stage.let_go(run));
    let all_started = || queue.iter().map(|run| stage.started(run.job)).collect::<Option<Vec<_>>>();
    wait_for("all to be served", || all_started().is_some());
    if let Some([first, second, third]) = all_started().as_deref() {
        found.expect(second < third, || format!("ttl {said}: while the head was frozen, the third waiter overtook the second"));
        found.expect(second.min(third) < first && first < second.max(third), || "the head did not keep its place".to_owned());
    }
    found.violations.extend(queue.iter().filter_map(|run| stage.overlap(run.job)));
    for run in queue.into_iter().chain([holder]) {
        let done = run.running.end();
        found.expect(done.code == 0, || format!("code {}: {}", done.code, done.err));
    }
    found
}
