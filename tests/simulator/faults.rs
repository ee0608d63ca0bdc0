//! What goes wrong in a world, and how it is put right.

use nix::sys::signal::Signal;

use crate::event::{Cure, Event, ToWorker, What};
use crate::host::{MS, Time, nanos};
use crate::world::World;

impl World {
    /// One thing, by chance.
    pub fn go_wrong(&mut self) {
        let living: Vec<usize> = self.callers.iter().filter(|caller| !caller.gone).map(|caller| caller.number).collect();
        if living.is_empty() {
            return;
        }
        self.out.judge.faults += 1;
        let victim = self.aim().unwrap_or_else(|| living[self.out.rng.usize(0..living.len())]);
        let ttl = nanos(self.callers[victim].timing.ttl);
        let span = match self.out.rng.u32(0..3) {
            0 => self.out.span(MS, ttl / 4),
            1 => self.out.span(ttl / 2, ttl * 5 / 4),
            _ => self.out.span(MS, ttl * 3),
        };
        match self.out.rng.u32(0..26) {
            0..4 => self.stop(victim, true, false, span),
            4 | 5 => self.stop(victim, false, true, span),
            6 | 7 => self.stop(victim, true, true, span),
            8 | 9 => self.kill(victim, true, false),
            10 => self.kill(victim, false, true),
            11 => self.kill(victim, true, true),
            12..16 => self.cut(victim, span),
            16..18 => self.freeze_host(self.callers[victim].host, span),
            18 => self.fail_power(self.callers[victim].host),
            19 => self.signal(victim),
            20 => self.set_clocks_wrong(),
            _ => self.hurt_server(span),
        }
    }

    /// Whose job started last, in some worlds.
    fn aim(&mut self) -> Option<usize> {
        if !self.out.scenario.aimed || self.out.rng.bool() {
            return None;
        }
        let jobs = self.callers.iter().filter(|caller| !caller.gone && caller.job.is_some());
        jobs.max_by_key(|caller| caller.launched).map(|caller| caller.number)
    }

    fn stop(&mut self, victim: usize, worker: bool, sentry: bool, span: Time) {
        self.out.note(victim, "is stopped, worker and sentry", u64::from(worker) * 10 + u64::from(sentry));
        self.with(victim, |caller, out| {
            caller.disturb(out.now + span);
            caller.worker.stopped |= worker;
            caller.sentry.stopped |= sentry;
            // With both out of action what the job left behind is beyond the promise, unless it is isolated.
            if caller.worker.dead && sentry {
                caller.doom_job(MS, out);
            }
        });
        if worker {
            self.out.after(span, Event::Cure(Cure::Worker(victim)));
        }
        if sentry {
            self.out.after(span, Event::Cure(Cure::Sentry(victim)));
        }
    }

    fn kill(&mut self, victim: usize, worker: bool, sentry: bool) {
        self.with(victim, |caller, out| {
            caller.disturb(Time::MAX / 2);
            if sentry {
                caller.kill_sentry(out);
            }
            if worker {
                caller.kill_worker(out);
            }
        });
    }

    fn cut(&mut self, victim: usize, span: Time) {
        let (up, down) = (self.out.rng.u32(0..3) > 0, self.out.rng.u32(0..3) > 0);
        self.out.note(victim, "is cut off, up and down", u64::from(up) * 10 + u64::from(down));
        let caller = &mut self.callers[victim];
        caller.disturb(self.out.now + span);
        (caller.line.up_cut, caller.line.down_cut) = (up, down);
        self.out.after(span, Event::Cure(Cure::Line(victim)));
    }

    fn freeze_host(&mut self, host: usize, span: Time) {
        if std::mem::replace(&mut self.out.hosts[host].frozen, true) {
            return;
        }
        self.out.note(host, "stands still: host", span);
        for caller in self.callers.iter_mut().filter(|caller| caller.host == host && !caller.gone) {
            caller.disturb(self.out.now + span);
            caller.host_froze(true, &mut self.out);
        }
        self.out.after(span, Event::Cure(Cure::Host(host)));
    }

    fn fail_power(&mut self, host: usize) {
        self.out.note(host, "loses power: host", 0);
        for victim in 0..self.callers.len() {
            if self.callers[victim].host == host {
                self.with(victim, |caller, out| caller.power_fails(out));
            }
        }
    }

    fn signal(&mut self, victim: usize) {
        let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP][self.out.rng.usize(0..3)];
        self.out.note(victim, "gets a signal", signal as u64);
        self.callers[victim].disturb(self.out.now);
        self.meet(victim, What::Worker(ToWorker::Signal(signal)));
    }

    fn set_clocks_wrong(&mut self) {
        if !self.out.scenario.wild_clocks {
            return;
        }
        let which = self.out.rng.usize(0..=self.out.hosts.len());
        self.out.note(which, "has its clock set wrong", 0);
        match self.out.hosts.get_mut(which) {
            Some(host) => host.jump(&mut self.out.rng),
            None => {
                let before = self.out.server_clock.wall(self.out.now);
                self.out.server_clock.jump(&mut self.out.rng);
                if self.out.server_clock.wall(self.out.now) < before {
                    self.out.judge.clock_set_back();
                }
            }
        }
    }

    fn hurt_server(&mut self, span: Time) {
        let kind = if self.out.scenario.fails_over && self.out.rng.u32(0..4) > 0 { 4 } else { self.out.rng.u64(0..6) };
        if self.out.scenario.locks > 1 && self.out.chance(250) {
            return self.go_deaf(span);
        }
        self.out.note(99, "the server is hurt", kind);
        let now = self.out.server_clock.tick(self.out.now);
        self.server.disturbed = self.server.disturbed.max(self.out.now + span);
        if (2..5).contains(&kind) {
            self.out.judge.memory_lost();
        }
        match kind {
            0 => self.server.frozen = true,
            1 => self.server.engine.restart(false, now),
            2 => self.server.engine.restart(true, now),
            3 => self.server.engine.flush(),
            4 => self.server.fail_over(&mut self.out),
            _ => self.server.up = false,
        }
        self.out.after(span, Event::Cure(Cure::Server));
    }

    /// As a shard of a server that is cut off from it, with some of its locks.
    fn go_deaf(&mut self, span: Time) {
        let lock = self.out.rng.usize(0..self.out.scenario.locks);
        self.out.note(lock, "is a lock that the server does not answer for", span);
        self.server.disturbed = self.server.disturbed.max(self.out.now + span);
        self.server.deaf = Some(lock);
        self.out.after(span, Event::Cure(Cure::Server));
    }

    pub fn put_right(&mut self, cure: Cure) {
        match cure {
            Cure::Line(caller) => self.callers[caller].line = Default::default(),
            Cure::Worker(caller) => self.with(caller, |caller, out| caller.continue_worker(out)),
            Cure::Sentry(caller) => self.with(caller, |caller, out| caller.continue_sentry(out)),
            Cure::Host(host) => {
                self.out.note(host, "goes on: host", 0);
                self.out.hosts[host].frozen = false;
                for caller in 0..self.callers.len() {
                    if self.callers[caller].host == host {
                        self.with(caller, |caller, out| caller.host_froze(false, out));
                    }
                }
            }
            Cure::Server => {
                if !self.server.up {
                    let now = self.out.server_clock.tick(self.out.now);
                    self.server.engine.restart(false, now);
                }
                (self.server.up, self.server.frozen, self.server.deaf) = (true, false, None);
                self.server.disturbed = self.server.disturbed.max(self.out.now);
                for message in std::mem::take(&mut self.server.waiting) {
                    let way = self.out.span(0, MS);
                    self.out.after(way, Event::Arrive(Box::new(message)));
                }
            }
        }
    }
}
