//! A small caller of the job folder: what `vaultlock run` does, with a heartbeat that asks nobody.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, IntoRawFd};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use vaultlock::job::{self, Command, Event, SpawnError, Verdict, Worker};
use vaultlock::time::{Clock, Tick};
use vaultlock::timing::Timing;

/// Set: drive. The others: the ttl in milliseconds; a file that ends the heartbeat; one to wait for before the job; a
/// file for the job to inherit; what to do with leftovers (`leave`, `kill`, `wait`); a PID namespace.
pub const FLAG: &str = "JOB_TEST_DRIVE";
pub const TTL: &str = "JOB_TEST_TTL";
pub const LOST: &str = "JOB_TEST_LOST";
pub const GATE: &str = "JOB_TEST_GATE";
pub const INHERIT: &str = "JOB_TEST_INHERIT";
pub const LEFTOVERS: &str = "JOB_TEST_LEFTOVERS";
pub const ISOLATE: &str = "JOB_TEST_ISOLATE";

const CLOCK: Clock = Clock::Boottime;
const LOOK: Duration = Duration::from_millis(10);

pub fn drive() -> ! {
    let ttl = Duration::from_millis(var(TTL).map_or(30_000, |text| text.to_str().unwrap().parse().unwrap()));
    let timing = Timing::new(ttl, None, ttl).unwrap();
    // The program has no Rust runtime, which makes its children ignore SIGPIPE.
    // SAFETY: the default action is no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }.unwrap();
    let mut worker = job::split(job::hold_signals(), CLOCK, timing, Signal::SIGTERM, None).unwrap();
    let (bell, _ringer) = std::io::pipe().unwrap();
    if let Some(gate) = var(GATE).map(PathBuf::from) {
        wait_at(&gate, &mut worker, bell.as_fd());
    }
    let deadline = worker.deadline();
    deadline.renew(CLOCK.now());
    let lost = var(LOST).map(PathBuf::from);
    thread::spawn(move || {
        while !lost.as_ref().is_some_and(|lost| lost.exists()) {
            deadline.renew(CLOCK.now());
            thread::sleep(timing.beat.min(Duration::from_millis(100)));
        }
    });
    if let Err(error) = worker.spawn(&command()) {
        eprintln!("spawn: {error}");
        worker.finish(Verdict::Code(match error {
            SpawnError::NotFound(_) => 127,
            SpawnError::NotExecutable { .. } => 126,
            _ => 125,
        }));
    }
    supervise(worker, timing, bell.as_fd())
}

fn supervise(mut worker: Worker, timing: Timing, bell: std::os::fd::BorrowedFd) -> ! {
    let leftovers = var(LEFTOVERS).unwrap_or("leave".into());
    let mut end = None;
    let mut second = false;
    loop {
        let sent = worker.deadline().sent();
        let until = match sent {
            None => Tick::NEVER,
            Some(sent) if worker.stop_sent() => timing.kill_at(sent),
            Some(sent) => timing.stop_at(sent),
        };
        match worker.next(bell, until).unwrap() {
            None if worker.deadline().sent() != sent => {}
            None if CLOCK.now() >= sent.map_or(Tick::NEVER, |sent| timing.kill_at(sent)) => {
                if worker.kill_tree(Duration::from_secs(1)).is_err() {
                    eprintln!("survivors");
                }
                eprintln!("lost");
                worker.finish(Verdict::Code(121));
            }
            None => worker.stop(),
            Some(Event::SentryDied) => {
                let _ = worker.kill_tree(Duration::from_secs(1));
                worker.finish(Verdict::Code(121));
            }
            Some(Event::Signal(signal)) => {
                if second && signal == Signal::SIGTERM {
                    let _ = worker.kill_tree(Duration::from_secs(1));
                }
                second |= signal == Signal::SIGTERM;
                worker.signal(signal);
            }
            Some(Event::Stopped(signal)) => worker.job_stopped(signal),
            Some(Event::Continued) => {}
            Some(Event::Ended(_)) if worker.stop_sent() => {
                let _ = worker.kill_tree(Duration::from_secs(1));
                eprintln!("lost");
                worker.finish(Verdict::Code(121));
            }
            Some(Event::Ended(how)) => {
                end = Some(how);
                match leftovers.to_str() {
                    Some("wait") => {}
                    Some("kill") => {
                        eprintln!("stragglers {}", worker.stragglers(Duration::ZERO).len());
                        let _ = worker.kill_tree(Duration::from_secs(1));
                        worker.finish(how.into());
                    }
                    _ => worker.finish(how.into()),
                }
            }
            Some(Event::Alone) => worker.finish(end.unwrap().into()),
        }
    }
}

/// Stands for the wait for the lock: no deadline is armed.
fn wait_at(gate: &std::path::Path, worker: &mut Worker, bell: std::os::fd::BorrowedFd) {
    let mut stopped = false;
    while stopped || !gate.exists() {
        match worker.next(bell, CLOCK.now() + LOOK).unwrap() {
            Some(Event::Signal(Signal::SIGTSTP)) => stopped = true,
            Some(Event::Signal(Signal::SIGCONT)) => stopped = false,
            Some(Event::SentryDied) => std::process::exit(1),
            _ => {}
        }
    }
}

fn command() -> Command {
    let mut words = std::env::args_os().skip(1);
    let mut env: Vec<(OsString, Option<OsString>)> = vec![("GIVEN".into(), Some("yes".into()))];
    env.push((FLAG.into(), None));
    Command {
        program: words.next().unwrap(),
        args: words.collect(),
        env,
        inherit: var(INHERIT).map(|path| File::open(path).unwrap().into_raw_fd()).into_iter().collect(),
        isolate: var(ISOLATE).is_some(),
    }
}

fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
