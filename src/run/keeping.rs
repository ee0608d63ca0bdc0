//! A run that keeps the locks for a process which is not its own: how it begins, and whom it answers.

use std::io::{self, Write};

use anyhow::Context;

use super::door::{Door, Visitor};
use super::handle::{Answer, Ask};
use super::work::Keep;
use super::{Loop, Work};
use crate::exit::Exit;
use crate::job::front::{Front, Outcome};
use crate::job::{End, Event as JobEvent, Verdict};
use crate::session::Ending;

/// The keeper's side of its handle, once the locks are held.
#[derive(Default)]
pub(super) struct Desk {
    door: Option<Door>,
    /// They wait until the locks are given back.
    releasing: Vec<Visitor>,
    /// Why the store still has them.
    trouble: Option<String>,
}

impl Desk {
    /// How the session ended.
    pub(super) fn note(&mut self, ending: &Ending) {
        if let Ending::Unreleased { trouble, .. } = ending {
            self.trouble = Some(trouble.clone());
        }
    }

    /// All is over: whoever waits for a release hears how it came out.
    pub(super) fn close(&mut self, verdict: Verdict) {
        let answer = match (verdict, self.trouble.take()) {
            (Verdict::Code(0), None) => Answer::Yes,
            (Verdict::Code(0), Some(trouble)) => Answer::Failed(trouble),
            _ => Answer::Lost,
        };
        self.releasing.drain(..).for_each(|visitor| visitor.tell(&answer));
    }
}

impl Loop {
    /// The locks are held: stands by the process, and tells the front the handle, which nobody else ever hears.
    pub(super) fn keep(&mut self) -> Result<(), Exit> {
        let Work::Keep(keep) = &self.plan.work else { return Ok(()) };
        let begun = Door::open(&keep.handle, self.heartbeat.ringer()).context("can't open the keeper's door").and_then(|door| {
            self.desk.door = Some(door);
            let Keep { process, is_stopped, .. } = keep;
            self.worker.stand_by(process, *is_stopped, &self.keep_open).context("can't stand by the process")
        });
        if let Err(error) = begun {
            self.console.error(&format!("{error:#}; the lock is given back"));
            return Err(Exit::Failed);
        }
        if self.worker.detach(&format!("{}\n", keep.handle.reveal())).is_err() {
            // Whoever asked for the lock was killed before it could know that it has it.
            self.worker.let_go();
        }
        Ok(())
    }

    /// Answers whoever came to the door.
    pub(super) fn answer_the_door(&mut self) {
        while let Some(visitor) = self.desk.door.as_ref().and_then(Door::next) {
            let holds = self.guard.thinks_it_runs() && self.clock.now() < self.guard.wake_at();
            match visitor.ask {
                Ask::Check => visitor.tell(if holds { &Answer::Yes } else { &Answer::Lost }),
                Ask::Release if holds || self.guard.is_releasing() => {
                    self.desk.releasing.push(visitor);
                    self.worker.let_go();
                }
                Ask::Release => visitor.tell(&Answer::Lost),
            }
        }
    }

    /// What stands by the process ends well or not at all, unless somebody killed it: then nobody watches the process.
    pub(super) fn is_unwatched(&self, event: JobEvent) -> bool {
        matches!(self.plan.work, Work::Keep(_)) && matches!(event, JobEvent::Ended(end) if end != End::Code(0))
    }
}

/// The keeper's caller waits here, and hears the handle.
pub(super) fn stay_in_front(front: Front, keep: &Keep) -> Exit {
    let process = keep.process.pid();
    match front.stay(&keep.process) {
        Outcome::Ended(code) => Exit::Given(code),
        Outcome::Pointless => {
            eprintln!("vaultlock: process {process} has ended, for which the lock was to be kept: nobody waits for it any more");
            Exit::Failed
        }
        Outcome::Stands(told) => match io::stdout().write_all(&told) {
            Ok(()) => Exit::Success,
            Err(error) => {
                eprintln!("vaultlock: can't write the handle ({error}): the lock is kept until process {process} ends");
                Exit::Failed
            }
        },
    }
}
