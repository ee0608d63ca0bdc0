//! A caller's worker, sentry and job around the real guard: what run/mod.rs and job/ do with processes and signals.

use vaultlock::run::orders::{Event as Heard, Order};
use vaultlock::time::Tick;

use vaultlock::mutant::{self, Mutant};

use crate::caller::{Caller, Job};
use crate::event::{ToJob, ToSentry, ToWorker, What};
use crate::host::{MS, Time, nanos};
use crate::judge::Wrong;
use crate::outside::Outside;

impl Caller {
    /// The worker's main thread hears something.
    pub(super) fn hear(&mut self, event: Heard, out: &mut Outside) {
        if let Some(waiting) = &mut self.launching {
            return waiting.push(event);
        }
        let now = out.tick(self.host);
        if self.stop_sent && self.guard.thinks_it_runs() {
            let orders = self.guard.handle(Heard::SentryStopped, now);
            self.carry_out(orders, out);
        }
        let orders = self.guard.handle(event, now);
        self.carry_out(orders, out);
        self.set_watch(out);
    }

    fn set_watch(&mut self, out: &mut Outside) {
        self.watch += 1;
        let until = self.guard.wake_at();
        if until != Tick::NEVER {
            let at = out.hosts[self.host].when(until);
            out.tell_at(at, self.number, What::Worker(ToWorker::Watch(self.watch)));
        }
    }

    fn carry_out(&mut self, orders: Vec<Order>, out: &mut Outside) {
        for order in orders {
            if self.worker.dead {
                return;
            }
            match order {
                Order::Arm(sent) => self.renew(sent, out),
                Order::Start { fences } => {
                    self.check_start(out);
                    self.launching = Some(Vec::new());
                    let way = out.span(MS / 5, 4 * MS);
                    assert_eq!(fences.len(), self.locks.len(), "nobody here asked to run without the locks");
                    out.tell(way, self.number, What::Worker(ToWorker::Launch(fences)));
                }
                Order::Mark { .. } => unreachable!("nobody here asked for a high-water mark"),
                Order::Signal(_) => self.ask_job_to_end(out),
                Order::Stop => self.stop_job(out),
                Order::Kill => self.kill_tree(out),
                Order::CountLeftBehind => self.hear(Heard::LeftBehind(Vec::new()), out),
                Order::Pause => self.bundle.pause(true),
                Order::Resume => self.bundle.pause(false),
                Order::Leave => {
                    self.close_deadline();
                    self.leave = true;
                    self.woken = true;
                    self.turn(out);
                }
                Order::Say(_) | Order::StopToo(_) => {}
                Order::Finish(_) => {
                    out.note(self.number, "finishes", 0);
                    self.ended_well = true;
                    self.worker.dead = true;
                    self.close_deadline();
                    let way = out.span(MS / 20, MS);
                    out.tell(way, self.number, What::Sentry(ToSentry::WorkerDied));
                }
            }
        }
    }

    /// No job is started later than its lease allows.
    fn check_start(&self, out: &mut Outside) {
        let now = out.tick(self.host);
        if self.armed.is_none_or(|sent| now > self.timing.stop_at(sent)) {
            let what = format!("caller {} starts its job, but its lease is too old for any", self.number);
            out.judge.accuse(out.now, Wrong::Late, what);
        }
    }

    pub(super) fn launch(&mut self, fences: &[u64], out: &mut Outside) {
        out.note(self.number, "starts its job", fences[0]);
        self.launched = out.now;
        let longest = nanos(out.scenario.longest_job);
        let span = if out.rng.bool() { out.span(MS, 500 * MS) } else { out.span(MS, longest) };
        self.job = Some(Job { obeys: out.rng.u32(0..3) > 0, daemons: out.rng.u32(0..3) == 0, doomed: false });
        out.judge.jobs += 1;
        for ((lock, claim), fence) in self.locks.iter().zip(self.bundle.claims()).zip(fences) {
            out.judge.started(out.now, *lock, (self.number, claim.ticket().into()), *fence);
        }
        if !self.asks_inside(out) {
            out.tell(span, self.number, What::Job(ToJob::Ends));
        }
        let waiting = self.launching.take().unwrap_or_default();
        self.set_watch(out);
        for event in waiting {
            self.hear(event, out);
        }
    }

    pub(super) fn job_ends(&mut self, out: &mut Outside) {
        if self.job.take().is_none() {
            return;
        }
        out.note(self.number, "its job is dead", 0);
        for lock in &self.locks {
            out.judge.ended(out.now, *lock, self.number);
        }
        let notice = out.span(MS / 50, MS / 2);
        out.tell(notice, self.number, What::Worker(ToWorker::JobEnded));
    }

    fn ask_job_to_end(&mut self, out: &mut Outside) {
        let grace = nanos(self.timing.grace);
        let way = out.span(MS / 10, grace * 3 / 2);
        if self.job.as_ref().is_some_and(|job| job.obeys && !job.doomed) {
            out.tell(way, self.number, What::Job(ToJob::Ends));
        }
    }

    fn stop_job(&mut self, out: &mut Outside) {
        if self.job.is_some() && !self.stop_sent {
            self.stop_sent = true;
            self.ask_job_to_end(out);
        }
    }

    /// The worker kills the tree: mostly in milliseconds, at worst in most of the time that the ladder leaves for it.
    fn kill_tree(&mut self, out: &mut Outside) {
        self.killing = true;
        self.set_kernel_timer(out);
        let death = self.death(out);
        self.doom_job(death, out);
        out.tell(death, self.number, What::Worker(ToWorker::Killed));
    }

    fn death(&self, out: &mut Outside) -> Time {
        let sent = Tick(1 << 60);
        let slack = nanos(self.timing.kill_at(sent).until(self.timing.dead_by(sent)));
        // A host that stood still has no more time to lose: what the kernel does late then is beyond the promise.
        let thawed = out.now < self.thawed + nanos(self.timing.ttl);
        if !thawed && out.chance(out.scenario.slow_kills) { out.span(MS, slack * 7 / 10) } else { out.span(MS / 10, 20 * MS) }
    }

    /// A beat sent then has been acknowledged.
    pub(super) fn renew(&mut self, sent: Tick, out: &mut Outside) {
        if self.closed || self.armed.is_some_and(|armed| armed >= sent) {
            return;
        }
        out.note(self.number, "is renewed", sent.0);
        self.armed = Some(sent);
        self.set_kernel_timer(out);
    }

    fn set_kernel_timer(&mut self, out: &mut Outside) {
        self.timer += 1;
        let Some(sent) = self.armed.filter(|_| !mutant::on(Mutant::NoKernelTimer)) else { return };
        let at = out.hosts[self.host].when(self.ladder.last_resort(sent, self.killing));
        out.tell_at(at, self.number, What::KernelTimer(self.timer));
    }

    fn close_deadline(&mut self) {
        (self.closed, self.armed) = (true, None);
        self.timer += 1;
    }

    /// The sentry's timer: act on the deadline, and set the next.
    pub(super) fn look_at_deadline(&mut self, out: &mut Outside) {
        let now = out.tick(self.host);
        let next = match self.armed {
            None => now + self.timing.beat,
            Some(sent) => {
                let kill_at = if self.killing { self.ladder.patience(sent) } else { self.ladder.sentry_kill(sent) };
                if now >= kill_at {
                    return self.lose(out);
                }
                if now < self.ladder.sentry_stop(sent) {
                    self.ladder.sentry_stop(sent)
                } else {
                    self.stop_job(out);
                    kill_at
                }
            }
        };
        self.look += 1;
        if !mutant::on(Mutant::NoSentry) {
            let at = out.hosts[self.host].when(next);
            out.tell_at(at, self.number, What::Sentry(ToSentry::Look(self.look)));
        }
    }

    pub(super) fn worker_ended(&mut self, out: &mut Outside) {
        if self.ended_well || mutant::on(Mutant::NoSentry) {
            self.sentry.dead = true;
        } else {
            self.lose(out);
        }
    }

    /// The sentry kills everything, and ends when nothing is left.
    fn lose(&mut self, out: &mut Outside) {
        out.note(self.number, "its sentry ends everything", 0);
        let death = self.death(out);
        self.doom_job(death, out);
        self.kill_worker(out);
        self.sentry.dead = true;
    }
}
