//! P5: what is left of a job whose sentry and worker died at once goes on writing with its old fence, on a store whose
//! lease runs out without it. The resource refuses it once the next holder has been there.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};

use super::processes::stand_still;
use super::quiet::Deed;
use super::resource::{Resource, Tried};
use super::row::{Found, Row};
use super::stage::{Noted, Part, Stage};
use super::{Setting, lanes};
use crate::process::Process;
use crate::support::redis::Server;
use crate::support::running::wait_for;

/// So many stale writes of each zombie are waited for.
const STALE: usize = 20;

pub fn measure(setting: &Setting) -> Vec<Row> {
    let server = Server::start();
    let url = Noted(format!("{}?max_ttl=2s&fresh=true", server.url()));
    let open = |_| Stage::on(setting, url.0.clone());
    let kinds = [("killed", "the job's daemon writes on", false), ("frozen", "the job's daemon is thawed later", true)];
    let row = |(how, then, freeze): (&str, &str, bool)| {
        let tried = AtomicUsize::new(0);
        let found = lanes::run(16, setting.trials(16, 500), open, |stage, number| {
            let (found, stale) = haunt(stage, &format!("x{number}-{how}"), freeze);
            tried.fetch_add(stale, Ordering::Relaxed);
            found
        });
        let note = format!("{} stale writes tried after the next holder's first", tried.into_inner());
        Row::new("P5 stale writes are refused", format!("redis: all of vaultlock {how}, {then}")).noted(note).add_all(found)
    };
    kinds.into_iter().map(row).collect()
}

/// One zombie and its successor; also how many writes the zombie tried after the successor's first.
fn haunt(stage: &mut Stage, lock: &str, freeze: bool) -> (Found, usize) {
    let mut found = Found { faults: 1, ..Found::trial() };
    let options = ["--ttl", "1s"];
    let old = stage.hold(&options, lock, Part::Quiet(1, Deed::Write));
    let mut new = stage.run(&options, lock, Part::Quiet(0, Deed::Write));
    stage.wait_for_waiting(lock, 1);
    let zombie = old.processes();
    let resource = Resource::of(stage.dir(), lock);
    zombie.vaultlock().into_iter().for_each(|process| process.send(SIGSTOP));
    if freeze {
        freeze_between_writes(&zombie.job, &resource);
    } else {
        // The worker first: when a sentry dies, the kernel wakes a worker that was stopped.
        zombie.worker.send(SIGKILL);
        zombie.sentry.send(SIGKILL);
    }
    stage.wait_until_up(&mut new);
    zombie.job.iter().for_each(|process| process.send(SIGCONT));
    let mut after = Vec::new();
    wait_for("a zombie's writes", || {
        after = after_the_successor(&resource.journal().unwrap());
        after.iter().filter(|tried| tried.1).count() >= STALE || after.iter().any(|tried| tried.1 && tried.0.accepted)
    });
    let stale: Vec<Tried> = after.into_iter().filter(|(_, old)| *old).map(|(tried, _)| tried).collect();
    let accepted = stale.iter().filter(|tried| tried.accepted).count();
    found.expect(accepted == 0, || format!("{accepted} stale writes of {lock} were accepted"));
    zombie.send_all(SIGKILL);
    new.processes().send_all(SIGKILL);
    old.running.end();
    new.running.end();
    (found, stale.len())
}

/// Frozen while it has the resource, a zombie would keep everyone from it.
fn freeze_between_writes(job: &[Process], resource: &Resource) {
    wait_for("a moment between two writes", || {
        job.iter().for_each(|process| process.send(SIGSTOP));
        wait_for("a stop", || stand_still(job));
        let free = resource.is_free().unwrap();
        if !free {
            job.iter().for_each(|process| process.send(SIGCONT));
        }
        free
    });
}

/// The writes after the successor's first, and whether each is the zombie's.
fn after_the_successor(journal: &[Tried]) -> Vec<(Tried, bool)> {
    let Some(zombie) = journal.first().map(|tried| tried.fence) else { return Vec::new() };
    let writes = journal.iter().skip_while(|tried| tried.fence == zombie).skip(1);
    writes.map(|tried| (*tried, tried.fence == zombie)).collect()
}
