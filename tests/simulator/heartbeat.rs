//! A caller's session: the real claims, asked and answered over the simulated line, as session/turn.rs does it.

use vaultlock::ledger::{Id, Life, Memory, View};
use vaultlock::run::orders::Event as Heard;
use vaultlock::session::words::{Answer, Request, Step};
use vaultlock::session::{Ending, News};
use vaultlock::store::{Beat, Error, Outcome, clocks_agree};
use vaultlock::time::Wall;

use crate::caller::Caller;
use crate::event::{Event, Message, ToWorker, What};
use crate::host::{MS, SECOND, Time, nanos};
use crate::outside::Outside;

impl Caller {
    /// Goes on until the claims ask, wait or end.
    pub fn turn(&mut self, out: &mut Outside) {
        while self.asking.is_none() && !self.session_over && !self.worker.dead {
            let (now, wall) = (out.tick(self.host), out.wall(self.host));
            if std::mem::take(&mut self.leave) {
                self.bundle.leave(now);
            }
            match self.bundle.next(now, wall) {
                Step::Ask(request) => self.ask(request, out),
                Step::Wait(_) if std::mem::take(&mut self.woken) => self.bundle.woken(now),
                Step::Wait(until) => {
                    self.turn += 1;
                    if until != vaultlock::time::Tick::NEVER {
                        let at = out.hosts[self.host].when(until);
                        out.tell_at(at, self.number, What::Worker(ToWorker::Turn(self.turn)));
                    }
                    return;
                }
                Step::Tell(news) => self.tell(news, out),
                Step::End(ending) => {
                    out.note(self.number, "the session ends", 0);
                    self.session_over = true;
                    if matches!(ending, Ending::Entangled(_)) {
                        self.gives_up_for_a_ring(out);
                    }
                    self.leave_note(&ending, out);
                    self.hear(Heard::Ended(ending), out);
                }
            }
        }
    }

    fn ask(&mut self, request: Request, out: &mut Outside) {
        self.requests += 1;
        let number = self.requests;
        out.note(
            self.number,
            match &request {
                Request::Take | Request::Enter(_) => "asks for a ticket",
                Request::Beat(_) => "beats",
                Request::View => "looks",
                Request::Commit(commit) if commit.ledger.is_some() => "commits",
                Request::Commit(_) => "withdraws",
                Request::Survey(_) => "looks for a cycle",
            },
            number,
        );
        let ticket = &self.bundle.claims()[self.bundle.at()].ticket().id;
        if matches!(request, Request::Take | Request::Enter(_)) && self.joined(ticket).is_none() {
            self.joined.push((ticket.clone(), out.now));
        }
        self.asking = Some((number, out.tick(self.host), out.wall(self.host)));
        self.request = Some(request);
        let (way, patience) = (out.span(MS / 50, MS / 2), nanos(self.timing.request));
        out.tell(way, self.number, What::Worker(ToWorker::Send(number)));
        out.tell(patience, self.number, What::Worker(ToWorker::TimeOut(number)));
    }

    /// The request leaves the host.
    pub(super) fn send(&mut self, number: u64, out: &mut Outside) {
        if self.asking.is_none_or(|(asked, ..)| asked != number) {
            return;
        }
        let Some(request) = self.request.take() else { return };
        let at = self.bundle.at();
        let (lock, ticket) = (self.locks[at], self.bundle.claims()[at].ticket().clone());
        let message = Message { caller: self.number, number, lock, ticket, request };
        if self.line.up_cut || out.chance(out.scenario.lost) {
            self.lost_one(out.now);
            return;
        }
        let way = self.way(out);
        out.after(way, Event::Arrive(Box::new(message)));
    }

    /// A message of its is lost: it finds out when its patience ends, and asks again after a pause.
    pub fn lost_one(&mut self, now: Time) {
        self.disturb(now + nanos(self.timing.request + self.timing.beat));
    }

    /// How long a message takes.
    pub fn way(&mut self, out: &mut Outside) -> Time {
        if out.chance(out.scenario.late) {
            self.disturb(out.now + 20 * SECOND);
            return out.span(50 * MS, 20 * SECOND);
        }
        out.span(MS / 5, 8 * MS)
    }

    pub(super) fn answer(&mut self, number: u64, answer: Result<(Answer, Wall), String>, out: &mut Outside) {
        let Some((_, sent, sent_wall)) = self.asking.take_if(|(asked, ..)| *asked == number) else { return };
        let (now, wall) = (out.tick(self.host), out.wall(self.host));
        if answer.is_err() {
            self.lost_one(out.now);
        }
        out.note(self.number, if answer.is_ok() { "hears" } else { "hears nothing" }, number);
        self.request = None;
        let between = (sent_wall, wall);
        let answer = answer.map(|(answer, server)| believed(answer, clocks_agree(server, between)));
        let answer = answer.map_err(Error::Unreachable);
        self.bundle.answer(sent, now, wall, answer);
        self.turn(out);
    }

    pub(super) fn hear_wake(&mut self, id: &Id, out: &mut Outside) {
        if !self.is_of(id) || self.session_over {
            return;
        }
        self.woken = true;
        if self.asking.is_none() {
            self.turn(out);
        }
    }

    fn tell(&mut self, news: News, out: &mut Outside) {
        match &news {
            News::Renewed { sent } => self.renew(*sent, out),
            News::Granted { fences, .. } => {
                for (lock, fence) in self.locks.iter().zip(fences) {
                    out.note(self.number, "is let in", *fence);
                    let note = &mut out.hosts[self.host].notes[*lock];
                    note.fence = note.fence.max(*fence);
                }
            }
            News::Waiting(standing) => out.note(self.number, &format!("waits: {:?}, ahead", standing.why), standing.ahead as u64),
            News::Lost { .. } => out.note(self.number, "lost it", 0),
            _ => {}
        }
        self.hear(Heard::News(news), out);
    }

    /// Who goes without having been let in leaves what it saw to the next on its host.
    fn leave_note(&self, ending: &Ending, out: &mut Outside) {
        if let Ending::Busy(standing) = ending {
            let at = standing.as_ref().map_or(0, |standing| standing.at);
            out.hosts[self.host].notes[self.locks[at]].seen = self.bundle.claims()[at].watched().rows();
        }
    }
}

/// What a client makes of times that the server tells: nothing, unless its own clock agrees.
fn believed(mut answer: Answer, clocks_agree: bool) -> Answer {
    match &mut answer {
        _ if clocks_agree => {}
        Answer::Survey(None) => {}
        Answer::View(view) | Answer::Survey(Some(view)) | Answer::Outcome(Outcome::Done(view) | Outcome::Conflict(view)) => {
            disbelieve(view);
        }
        Answer::Beat(Beat::Alive { quiet, .. }) => *quiet = None,
        Answer::Beat(Beat::Gone) => {}
    }
    answer
}

fn disbelieve(view: &mut View) {
    for listed in &mut view.tickets {
        if let Life::Beat { quiet, .. } = &mut listed.life {
            *quiet = None;
        }
    }
    if let Memory::Unsure { quiet, .. } = &mut view.memory {
        *quiet = std::time::Duration::ZERO;
    }
}
