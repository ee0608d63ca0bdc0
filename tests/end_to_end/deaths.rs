//! Whoever is killed or frozen: the next job starts only when every process of the first one is gone, and soon after.
//!
//! The jobs keep one log, written with O_APPEND: its order is what happened.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{self, SIGCONT, SIGKILL, SIGSTOP, SIGTERM};

use crate::vault::{Done, Running, Vault, is_alive, send, send_all, stays, wait_for};

/// Writes `NAME PID` to the log, COUNT times at most.
const TICK: &str = "trap '' TERM HUP; i=0; while [ $i -lt $2 ]; do echo $1 $$ >> $F/log; sleep 0.05; i=$((i+1)); done";
/// Five that ignore TERM: a child, two in sessions of their own, a double fork, and the leader.
const TREE: &str = "sh $F/tick first $1 & setsid sh $F/tick first $1 & (setsid sh -c 'sh $F/tick first $0 & wait' $1 &) ; \
                    (sh $F/tick first $1 &) ; . $F/tick-me";
const TREE_SIZE: usize = 5;

/// The first job is a tree that runs, the second waits for the same lock.
struct Scene {
    vault: Vault,
    first: Running,
    second: Running,
}

impl Scene {
    fn new(ttl: &str) -> Scene {
        Scene::of(ttl, 100_000)
    }

    /// Each process of the first job ticks so often.
    fn of(ttl: &str, ticks: u32) -> Scene {
        let vault = Vault::new();
        vault.write("tick", TICK);
        vault.write("tick-me", &format!("set -- first {ticks}; {TICK}"));
        let first = vault.spawn(&["--ttl", ttl], "x", &["sh", "-c", TREE, "sh", &ticks.to_string()]);
        let scene_log = |vault: &Vault| {
            let mut pids: Vec<String> = vault.text("log").lines().map(str::to_owned).collect();
            pids.sort();
            pids.dedup();
            pids.len()
        };
        wait_for("the whole tree", || scene_log(&vault) >= TREE_SIZE);
        let second = vault.spawn(&["--ttl", "2s"], "x", &["sh", "-c", "sh $F/tick second 3"]);
        vault.wait_for_waiting("x", 1);
        Scene { vault, first, second }
    }

    /// Both end; the log shows no overlap, and the second started soon after the first's last sign of life.
    fn ends(self, within: Duration) -> Done {
        let Scene { vault, first, second } = self;
        let start = Instant::now();
        wait_for("the second job", || vault.text("log").contains("second"));
        let took = start.elapsed();
        let first = first.end();
        let second = second.end();
        assert_eq!(second.code, 0, "{second:?}");
        let log = vault.text("log");
        let turn = log.find("second").unwrap();
        assert!(!log[turn..].contains("first"), "the jobs overlapped:\n{log}");
        assert!(took < within, "the second job had to wait {took:?}");
        wait_for("the end of everything", || vault.alive().is_empty());
        assert_eq!(vault.traces("x"), Vec::<std::path::PathBuf>::new());
        first
    }
}

fn lost(done: &Done, because: &str) {
    assert_eq!(done.code, 121, "{done:?}");
    let ours: Vec<&str> = done.err.lines().filter(|line| line.starts_with("vaultlock: ")).collect();
    assert!(ours.len() == 1 && ours[0].contains(because), "{done:?}");
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_killed_sentry_ends_the_job() {
    let scene = Scene::new("2s");
    scene.first.send(SIGKILL);
    assert_eq!(scene.ends(SOON).code, -9);
}

#[test]
fn a_killed_worker_ends_the_job() {
    let scene = Scene::new("2s");
    send(scene.first.worker(), SIGKILL);
    lost(&scene.ends(SOON), "vaultlock's worker process was killed, and the job with it");
}

#[test]
fn a_killed_process_group_ends_the_job() {
    for group in ["sentry", "worker", "job"] {
        let scene = Scene::new("2s");
        let pid = match group {
            "sentry" => own_group(scene.first.sentry()),
            "worker" => scene.first.worker(),
            _ => scene.first.job(),
        };
        send(-pid, SIGKILL);
        if group == "job" {
            // Only its leader's group: what it left behind is left, and holds the lock up no longer.
            let done = scene.first.end();
            assert_eq!(done.code, 128 + 9, "{done:?}");
            assert!(done.err.contains("the job left processes behind"), "{done:?}");
            assert_eq!(scene.second.end().code, 0);
        } else {
            scene.ends(SOON);
        }
    }
}

/// Nobody is left to kill what the job put into the background, but the lock lives on in it.
#[test]
fn both_killed_the_lock_stays_with_the_last_of_the_job() {
    let scene = Scene::of("2s", 60);
    let leader = scene.first.job();
    let worker = scene.first.worker();
    send_all(&[scene.first.sentry(), worker], SIGKILL);
    wait_for("the death of the leader", || !is_alive(leader));
    assert!(!scene.vault.text("log").contains("second"), "the lock was handed over beside the job's processes");
    assert_eq!(scene.ends(Duration::from_secs(20)).code, -9);
}

#[test]
fn a_frozen_worker_loses_its_job() {
    let scene = Scene::new("1s");
    send(scene.first.worker(), SIGSTOP);
    lost(&scene.ends(SOON), "the lease was lost (vaultlock was stopped or starved): the job was killed");
}

#[test]
fn a_frozen_sentry_changes_nothing() {
    let mut scene = Scene::new("1s");
    scene.first.send(SIGSTOP);
    let span = Duration::from_secs(3);
    stays("the first job runs", span, || is_alive(scene.first.job()) && !scene.vault.text("log").contains("second"));
    scene.first.send(SIGCONT);
    // A signal that already waits is not counted twice.
    wait_for("the second TERM to be taken", || {
        scene.first.send(SIGTERM);
        scene.first.is_over()
    });
    assert_eq!(scene.ends(SOON).code, 128 + 9);
}

/// The kernel's own timer ends worker and leader; the lock stays, for the frozen sentry still has it.
#[test]
fn both_frozen_the_leader_dies_and_the_lock_stays_until_the_sentry_goes_on() {
    let scene = Scene::new("1s");
    let (leader, worker) = (scene.first.job(), scene.first.worker());
    send_all(&[scene.first.sentry(), worker], SIGSTOP);
    wait_for("the death of worker and leader", || !is_alive(leader) && !is_alive(worker));
    stays("the second waits", Duration::from_secs(2), || !scene.vault.text("log").contains("second"));
    scene.first.send(SIGCONT);
    let done = scene.ends(SOON);
    assert_eq!(done.code, 121, "{done:?}");
}

/// What left its session and its parent behind is out of everybody's reach, but not of the kernel's.
#[test]
fn isolated_nothing_of_the_job_outlives_sentry_and_worker_frozen_or_killed_together() {
    for fault in [SIGSTOP, SIGKILL] {
        let vault = Vault::new();
        let crowd = "i=0; while [ $i -lt 20 ]; do (setsid sh -c 'while :; do echo >> $F/ticks; sleep 0.02; done' &); i=$((i+1)); done; sleep 600";
        let first = vault.spawn(&["--ttl", "1s", "--isolate"], "x", &["sh", "-c", crowd]);
        wait_for("a crowd of daemons", || vault.text("ticks").len() > 100);
        let (sentry, worker) = (first.sentry(), first.worker());
        let struck = Instant::now();
        send_all(&[sentry, worker], fault);
        wait_for("the worker's death", || !is_alive(worker));
        let ticks = || vault.text("ticks").len();
        wait_for("silence", || {
            let before = ticks();
            let quiet = Instant::now();
            while quiet.elapsed() < Duration::from_millis(200) && ticks() == before {
                std::thread::yield_now();
            }
            ticks() == before
        });
        assert!(
            struck.elapsed() < Duration::from_millis(990 + 200 + 50),
            "alive for {:?}",
            struck.elapsed() - Duration::from_millis(200)
        );
        first.send(SIGCONT);
        first.end();
    }
}

#[test]
fn a_worker_that_froze_for_less_than_the_ttl_goes_on() {
    let vault = Vault::new();
    let mut holder = vault.hold(&["--ttl", "4s"], "x");
    send(holder.worker(), SIGSTOP);
    stays("the job runs", Duration::from_millis(700), || !holder.is_over());
    send(holder.worker(), SIGCONT);
    stays("the job runs", Duration::from_secs(5), || !holder.is_over());
    vault.let_go("x");
    let done = holder.end();
    assert_eq!((done.code, done.err.as_str()), (0, ""));
}

#[test]
fn a_deleted_ticket_stops_the_job() {
    let scene = Scene::new("2s");
    let ticket = scene.vault.files("x", "tickets").remove(0);
    fs::remove_file(ticket).unwrap();
    lost(&scene.ends(Duration::from_secs(10)), "lost x: ");
}

#[test]
fn a_deleted_ticket_is_never_a_success_even_if_the_job_makes_one_of_it() {
    let vault = Vault::new();
    let script = "trap 'exit 0' TERM; echo > $F/up; while :; do sleep 0.02; done";
    let run = vault.spawn(&["--ttl", "1s"], "x", &["sh", "-c", script]);
    vault.told_any("up");
    fs::remove_file(vault.files("x", "tickets").remove(0)).unwrap();
    lost(&run.end(), "lost x: the file store ");
}

#[test]
fn a_wiped_store_stops_the_job() {
    let vault = Vault::new();
    let holder = vault.hold(&["--ttl", "1s"], "x");
    fs::remove_dir_all(vault.store()).unwrap();
    let done = holder.end();
    assert_eq!(done.code, 121, "{done:?}");
    wait_for("the end of everything", || vault.alive().is_empty());
}

#[test]
fn a_signal_ends_a_waiter_at_once_and_its_place_is_free() {
    for (signal, code) in [(SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let vault = Vault::new();
        let _holder = vault.hold(&[], "x");
        wait_for("the holder's bell", || !vault.files("x", "bells").is_empty());
        let waiter = vault.spawn(&[], "x", &["true"]);
        vault.wait_for_waiting("x", 1);
        let start = Instant::now();
        waiter.send(signal);
        let done = waiter.end();
        assert_eq!((done.code, done.err.as_str()), (code, ""));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(vault.status("x")["waiting"], 0);
        // The holder's own.
        assert_eq!((vault.files("x", "tickets").len(), vault.files("x", "bells").len()), (1, 1));
    }
}

#[test]
fn a_second_term_kills_a_job_that_ignores_the_first() {
    let scene = Scene::new("30s");
    scene.first.send(SIGTERM);
    let mut scene = scene;
    stays("one TERM is ignored", Duration::from_millis(300), || !scene.first.is_over());
    scene.first.send(SIGTERM);
    assert_eq!(scene.ends(SOON).code, 128 + 9);
}

/// The group of the test itself is not to be killed.
fn own_group(sentry: i32) -> i32 {
    let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(sentry))).unwrap().as_raw();
    assert_eq!(group, sentry, "vaultlock must lead a group of its own in this test");
    group
}

#[test]
fn a_job_that_takes_too_long_is_ended_with_all_it_started_and_is_124() {
    let vault = Vault::new();
    let done = vault.run(&["--max-run", "300ms"], "x", &["sleep", "60"]);
    assert_eq!(done.code, 124, "{done:?}");
    assert!(done.err.contains("x: the job has run for 300ms (--max-run); stopping it"), "{done:?}");
    // One that catches the signal and ends well has not been done in time either.
    let done = vault.run(&["--max-run", "300ms"], "x", &["sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait"]);
    assert_eq!(done.code, 124, "{done:?}");
    // One that ignores it is killed after the grace, and what it has put elsewhere with it.
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > $F/pid; sleep 60' & wait; sleep 60";
    let started = Instant::now();
    let done = vault.run(&["--max-run", "300ms", "-k", "500ms"], "x", &["sh", "-c", script]);
    assert_eq!(done.code, 124, "{done:?}");
    assert!(started.elapsed() >= Duration::from_millis(800), "{:?}", started.elapsed());
    assert!(!is_alive(vault.told("pid").parse().unwrap()));
    for options in [&["--max-run", "20s"][..], &["--max-run", "0"]] {
        assert_eq!(vault.run(options, "x", &["sh", "-c", "sleep 0.4; exit 3"]).code, 3);
    }
    assert_eq!(vault.run(&["-n"], "x", &["true"]).code, 0, "the lock was given back each time");
}
