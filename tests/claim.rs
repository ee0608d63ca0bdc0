//! The claim as a machine: what it asks, what it makes of the answers, and what its lease hangs on.

pub mod support;

use std::time::Duration;

use support::claims::{hold, lock, ticket};
use vaultlock::ledger::policy::Supersede;
use vaultlock::ledger::{Level, Policy, StopReason, Ticket, Watched};
use vaultlock::session::words::{Answer, Request, Step};
use vaultlock::session::{Claim, Ending, Loss, News};
use vaultlock::store::memory::{MemoryServer, MemoryStore};
use vaultlock::store::{Beat, Error, Outcome, Store};
use vaultlock::time::{Tick, Wall};
use vaultlock::timing::Timing;

const TTL: Duration = Duration::from_secs(30);

/// A claim, the store it asks, and a clock that only the test moves.
struct Scene {
    claim: Claim,
    store: MemoryStore,
    now: Tick,
    news: Vec<News>,
}

fn at(seconds: f64) -> Tick {
    Tick(1) + Duration::from_secs_f64(seconds)
}

fn server() -> MemoryServer {
    MemoryServer::new(TTL, Duration::from_secs(3600))
}

impl Scene {
    fn new(server: &MemoryServer, ticket: Ticket, patience: Tick) -> Scene {
        let (store, timing) = (server.connect(), Timing::new(TTL, None, TTL).unwrap());
        let claim = Claim::new(ticket, timing, store.kind(), patience, 0, Watched::default());
        Scene { claim, store, now: at(0.0), news: Vec::new() }
    }

    /// The next request, after all news.
    fn request(&mut self) -> Request {
        loop {
            match self.claim.next(self.now, Wall(0)) {
                Step::Tell(news) => self.news.push(news),
                Step::Ask(request) => return request,
                step => panic!("{step:?}"),
            }
        }
    }

    /// Carries the request out on the store.
    fn carry_out(&mut self, request: &Request) -> Answer {
        let (name, id) = (lock("x"), self.claim.ticket().id.clone());
        match request {
            Request::Take => Answer::View(self.store.take(&name, self.claim.ticket()).unwrap()),
            Request::Enter(straight) => Answer::View(self.store.enter(&name, self.claim.ticket(), straight).unwrap()),
            Request::Beat(with) => Answer::Beat(self.store.beat(&name, &id, with).unwrap()),
            Request::View => Answer::View(self.store.view(&name, Some(&id)).unwrap()),
            Request::Commit(commit) => Answer::Outcome(self.store.commit(&name, &id, commit).unwrap()),
            Request::Survey(lock) => Answer::Survey(self.store.view(lock, None).ok()),
        }
    }

    fn answer(&mut self, answer: Result<Answer, Error>, after: f64) {
        let sent = self.now;
        self.now = self.now + Duration::from_secs_f64(after);
        self.claim.answer(sent, self.now, Wall(0), answer);
    }

    /// Asks and answers until there is something to wait for, or the end.
    fn rest(&mut self) -> Step {
        loop {
            match self.claim.next(self.now, Wall(0)) {
                Step::Tell(news) => self.news.push(news),
                Step::Ask(request) => {
                    let answer = self.carry_out(&request);
                    self.answer(Ok(answer), 0.0);
                }
                step => return step,
            }
        }
    }

    fn settle(&mut self) {
        let _ = self.rest();
    }

    fn lose_answer(&mut self) {
        self.answer(Err(Error::Unreachable("no answer".into())), 1.0);
        self.now = self.now + Duration::from_secs(2);
    }

    fn granted(&self) -> Option<Tick> {
        self.news.iter().find_map(|news| match news {
            News::Granted { sent, .. } => Some(*sent),
            _ => None,
        })
    }
}

#[test]
fn a_free_lock_is_two_requests_away_while_the_memory_is_unsure() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    let enter = scene.request();
    assert!(matches!(enter, Request::Enter(_)));
    let view = scene.carry_out(&enter);
    scene.answer(Ok(view), 0.0);
    assert!(matches!(scene.request(), Request::Commit(_)));
    assert!(matches!(scene.rest(), Step::Wait(until) if until == at(6.0)), "the first beat");
    assert_eq!(scene.granted(), Some(at(0.0)));
}

/// A server that knows of a lock that was used and given back.
fn used() -> MemoryServer {
    let server = server();
    let mut first = Scene::new(&server, ticket("first"), Tick::NEVER);
    first.settle();
    first.claim.leave(first.now);
    assert!(matches!(first.rest(), Step::End(Ending::Left)));
    server
}

#[test]
fn a_lock_given_back_is_one_request_away() {
    let mut scene = Scene::new(&used(), ticket("a"), Tick::NEVER);
    let enter = scene.request();
    let view = scene.carry_out(&enter);
    scene.answer(Ok(view), 0.5);
    assert!(matches!(scene.rest(), Step::Wait(until) if until == at(6.0)), "the first beat");
    assert_eq!(scene.granted(), Some(at(0.0)));
}

#[test]
fn who_went_straight_in_unheard_finds_itself_inside_and_the_lease_hangs_on_the_first_asking() {
    let server = used();
    let mut scene = Scene::new(&server, ticket("a"), Tick::NEVER);
    let enter = scene.request();
    let _lost_answer = scene.carry_out(&enter);
    scene.lose_answer();
    scene.settle();
    assert_eq!(scene.granted(), Some(at(0.0)));
    let view = server.connect().view(&lock("x"), None).unwrap();
    assert_eq!((view.ledger.holders.len(), view.waiting), (1, 0));
}

#[test]
fn a_stopped_job_keeps_its_place_and_does_not_go_straight_in() {
    let mut scene = Scene::new(&used(), ticket("a"), Tick::NEVER);
    scene.claim.pause(true);
    scene.settle();
    assert_eq!(scene.granted(), None);
    scene.claim.pause(false);
    scene.settle();
    assert!(scene.granted().is_some());
}

#[test]
fn who_can_not_see_a_lock_around_it_beats_all_the_same() {
    let server = server();
    hold(&mut server.connect(), "x", &ticket("holder"));
    let chain = vec![Level { lock: "outer".to_owned(), session: "around".to_owned() }];
    let mut scene = Scene::new(&server, Ticket { chain, ..ticket("inside") }, Tick::NEVER);
    scene.settle();
    scene.now = at(1.0);
    assert_eq!(scene.request(), Request::Survey(lock("outer")));
    scene.lose_answer();
    scene.now = at(6.2);
    assert!(matches!(scene.request(), Request::Beat(_)));
}

#[test]
fn the_lease_hangs_on_the_first_asking_for_a_ticket_not_on_the_retry() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    let take = scene.request();
    let _lost_answer = scene.carry_out(&take);
    scene.lose_answer();
    scene.settle();
    assert_eq!(scene.granted(), Some(at(0.0)));
}

#[test]
fn the_lease_hangs_on_when_a_beat_was_sent_not_on_its_answer() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    scene.settle();
    scene.now = at(6.0);
    let beat = scene.request();
    assert_eq!(beat, Request::Beat(vec![]));
    let answer = scene.carry_out(&beat);
    scene.answer(Ok(answer), 4.0);
    scene.settle();
    assert_eq!(scene.news.last(), Some(&News::Renewed { sent: at(6.0) }));
}

#[test]
fn an_unanswered_beat_renews_nothing_and_is_sent_again() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    scene.settle();
    scene.now = at(6.0);
    scene.request();
    scene.lose_answer();
    scene.settle();
    assert!(!scene.news.contains(&News::Renewed { sent: at(6.0) }));
    assert!(scene.news.contains(&News::Renewed { sent: at(9.0) }), "{:?}", scene.news);
}

#[test]
fn an_unanswered_entry_is_resolved_by_a_view() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    let take = scene.request();
    let view = scene.carry_out(&take);
    scene.answer(Ok(view), 0.0);
    let enter = scene.request();
    let _lost_answer = scene.carry_out(&enter);
    scene.lose_answer();
    assert_eq!(scene.request(), Request::View);
    scene.settle();
    assert_eq!(scene.granted(), Some(at(0.0)), "it had been carried out");
}

#[test]
fn with_too_little_of_the_lease_left_a_beat_comes_before_the_job() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    let take = scene.request();
    let view = scene.carry_out(&take);
    scene.answer(Ok(view), 20.0);
    let enter = scene.request();
    let outcome = scene.carry_out(&enter);
    scene.answer(Ok(outcome), 0.0);
    assert_eq!(scene.request(), Request::Beat(vec![]));
    assert_eq!(scene.granted(), None);
    scene.settle();
    assert_eq!(scene.granted(), Some(at(20.0)));
}

#[test]
fn who_does_not_wait_is_busy_and_leaves_no_ticket() {
    let server = server();
    let mut holder = Scene::new(&server, ticket("holder"), Tick::NEVER);
    holder.settle();
    let mut scene = Scene::new(&server, ticket("hasty"), at(0.0));
    let Step::End(Ending::Busy(Some(standing))) = scene.rest() else { panic!() };
    assert_eq!(standing.holders[0].who.label, "holder");
    assert_eq!(server.connect().view(&lock("x"), None).unwrap().waiting, 0);
}

#[test]
fn a_release_wakes_who_joined_since_the_last_view() {
    let server = server();
    let mut holder = Scene::new(&server, ticket("holder"), Tick::NEVER);
    holder.settle();
    let mut waiter = Scene::new(&server, ticket("waiter"), Tick::NEVER);
    waiter.settle();
    holder.claim.leave(holder.now);
    let release = holder.request();
    let done = holder.carry_out(&release);
    holder.answer(Ok(done), 0.0);
    let Request::Commit(passing_on) = holder.request() else { panic!() };
    assert_eq!(passing_on.wake, [waiter.claim.ticket().id.clone()]);
    assert!(matches!(holder.rest(), Step::End(Ending::Left)));
    waiter.claim.woken(waiter.now);
    waiter.settle();
    assert!(waiter.granted().is_some());
}

#[test]
fn a_holder_whose_ticket_is_gone_has_lost() {
    let server = server();
    let mut scene = Scene::new(&server, ticket("a"), Tick::NEVER);
    scene.settle();
    server.restart(true);
    scene.now = at(6.0);
    assert!(matches!(scene.rest(), Step::Wait(Tick::NEVER)));
    assert_eq!(scene.news.last(), Some(&News::Lost { at: 0, loss: Loss::Forgotten }));
}

#[test]
fn a_waiter_whose_ticket_is_gone_queues_again_under_another_id() {
    let server = server();
    let mut holder = Scene::new(&server, ticket("holder"), Tick::NEVER);
    holder.settle();
    let mut scene = Scene::new(&server, ticket("waiter"), Tick::NEVER);
    scene.settle();
    let first = scene.claim.ticket().id.clone();
    server.restart(true);
    scene.now = at(6.0);
    scene.settle();
    assert_ne!(scene.claim.ticket().id, first);
    assert_eq!(scene.granted(), None, "the store forgot: nobody enters yet");
    assert_eq!(server.connect().view(&lock("x"), None).unwrap().waiting, 1);
}

/// What was lost may hold that it was swept, and another let in: found by the simulator.
#[test]
fn an_entry_that_was_never_heard_of_is_not_carried_into_a_new_life() {
    let server = server();
    let mut scene = Scene::new(&server, ticket("a"), Tick::NEVER);
    let take = scene.request();
    let view = scene.carry_out(&take);
    scene.answer(Ok(view), 0.0);
    let enter = scene.request();
    scene.carry_out(&enter);
    scene.lose_answer();
    let first = scene.claim.ticket().id.clone();
    server.restart(false);
    scene.settle();
    assert_eq!(scene.granted(), None);
    assert_ne!(scene.claim.ticket().id, first, "it queues again");
    let view = server.connect().view(&lock("x"), None).unwrap();
    assert_eq!((view.ledger.holders.len(), view.waiting), (0, 1));
}

#[test]
fn a_restart_with_its_data_is_adopted_and_never_noticed() {
    let server = server();
    let mut scene = Scene::new(&server, ticket("a"), Tick::NEVER);
    scene.settle();
    server.restart(false);
    scene.now = at(6.0);
    scene.settle();
    assert!(!scene.news.iter().any(|news| matches!(news, News::Lost { .. })), "{:?}", scene.news);
    let view = server.connect().view(&lock("x"), None).unwrap();
    assert_eq!(view.ledger.epoch, view.epoch, "carried over");
}

#[test]
fn a_store_that_never_answers_is_given_up_before_the_start_only() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    let end = loop {
        match scene.claim.next(scene.now, Wall(0)) {
            Step::Tell(news) => scene.news.push(news),
            Step::Ask(_) => scene.answer(Err(Error::Unreachable("refused".into())), 0.01),
            Step::Wait(until) => scene.now = until,
            Step::End(ending) => break ending,
        }
    };
    assert!(matches!(end, Ending::Unavailable(ref trouble) if trouble == "refused"), "{end:?}");
    assert!(scene.now < at(7.0), "after the time one request may take");

    let mut holding = Scene::new(&server(), ticket("b"), Tick::NEVER);
    holding.settle();
    while holding.now < at(300.0) {
        match holding.claim.next(holding.now, Wall(0)) {
            Step::Tell(news) => holding.news.push(news),
            Step::Ask(_) => holding.answer(Err(Error::Unreachable("refused".into())), 0.01),
            Step::Wait(until) => holding.now = until,
            Step::End(ending) => panic!("a holder never gives up: {ending:?}"),
        }
    }
}

#[test]
fn a_refusal_ends_a_claim_that_holds_nothing() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    scene.request();
    scene.answer(Err(Error::Refused("wrong password".into())), 0.0);
    let step = scene.rest();
    assert!(matches!(step, Step::End(Ending::Failed(Error::Refused(_)))), "{step:?}");
}

#[test]
fn a_beat_that_finds_the_ticket_gone_is_not_an_answer_to_live_by() {
    let mut scene = Scene::new(&server(), ticket("a"), Tick::NEVER);
    scene.settle();
    scene.now = at(6.0);
    scene.request();
    scene.answer(Ok(Answer::Beat(Beat::Gone)), 0.0);
    scene.settle();
    assert!(!scene.news.iter().any(|news| matches!(news, News::Renewed { .. })));
}

#[test]
fn a_paused_waiter_keeps_its_place_and_stays_out() {
    let server = server();
    let mut holder = Scene::new(&server, ticket("holder"), Tick::NEVER);
    holder.settle();
    let mut waiter = Scene::new(&server, ticket("waiter"), Tick::NEVER);
    waiter.settle();
    waiter.claim.pause(true);
    holder.claim.leave(holder.now);
    holder.settle();
    waiter.claim.woken(waiter.now);
    waiter.settle();
    assert_eq!(waiter.granted(), None);
    waiter.claim.pause(false);
    waiter.settle();
    assert!(waiter.granted().is_some());
}

#[test]
fn a_conflict_is_decided_anew() {
    let server = server();
    let mut slow = Scene::new(&server, ticket("slow"), Tick::NEVER);
    let take = slow.request();
    let view = slow.carry_out(&take);
    slow.answer(Ok(view), 0.0);
    let enter = slow.request();
    // Passed by a claim that joined earlier but whose append came through later cannot happen here; a restart can.
    server.restart(false);
    let outcome = slow.carry_out(&enter);
    assert!(matches!(outcome, Answer::Outcome(Outcome::Conflict(_))));
    slow.answer(Ok(outcome), 0.0);
    slow.settle();
    assert_eq!(slow.granted(), None, "another life of the store: to be waited out");
}

/// Let in, but too late to start anything without a fresh beat; by then somebody more urgent has asked it to stop.
#[test]
fn one_that_is_preempted_before_its_job_began_gives_the_lock_back_and_queues_again() {
    let server = server();
    let mut scene = Scene::new(&server, ticket("a"), Tick::NEVER);
    for after in [0.0, 25.0] {
        let request = scene.request();
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), after);
    }
    assert_eq!(scene.granted(), None);
    let policy = Policy { preempt: true, ..Policy::default() };
    let mut urgent = Scene::new(&server, Ticket { priority: 1, policy, ..ticket("b") }, Tick::NEVER);
    urgent.settle();
    scene.settle();
    assert_eq!((scene.granted(), scene.news.iter().filter(|news| matches!(news, News::Lost { .. })).count()), (None, 0));
    let view = server.connect().view(&lock("x"), None).unwrap();
    assert_eq!((view.ledger.holders.len(), view.ledger.stops.len(), view.waiting), (0, 0, 2), "{view:?}");
    urgent.now = urgent.now + Duration::from_secs(1);
    urgent.claim.woken(urgent.now);
    urgent.settle();
    assert!(urgent.granted().is_some());
}

#[test]
fn a_superseded_waiter_withdraws_and_says_so() {
    let server = server();
    let of = |label: &str, supersede| Ticket {
        policy: Policy { group: Some("g".into()), supersede, ..Policy::default() },
        ..ticket(label)
    };
    let mut holder = Scene::new(&server, ticket("a"), Tick::NEVER);
    let mut old = Scene::new(&server, of("b", None), Tick::NEVER);
    let mut new = Scene::new(&server, of("c", Some(Supersede::Waiting)), Tick::NEVER);
    holder.settle();
    old.settle();
    new.settle();
    old.now = old.now + Duration::from_secs(1);
    old.claim.woken(old.now);
    assert!(matches!(old.rest(), Step::End(Ending::Stopped(StopReason::Superseded))));
    let view = server.connect().view(&lock("x"), None).unwrap();
    assert_eq!((view.ledger.stops.len(), view.waiting), (0, 1), "{view:?}");
}
