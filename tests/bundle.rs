//! Several claims as one machine: the order, what is held while others are waited for, and what the one lease hangs on.

pub mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use support::claims::{hold, lock, nothing, ticket};
use vaultlock::ledger::{Commit, Ticket, View, Watched, commit};
use vaultlock::name::{Name, in_order};
use vaultlock::session::words::{Answer, Request, Step};
use vaultlock::session::{Bundle, Claim, Ending, Loss, News, Notes, Order, Session, Turn};
use vaultlock::store::file::FileStore;
use vaultlock::store::memory::{MemoryServer, MemoryStore};
use vaultlock::store::{Error, Store};
use vaultlock::time::{Tick, Wall};
use vaultlock::timing::Timing;

const TTL: Duration = Duration::from_secs(30);

/// A bundle, the store it asks, and a clock that only the test moves.
struct Scene {
    locks: Vec<Name>,
    bundle: Bundle,
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
    fn new(server: &MemoryServer, names: &[&str], patience: Tick) -> Scene {
        let store = server.connect();
        let timing = Timing::new(TTL, None, TTL).unwrap().for_locks(names.len() as u32).unwrap();
        let claim = |name: &&str| Claim::new(ticket(name), timing, store.kind(), patience, 0, Watched::default());
        let bundle = Bundle::new(names.iter().map(claim).collect());
        Scene { locks: names.iter().map(|name| lock(name)).collect(), bundle, store, now: at(0.0), news: Vec::new() }
    }

    fn ticket(&self, which: usize) -> &Ticket {
        self.bundle.claims()[which].ticket()
    }

    fn view(&mut self, which: usize) -> View {
        self.store.view(&self.locks[which], None).unwrap()
    }

    fn is_held(&mut self, which: usize) -> bool {
        !self.view(which).ledger.holders.is_empty()
    }

    /// The next request and whose it is, after all news; `None` if there is something to wait for.
    fn request(&mut self) -> Option<(usize, Request)> {
        loop {
            match self.bundle.next(self.now, Wall(0)) {
                Step::Tell(news) => self.news.push(news),
                Step::Ask(request) => return Some((self.bundle.at(), request)),
                Step::Wait(_) => return None,
                Step::End(ending) => panic!("{ending:?}"),
            }
        }
    }

    fn carry_out(&mut self, request: &Request) -> Answer {
        let which = self.bundle.at();
        let (name, id) = (self.locks[which].clone(), self.ticket(which).id.clone());
        match request {
            Request::Take => Answer::View(self.store.take(&name, &self.ticket(which).clone()).unwrap()),
            Request::Enter(straight) => {
                let ticket = self.ticket(which).clone();
                Answer::View(self.store.enter(&name, &ticket, straight).unwrap())
            }
            Request::Beat(with) => Answer::Beat(self.store.beat(&name, &id, with).unwrap()),
            Request::View => Answer::View(self.store.view(&name, Some(&id)).unwrap()),
            Request::Commit(commit) => Answer::Outcome(self.store.commit(&name, &id, commit).unwrap()),
            Request::Survey(lock) => Answer::Survey(self.store.view(lock, None).ok()),
        }
    }

    fn answer(&mut self, answer: Result<Answer, Error>, after: f64) {
        let sent = self.now;
        self.now = self.now + Duration::from_secs_f64(after);
        self.bundle.answer(sent, self.now, Wall(0), answer);
    }

    fn rest(&mut self) -> Step {
        loop {
            match self.bundle.next(self.now, Wall(0)) {
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
        let step = self.rest();
        assert!(matches!(step, Step::Wait(_)), "{step:?}");
    }

    fn granted(&self) -> Option<Tick> {
        self.news.iter().find_map(|news| match news {
            News::Granted { sent, .. } => Some(*sent),
            _ => None,
        })
    }

    /// Somebody meddles: the ticket is gone.
    fn vanish(&mut self, which: usize) {
        let view = self.view(which);
        let id = self.ticket(which).id.clone();
        let vanish = Commit { drop: vec![id.clone()], ..nothing(&view) };
        self.store.commit(&self.locks[which], &id, &vanish).unwrap();
    }
}

/// Gives back what a stranger held.
fn give_back(server: &MemoryServer, name: &str, holder: &Ticket) {
    let mut store = server.connect();
    let view = store.view(&lock(name), Some(&holder.id)).unwrap();
    let release = commit::release(&view, &holder.id).unwrap();
    store.commit(&lock(name), &holder.id, &release).unwrap();
}

#[test]
fn free_locks_are_taken_one_after_the_other() {
    let mut scene = Scene::new(&server(), &["a", "b"], Tick::NEVER);
    let mut asked = Vec::new();
    while let Some((which, request)) = scene.request() {
        asked.push((which, matches!(request, Request::Enter(_))));
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), 0.0);
    }
    // The first finds a memory that nobody has waited out yet, and is let in by a commit.
    assert_eq!(asked, [(0, true), (0, false), (1, true)]);
    let News::Granted { fences, sent } = scene.news.last().unwrap() else { panic!("{:?}", scene.news) };
    assert_eq!((fences.len(), *sent), (2, at(0.0)));
    assert_eq!(scene.news.len(), 1, "told once: {:?}", scene.news);
}

#[test]
fn who_is_in_beats_while_the_others_are_waited_for() {
    let server = server();
    let stranger = ticket("stranger");
    hold(&mut server.connect(), "b", &stranger);
    let mut scene = Scene::new(&server, &["a", "b", "c"], Tick::NEVER);
    scene.settle();
    assert!(scene.is_held(0) && scene.view(2).waiting == 0, "c is not asked for before b is in");
    let waiting = scene.news.iter().any(|news| matches!(news, News::Waiting(standing) if standing.at == 1));
    assert!(waiting && scene.granted().is_none(), "{:?}", scene.news);
    scene.now = at(6.0);
    let mut beaten = Vec::new();
    while let Some((which, request)) = scene.request() {
        beaten.extend(matches!(request, Request::Beat(_)).then_some(which));
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), 0.0);
    }
    beaten.sort_unstable();
    assert_eq!(beaten, [0, 1]);
    assert!(!scene.news.iter().any(|news| matches!(news, News::Renewed { .. })), "there is no job to renew a lease for");
    scene.now = at(8.0);
    give_back(&server, "b", &stranger);
    scene.bundle.woken(scene.now);
    scene.settle();
    assert_eq!(scene.granted(), Some(at(6.0)), "the oldest of the three leases");
}

#[test]
fn the_lease_of_all_is_renewed_when_the_oldest_is() {
    let mut scene = Scene::new(&server(), &["a", "b"], Tick::NEVER);
    scene.settle();
    scene.news.clear();
    scene.now = at(6.0);
    let (which, beat) = scene.request().unwrap();
    let answer = scene.carry_out(&beat);
    scene.answer(Ok(answer), 1.0);
    let (other, beat) = scene.request().unwrap();
    assert_ne!(which, other);
    assert_eq!(scene.news, [], "the other's is as old as it was");
    let answer = scene.carry_out(&beat);
    scene.answer(Ok(answer), 1.0);
    scene.settle();
    assert_eq!(scene.news, [News::Renewed { sent: at(6.0) }]);
}

/// Both were let in at last, and by then their leases were too old for any job.
#[test]
fn no_job_starts_before_each_lease_is_young_enough() {
    let mut scene = Scene::new(&server(), &["a", "b"], Tick::NEVER);
    for late in [0.0, 0.0, 20.0] {
        let (_, request) = scene.request().unwrap();
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), late);
    }
    let mut beaten = Vec::new();
    while let Some((which, request)) = scene.request() {
        assert_eq!((scene.granted(), request.clone()), (None, Request::Beat(vec![])));
        beaten.push(which);
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), 0.0);
    }
    beaten.sort_unstable();
    assert_eq!((beaten, scene.granted()), (vec![0, 1], Some(at(20.0))));
}

#[test]
fn who_must_queue_again_gives_back_what_comes_after_it_first() {
    let server = server();
    let stranger = ticket("stranger");
    hold(&mut server.connect(), "c", &stranger);
    let mut scene = Scene::new(&server, &["a", "b", "c"], Tick::NEVER);
    scene.settle();
    assert!(scene.is_held(0) && scene.is_held(1));
    let ids: Vec<_> = (0..3).map(|which| scene.ticket(which).id.clone()).collect();
    scene.vanish(0);
    scene.now = at(6.0);
    let mut again = false;
    while let Some((which, request)) = scene.request() {
        if which == 0 && matches!(request, Request::Enter(_)) {
            assert!(!scene.is_held(1), "it waits for a while it holds b");
            assert_eq!(scene.view(2).waiting, 0, "its place before c could let it in");
            again = true;
        }
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), 0.0);
    }
    assert!(again);
    for (which, id) in ids.iter().enumerate() {
        assert_ne!(scene.ticket(which).id, *id, "an id once dropped never returns");
    }
    // Nobody released a: its holder without a ticket must lapse first.
    scene.now = scene.now + Duration::from_secs(40);
    give_back(&server, "c", &stranger);
    for _ in 0..3 {
        scene.settle();
        scene.bundle.woken(scene.now);
    }
    assert!(scene.granted().is_some(), "{:?}", scene.news);
}

#[test]
fn the_loss_of_one_is_told_once_and_the_others_stay_until_the_job_is_dead() {
    let mut scene = Scene::new(&server(), &["a", "b"], Tick::NEVER);
    scene.settle();
    scene.vanish(1);
    scene.now = at(6.0);
    scene.settle();
    let lost = scene.news.iter().filter(|news| matches!(news, News::Lost { .. })).collect::<Vec<_>>();
    assert_eq!(lost, [&News::Lost { at: 1, loss: Loss::Forgotten }]);
    assert!(scene.is_held(0));
    assert!(!scene.news.contains(&News::Renewed { sent: at(6.0) }), "the run's lease ends with b's");
    scene.bundle.leave(scene.now);
    assert!(matches!(scene.rest(), Step::End(Ending::Left)));
    assert!(!scene.is_held(0));
}

#[test]
fn where_one_is_busy_all_are_given_back() {
    let server = server();
    hold(&mut server.connect(), "b", &ticket("stranger"));
    let mut scene = Scene::new(&server, &["a", "b", "c"], at(0.0));
    let Step::End(Ending::Busy(Some(standing))) = scene.rest() else { panic!() };
    assert_eq!((standing.at, standing.holders[0].who.label.as_str()), (1, "stranger"));
    assert!(!scene.is_held(0));
    assert_eq!((0..3).map(|which| scene.view(which).waiting).sum::<usize>(), 0);
}

#[test]
fn one_patience_is_for_all() {
    let server = server();
    let stranger = ticket("stranger");
    hold(&mut server.connect(), "a", &stranger);
    hold(&mut server.connect(), "b", &ticket("another"));
    let mut scene = Scene::new(&server, &["a", "b"], at(5.0));
    scene.settle();
    scene.now = at(3.0);
    give_back(&server, "a", &stranger);
    scene.bundle.woken(scene.now);
    scene.settle();
    scene.now = at(5.0);
    assert!(matches!(scene.rest(), Step::End(Ending::Busy(Some(standing))) if standing.at == 1));
    assert!(!scene.is_held(0));
}

#[test]
fn what_could_not_be_given_back_is_named() {
    let mut scene = Scene::new(&server(), &["a", "b", "c"], Tick::NEVER);
    scene.settle();
    scene.bundle.leave(scene.now);
    let ending = loop {
        match scene.bundle.next(scene.now, Wall(0)) {
            Step::Tell(news) => scene.news.push(news),
            Step::Ask(_) if scene.bundle.at() == 1 => scene.answer(Err(Error::Unreachable("no answer".into())), 1.0),
            Step::Ask(request) => {
                let answer = scene.carry_out(&request);
                scene.answer(Ok(answer), 0.0);
            }
            Step::Wait(until) => scene.now = until,
            Step::End(ending) => break ending,
        }
    };
    assert!(matches!(ending, Ending::Unreleased { ref which, .. } if which == &[1]), "{ending:?}");
    assert_eq!((0..3).map(|which| scene.is_held(which)).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn a_refusal_while_others_are_held_ends_the_run() {
    let mut scene = Scene::new(&server(), &["a", "b"], Tick::NEVER);
    loop {
        let (which, request) = scene.request().unwrap();
        if which == 1 {
            break;
        }
        let answer = scene.carry_out(&request);
        scene.answer(Ok(answer), 0.0);
    }
    scene.answer(Err(Error::Refused("full".into())), 0.0);
    assert!(matches!(scene.rest(), Step::End(Ending::Failed(Error::Refused(_)))));
    assert!(!scene.is_held(0));
}

/// Every number of locks leaves each of them a request without an answer before the stop.
#[test]
fn the_more_locks_the_less_time_for_each_request() {
    for ttl in [1, 2, 5, 10, 30, 600].map(Duration::from_secs) {
        let one = Timing::new(ttl, None, ttl).unwrap();
        assert_eq!(one.for_locks(1), Ok(one));
        for locks in 2..=16 {
            let Ok(timing) = one.for_locks(locks) else {
                assert!(ttl < Duration::from_secs(3), "{locks} locks are refused at {ttl:?}");
                continue;
            };
            assert!(timing.request <= one.request && timing.request >= Duration::from_millis(50));
            assert!(at(0.0) + timing.beat + timing.request * locks <= timing.stop_at(at(0.0)), "{locks} locks at {ttl:?}");
        }
    }
}

/// A thousand pairs of runs with random names in random orders, on a real store: all come through, none beside another.
#[test]
fn a_thousand_random_pairs_never_wait_for_each_other() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let place = tempfile::tempdir().unwrap();
    let in_use: Arc<Vec<AtomicBool>> = Arc::new(NAMES.iter().map(|_| AtomicBool::new(false)).collect());
    let (done, ends) = mpsc::channel();
    let meet = Arc::new(Barrier::new(2));
    for side in 0..2u64 {
        let (dir, in_use, done, meet) = (place.path().to_owned(), in_use.clone(), done.clone(), meet.clone());
        thread::spawn(move || {
            for round in 0..1000 {
                // Both draw the same names, half of the time, each in an order of its own.
                let mut shared = fastrand::Rng::with_seed(round);
                let mut own = fastrand::Rng::with_seed(1000 * (side + 1) + round);
                let mut names = NAMES;
                if shared.bool() {
                    shared.shuffle(&mut names)
                } else {
                    own.shuffle(&mut names)
                }
                let mut names: Vec<Name> = names[..shared.usize(2..=4)].iter().map(|name| lock(name)).collect();
                own.shuffle(&mut names);
                meet.wait();
                run_once(&dir, in_order(names), &in_use);
                done.send(round).unwrap();
            }
        });
    }
    let begun = Instant::now();
    for _ in 0..2000 {
        ends.recv_timeout(Duration::from_secs(40)).expect("nobody waits for ever");
    }
    println!("1000 pairs in {:?}", begun.elapsed());
}

fn run_once(dir: &std::path::Path, locks: Vec<Name>, in_use: &[AtomicBool]) {
    let store = Box::new(FileStore::new(&dir.join("store"), TTL));
    let timing = Timing::new(TTL, None, TTL).unwrap().for_locks(locks.len() as u32).unwrap();
    let claim = |name: &Name| Claim::new(ticket(name.as_str()), timing, store.kind(), Tick::NEVER, 0, Watched::default());
    let bundle = Bundle::new(locks.iter().map(claim).collect());
    let notes = locks.iter().map(|lock| Notes::new(dir.join("notes"), lock)).collect();
    let numbers: Vec<usize> = locks.iter().map(|lock| usize::from(lock.as_str().as_bytes()[0] - b'a')).collect();
    let mut session = Session::new(locks, bundle, store, notes).unwrap();
    loop {
        match session.turn() {
            Turn::News(News::Granted { fences, .. }) => {
                assert_eq!(fences.len(), numbers.len());
                for number in &numbers {
                    assert!(!in_use[*number].swap(true, Ordering::SeqCst), "two at once");
                }
                for number in &numbers {
                    in_use[*number].store(false, Ordering::SeqCst);
                }
                session.orders().give(Order::Leave);
            }
            Turn::News(_) => {}
            Turn::End(Ending::Left) => return,
            Turn::End(ending) => panic!("{ending:?}"),
        }
    }
}
