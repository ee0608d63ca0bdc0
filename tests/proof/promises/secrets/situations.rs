//! What can happen to a run that has a password.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGKILL, SIGTERM};

use super::Play;
use super::site::Fault;
use crate::support::running::{send, wait_for};

type Situation = fn(&Play);

const TTL: [&str; 2] = ["--ttl", "1s"];
/// What a job can find out by itself.
const CURIOUS: &str = "env; tr '\\0' ' ' < /proc/self/cmdline";

pub const SITUATIONS: [(&str, Situation); 29] = [
    ("a run", |play| play.say(&["run", "-v", "x", "--", "sh", "-c", CURIOUS], 0)),
    ("a quiet run", |play| play.say(&["-q", "run", "x", "--", "sh", "-c", CURIOUS], 0)),
    ("an isolated run", |play| play.say(&["run", "--isolate", "x", "--", "sh", "-c", CURIOUS], 0)),
    ("through the shell", |play| play.say(&["run", "x", "-c", CURIOUS], 0)),
    ("status", |play| play.say(&["-v", "status"], 0)),
    ("status of a held lock", |play| held(play, &["status", "x"], 0)),
    ("status in JSON", |play| held(play, &["status", "x", "--json"], 0)),
    ("busy", |play| held(play, &["run", "-n", "x", "true"], 75)),
    ("a wait that is given up", |play| held(play, &["-v", "run", "-w", "0.2", "x", "true"], 75)),
    ("a wait", wait),
    ("a wait that is interrupted", interrupted_wait),
    ("a job that fails", |play| play.say(&["run", "x", "--", "sh", "-c", "exit 3"], 3)),
    ("no such command", |play| play.say(&["run", "x", "--", "/nowhere/command"], 127)),
    ("a command that can't be executed", |play| play.say(&["run", "x", "--", "/etc/passwd"], 126)),
    ("leftovers", |play| play.say(&["run", "x", "--", "sh", "-c", "sleep 1 & exit 0"], 0)),
    ("an interrupted job", |play| lose(play, &[], 143, |_, [sentry, _]| send(sentry, SIGTERM))),
    ("its worker killed", |play| lose(play, &[], 121, |_, [_, worker]| send(worker, SIGKILL))),
    ("its sentry killed", |play| lose(play, &[], -9, |_, [sentry, _]| send(sentry, SIGKILL))),
    ("a server that froze", |play| lose(play, &TTL, 121, |play, _| play.site.server.freeze())),
    ("a server that forgot", |play| lose(play, &[], 121, |play, _| drop(play.site.server.tell(&["FLUSHALL"])))),
    ("cut lines", cut_lines),
    ("no server, and no job", |play| frozen(play, "fail", 125)),
    ("no server, job skipped", |play| frozen(play, "skip", 0)),
    ("no server, job run without the lock", |play| frozen(play, "run", 0)),
    ("a run inside a job", nested),
    ("no such database", |play| refused(play, Fault::Database, 125)),
    ("another max_ttl", |play| refused(play, Fault::MaxTtl, 125)),
    ("no such parameter", |play| refused(play, Fault::Parameter, 64)),
    ("no way in", |play| {
        for fault in [Fault::Password, Fault::Mirror, Fault::Nowhere] {
            refused(play, fault, 125);
        }
    }),
];

/// Somebody holds the lock meanwhile.
fn held(play: &Play, words: &[&str], code: i32) {
    let holder = play.hold(&[]);
    play.say(words, code);
    play.let_go();
    play.ends(holder, 0);
}

fn wait(play: &Play) {
    let holder = play.hold(&[]);
    let waiter = play.start(&["-v", "run", "x", "--", "sh", "-c", CURIOUS]);
    wait_for("a waiter's word", || waiter.err().contains("waiting"));
    play.search_processes();
    play.let_go();
    play.ends(holder, 0);
    play.ends(waiter, 0);
}

fn interrupted_wait(play: &Play) {
    let holder = play.hold(&[]);
    let waiter = play.start(&["-v", "run", "x", "true"]);
    wait_for("a waiter's word", || waiter.err().contains("waiting"));
    waiter.send(SIGTERM);
    play.ends(waiter, 143);
    play.let_go();
    play.ends(holder, 0);
}

/// A holder to whom something happens; gets the numbers of sentry and worker.
fn lose(play: &Play, options: &[&str], code: i32, happens: impl Fn(&Play, [i32; 2])) {
    let holder = play.hold(options);
    happens(play, holder.both());
    play.ends(holder, code);
    play.site.server.thaw();
}

fn cut_lines(play: &Play) {
    let holder = play.hold(&TTL);
    for _ in 0..3 {
        play.site.server.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        sleep(Duration::from_millis(100));
    }
    play.let_go();
    play.ends(holder, 0);
}

fn frozen(play: &Play, policy: &str, code: i32) {
    play.site.server.freeze();
    play.say(&[&["-v", "run", "--if-unavailable", policy][..], &TTL, &["x", "--", "sh", "-c", CURIOUS]].concat(), code);
    play.site.server.thaw();
}

/// Refused where the job's store lacks what the outer one had; with a store of its own it runs.
fn nested(play: &Play) {
    let inner = if play.way.by_auth { 0 } else { 125 };
    play.say(&["run", "x", "--", "sh", "-c", "$V run -n y -- env"], inner);
    play.say(&["run", "x", "--", "sh", "-c", "$V --store $F/files run -n y -- env"], 0);
}

fn refused(play: &Play, fault: Fault, code: i32) {
    // The store's first use settles its max_ttl.
    play.say(&["run", "x", "true"], 0);
    let url = play.way.url_with(play.site, fault);
    for words in [&["-v", "run", "--ttl", "1s", "x", "true"][..], &["-v", "status", "x", "--json"]] {
        play.ends(play.start_on(&url, words), code);
    }
}
