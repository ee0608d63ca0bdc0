//! The rules of the guard, event by event: what happens to the job when.

use std::time::Duration;

use nix::sys::signal::Signal;
use vaultlock::job::{End, Event as Job, Verdict};
use vaultlock::ledger::{Breaker, StopReason};
use vaultlock::run::guard::Guard;
use vaultlock::run::orders::{Event, IfUnavailable, Order, Reason, Saying, Stragglers};
use vaultlock::session::{Ending, Loss, News};
use vaultlock::time::Tick;
use vaultlock::timing::Timing;

/// ttl 10 s, grace 2.5 s, kill and slack 2.5 s: stop at 4.9 s, kill at 7.4 s, dead by 9.9 s after the beat was sent.
fn timing() -> Timing {
    Timing::new(Duration::from_secs(10), None, Duration::from_secs(10)).unwrap()
}

fn at(seconds: f64) -> Tick {
    Tick(1) + Duration::from_secs_f64(seconds)
}

fn guard(stragglers: Stragglers) -> Guard {
    Guard::new(timing(), stragglers, IfUnavailable::Fail, 75)
}

/// A guard whose job runs on a lease sent at 0.
fn running(stragglers: Stragglers) -> Guard {
    let mut guard = guard(stragglers);
    let orders = guard.handle(granted(), at(0.1));
    assert_eq!(orders[1..], [Order::Arm(at(0.0)), Order::Start { fences: vec![7] }]);
    guard
}

fn granted() -> Event {
    Event::News(News::Granted { fences: vec![7], sent: at(0.0) })
}

fn signal(signal: Signal) -> Event {
    Event::Job(Job::Signal(signal))
}

fn lost() -> Order {
    Order::Say(Saying::Lost(Reason::Lapsed { unrenewed: Duration::from_secs_f64(4.9), trouble: String::new() }))
}

#[test]
fn a_job_that_ends_by_itself_gives_its_own_code() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(7))), at(1.0)), [Order::Leave]);
    let end = [Order::Say(Saying::WaitOver), Order::CountLeftBehind, Order::Finish(Verdict::Code(7))];
    assert_eq!(guard.handle(Event::Ended(Ending::Left), at(1.1)), end);
    assert_eq!(guard.handle(Event::LeftBehind(vec![]), at(1.1)), []);
    assert_eq!(guard.handle(Event::LeftBehind(vec![9]), at(1.1)), [Order::Say(Saying::LeftBehind(vec![9]))]);
}

#[test]
fn a_superseded_job_goes_down_the_same_ladder_and_is_76() {
    let mut guard = running(Stragglers::Leave);
    let loss = Loss::Stopped(StopReason::Superseded);
    let said = Order::Say(Saying::Lost(Reason::Loss { at: 0, loss: loss.clone() }));
    assert_eq!(guard.handle(Event::News(News::Lost { at: 0, loss }), at(1.0)), [said, Order::Stop]);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(0))), at(1.1)), [Order::Kill], "whatever the job makes of it");
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(1.2)), [Order::Leave]);
    let end = guard.handle(Event::Ended(Ending::Left), at(1.3));
    assert_eq!(end.last(), Some(&Order::Finish(Verdict::Code(76))));
}

#[test]
fn a_waiter_that_is_superseded_is_76_and_another_request_to_end_is_busy() {
    let breaker = Breaker { by: "root@db1".to_owned(), reason: "an incident".to_owned() };
    for (why, code) in [(StopReason::Superseded, 76), (StopReason::Broken(breaker), 75)] {
        let end = guard(Stragglers::Leave).handle(Event::Ended(Ending::Stopped(why)), at(1.0));
        assert_eq!(end.last(), Some(&Order::Finish(Verdict::Code(code))));
    }
}

#[test]
fn a_renewal_moves_the_deadline_and_never_back() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.wake_at(), at(4.9));
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(2.0) }), at(2.1)), []);
    assert_eq!(guard.wake_at(), at(6.9));
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(1.0) }), at(2.2)), []);
    assert_eq!(guard.wake_at(), at(6.9));
    assert_eq!(guard.handle(Event::Time, at(4.9)), [], "an old alarm");
}

#[test]
fn a_lapsed_lease_stops_then_kills_then_releases_and_is_121() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Time, at(4.9)), [lost(), Order::Stop]);
    assert_eq!(guard.wake_at(), at(7.4));
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(5.0) }), at(5.1)), [], "too late to be saved");
    assert_eq!(guard.handle(Event::Time, at(7.4)), [Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(7.5)), [Order::Leave]);
    let end = guard.handle(Event::Ended(Ending::Left), at(7.6));
    assert_eq!(end.last(), Some(&Order::Finish(Verdict::Code(121))));
}

#[test]
fn a_job_that_obeys_the_stop_signal_is_swept_and_121_whatever_its_code() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Time, at(4.9)).len(), 2);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(0))), at(5.0)), [Order::Kill], "its tree may live");
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(5.0)), [Order::Leave]);
    assert_eq!(guard.handle(Event::Ended(Ending::Left), at(5.0)).last(), Some(&Order::Finish(Verdict::Code(121))));
}

#[test]
fn who_wakes_up_after_the_kill_time_kills_at_once() {
    let mut guard = running(Stragglers::Leave);
    let orders = guard.handle(Event::Time, at(60.0));
    assert_eq!(orders.last(), Some(&Order::Kill));
    assert!(!orders.contains(&Order::Stop));
}

#[test]
fn every_kind_of_loss_stops_the_job() {
    for loss in [Loss::Forgotten, Loss::Swept, Loss::Stopped(StopReason::Preempted)] {
        let mut guard = running(Stragglers::Leave);
        let orders = guard.handle(Event::News(News::Lost { at: 0, loss: loss.clone() }), at(1.0));
        assert_eq!(orders, [Order::Say(Saying::Lost(Reason::Loss { at: 0, loss: loss.clone() })), Order::Stop]);
        assert_eq!(guard.wake_at(), at(3.5), "the grace, which ends before the lease does");
        let mut late = running(Stragglers::Leave);
        let _ = late.handle(Event::News(News::Lost { at: 0, loss }), at(4.0));
        assert!(late.wake_at() <= at(7.4), "but never later than the kill time");
    }
}

#[test]
fn a_stop_by_the_sentry_is_a_loss_although_renewed_since() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(5.0) }), at(5.0)), []);
    let orders = guard.handle(Event::SentryStopped, at(5.1));
    assert!(matches!(orders[..], [Order::Say(Saying::Lost(_)), Order::Stop]), "{orders:?}");
}

#[test]
fn no_job_starts_later_than_its_deadline_allows() {
    let mut guard = guard(Stragglers::Leave);
    let too_late = Order::Say(Saying::TooLate(Duration::from_secs_f64(4.9)));
    assert_eq!(guard.handle(granted(), at(4.9)), [Order::Say(Saying::WaitOver), too_late, Order::Leave]);
    assert_eq!(guard.handle(Event::Ended(Ending::Left), at(5.0)).last(), Some(&Order::Finish(Verdict::Code(121))));
}

#[test]
fn the_lock_is_kept_while_a_process_can_not_be_killed() {
    let mut guard = running(Stragglers::Kill);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(0))), at(1.0)), [Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Err(vec![42])), at(3.0)), [Order::Say(Saying::Unkillable(vec![42]))]);
    assert_eq!(guard.wake_at(), at(4.0));
    assert_eq!(guard.handle(Event::Time, at(4.0)), [Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(4.1)), [Order::Leave]);
}

#[test]
fn stragglers_are_waited_for_under_the_lease() {
    let mut guard = running(Stragglers::Wait);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(3))), at(1.0)), [Order::CountLeftBehind]);
    assert_eq!(guard.handle(Event::LeftBehind(vec![9]), at(1.0)), [Order::Say(Saying::Lingers(vec![9]))]);
    assert_eq!(guard.wake_at(), at(4.9));
    assert_eq!(guard.handle(Event::Job(Job::Alone), at(2.0)), [Order::Leave]);
    let mut lapsing = running(Stragglers::Wait);
    let _ = lapsing.handle(Event::Job(Job::Ended(End::Code(3))), at(1.0));
    assert_eq!(lapsing.handle(Event::Time, at(4.9)), [lost(), Order::Kill]);
}

#[test]
fn signals_go_to_the_job_once_and_a_second_int_or_term_kills() {
    let mut guard = running(Stragglers::Leave);
    for sent in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGTERM] {
        assert_eq!(guard.handle(signal(sent), at(1.0)), [Order::Signal(sent)]);
    }
    assert_eq!(guard.handle(signal(Signal::SIGINT), at(1.1)), [Order::Kill]);
}

#[test]
fn a_signal_while_the_lock_is_given_back_ends_the_wait_for_the_store() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(3))), at(1.0)), [Order::Leave]);
    assert_eq!(guard.handle(signal(Signal::SIGTERM), at(2.0)).last(), Some(&Order::Finish(Verdict::Code(3))));
}

#[test]
fn a_signal_while_waiting_withdraws_and_the_store_has_a_second_to_hear_of_it() {
    for sent in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut guard = guard(Stragglers::Leave);
        assert_eq!(guard.handle(signal(sent), at(1.0)), [Order::Say(Saying::WaitOver), Order::Leave]);
        assert_eq!(guard.handle(granted(), at(1.1)), [], "let in too late");
        assert_eq!(guard.wake_at(), at(2.0));
        assert_eq!(guard.handle(Event::Time, at(2.0)), [Order::Finish(Verdict::Signal(sent as i32))]);
    }
}

#[test]
fn nothing_starts_between_a_stop_and_its_continuation() {
    let mut guard = guard(Stragglers::Leave);
    assert_eq!(guard.handle(signal(Signal::SIGTSTP), at(0.0)), [Order::Pause]);
    assert_eq!(guard.handle(granted(), at(0.1)), [], "the commit was under way");
    let orders = guard.handle(signal(Signal::SIGCONT), at(1.0));
    assert_eq!(orders.first(), Some(&Order::Resume));
    assert_eq!(orders.last(), Some(&Order::Start { fences: vec![7] }));
}

#[test]
fn a_stopped_job_runs_on_only_under_a_lease() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Job(Job::Stopped(Signal::SIGTSTP)), at(1.0)), [Order::StopToo(Signal::SIGTSTP)]);
    assert_eq!(guard.handle(signal(Signal::SIGCONT), at(2.0)), [Order::Signal(Signal::SIGCONT)]);
    let mut lapsed = running(Stragglers::Leave);
    let _ = lapsed.handle(Event::Job(Job::Stopped(Signal::SIGTSTP)), at(1.0));
    assert_eq!(lapsed.handle(signal(Signal::SIGCONT), at(4.9)), [lost(), Order::Stop]);
}

#[test]
fn a_dead_sentry_ends_the_job() {
    let mut guard = running(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Job(Job::SentryDied), at(1.0)), [Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(1.0)), [Order::Leave]);
}

#[test]
fn an_unreachable_store_fails_skips_or_runs_unlocked() {
    for (policy, last) in [
        (IfUnavailable::Fail, Order::Finish(Verdict::Code(125))),
        (IfUnavailable::Skip, Order::Finish(Verdict::Code(0))),
        (IfUnavailable::Run, Order::Start { fences: vec![] }),
    ] {
        let mut guard = Guard::new(timing(), Stragglers::Leave, policy, 75);
        let orders = guard.handle(Event::Ended(Ending::Unavailable("no answer".into())), at(1.0));
        assert_eq!(orders.last(), Some(&last));
    }
    let mut guard = Guard::new(timing(), Stragglers::Leave, IfUnavailable::Run, 75);
    let _ = guard.handle(Event::Ended(Ending::Unavailable("no answer".into())), at(1.0));
    assert_eq!(guard.wake_at(), Tick::NEVER, "no lease, no deadline");
    assert_eq!(guard.handle(signal(Signal::SIGTERM), at(2.0)), [Order::Signal(Signal::SIGTERM)]);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(4))), at(3.0)).last(), Some(&Order::Finish(Verdict::Code(4))));
}

#[test]
fn busy_ends_with_the_conflict_code() {
    let mut guard = Guard::new(timing(), Stragglers::Leave, IfUnavailable::Fail, 42);
    assert_eq!(guard.handle(Event::Ended(Ending::Busy(None)), at(1.0)).last(), Some(&Order::Finish(Verdict::Code(42))));
}

#[test]
fn a_failed_release_leaves_the_jobs_code_alone() {
    let mut guard = running(Stragglers::Leave);
    let _ = guard.handle(Event::Job(Job::Ended(End::Code(0))), at(1.0));
    let orders = guard.handle(Event::Ended(Ending::Unreleased { which: vec![0], trouble: "gone".into() }), at(2.0));
    assert_eq!(
        orders[1..],
        [
            Order::Say(Saying::Unreleased { which: vec![0], trouble: "gone".into() }),
            Order::CountLeftBehind,
            Order::Finish(Verdict::Code(0))
        ]
    );
}

/// A guard whose job may run for 3 s from 0.1 on.
fn limited(stragglers: Stragglers) -> Guard {
    let mut guard = guard(stragglers).within(Some(Duration::from_secs(3)));
    let orders = guard.handle(granted(), at(0.1));
    assert_eq!(orders[2], Order::Start { fences: vec![7] });
    assert_eq!(guard.wake_at(), at(3.1));
    guard
}

fn overtime() -> Order {
    Order::Say(Saying::Overtime(Duration::from_secs(3)))
}

#[test]
fn a_job_that_takes_too_long_is_stopped_then_killed_and_the_lock_given_back_at_its_end() {
    let mut guard = limited(Stragglers::Leave);
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(2.0) }), at(2.0)), []);
    assert_eq!(guard.handle(Event::Time, at(3.0)), []);
    assert_eq!(guard.handle(Event::Time, at(3.1)), [overtime(), Order::Stop]);
    assert_eq!(guard.wake_at(), at(5.6), "the grace");
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(4.0) }), at(4.0)), [], "the lease is kept meanwhile");
    assert_eq!(guard.handle(Event::Time, at(5.6)), [Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(5.7)), [Order::Leave]);
    let end = [Order::Say(Saying::WaitOver), Order::Finish(Verdict::Code(124))];
    assert_eq!(guard.handle(Event::Ended(Ending::Left), at(5.8)), end);
}

#[test]
fn a_job_that_obeys_or_that_was_never_late_ends_the_wait() {
    let mut guard = limited(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Time, at(3.1)), [overtime(), Order::Stop]);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(0))), at(3.2)), [Order::Kill], "what it started is ended too");
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(3.2)), [Order::Leave]);
    assert_eq!(guard.handle(Event::Ended(Ending::Left), at(3.3)).last(), Some(&Order::Finish(Verdict::Code(124))));

    let mut guard = limited(Stragglers::Leave);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(0))), at(3.0)), [Order::Leave]);
    assert_eq!(guard.handle(Event::Time, at(3.2)), []);
    assert!(guard.handle(Event::Ended(Ending::Left), at(3.3)).contains(&Order::Finish(Verdict::Code(0))));
}

#[test]
fn a_job_is_given_more_time_until_it_has_been_told_to_stop() {
    let mut guard = limited(Stragglers::Leave);
    let more = || Event::News(News::Extended { by: Duration::from_secs(1) });
    assert_eq!(guard.handle(more(), at(1.0)), [Order::Say(Saying::Extended(Duration::from_secs(4)))]);
    assert_eq!((guard.handle(Event::Time, at(4.0)), guard.wake_at()), (vec![], at(4.1)));
    let overtime = Order::Say(Saying::Overtime(Duration::from_secs(4)));
    assert_eq!(guard.handle(Event::Time, at(4.1)), [overtime, Order::Stop]);
    assert_eq!(guard.handle(more(), at(4.2)), [], "it has been told");
    let mut guard = guard_in_queue();
    let more = Order::Say(Saying::Extended(Duration::from_secs(4)));
    assert_eq!(guard.handle(Event::News(News::Extended { by: Duration::from_secs(1) }), at(0.0)), [more]);
    assert_eq!(guard.handle(granted(), at(0.1))[2], Order::Start { fences: vec![7] });
    assert_eq!(guard.wake_at(), at(4.1), "one that waits for the other locks of its run may get it too");
}

fn guard_in_queue() -> Guard {
    guard(Stragglers::Leave).within(Some(Duration::from_secs(3)))
}

#[test]
fn a_lease_that_is_lost_while_the_job_is_stopped_shortens_its_grace() {
    // Not renewed since 0: dead by 9.9, so killed at 7.4.
    let mut guard = limited(Stragglers::Leave).within(Some(Duration::from_secs(3)));
    assert_eq!(guard.handle(Event::Time, at(3.1)), [overtime(), Order::Stop]);
    let loss = News::Lost { at: 0, loss: Loss::Swept };
    let said = guard.handle(Event::News(loss), at(4.0));
    assert!(matches!(said[..], [Order::Say(Saying::Lost(_))]), "{said:?}");
    assert_eq!(guard.wake_at(), at(5.6), "no later than it was");
    assert_eq!(guard.handle(Event::Time, at(5.6)), [Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(5.6)), [Order::Leave]);
    assert!(guard.handle(Event::Ended(Ending::Left), at(5.7)).contains(&Order::Finish(Verdict::Code(121))));

    let mut guard = running(Stragglers::Leave).within(None);
    assert_eq!(guard.wake_at(), at(4.9));
    assert_eq!(guard.handle(Event::Time, at(4.9)), [lost(), Order::Stop], "without a limit there is none");
}

#[test]
fn what_is_waited_for_after_the_job_is_killed_when_the_time_is_up() {
    let mut guard = limited(Stragglers::Wait);
    assert_eq!(guard.handle(Event::Job(Job::Ended(End::Code(0))), at(1.0)), [Order::CountLeftBehind]);
    assert_eq!(guard.handle(Event::LeftBehind(vec![9]), at(1.0)), [Order::Say(Saying::Lingers(vec![9]))]);
    assert_eq!(guard.handle(Event::Time, at(3.1)), [overtime(), Order::Kill]);
    assert_eq!(guard.handle(Event::Killed(Ok(())), at(3.2)), [Order::Leave]);
    assert!(guard.handle(Event::Ended(Ending::Left), at(3.3)).contains(&Order::Finish(Verdict::Code(124))));
}

#[test]
fn a_job_without_the_lock_has_its_limit_all_the_same() {
    let unlocked = Guard::new(timing(), Stragglers::Leave, IfUnavailable::Run, 75);
    let mut guard = unlocked.within(Some(Duration::from_secs(3)));
    let orders = guard.handle(Event::Ended(Ending::Unavailable("gone".to_owned())), at(1.0));
    assert_eq!(orders.last(), Some(&Order::Start { fences: vec![] }));
    assert_eq!(guard.wake_at(), at(4.0));
    assert_eq!(guard.handle(Event::Time, at(4.0)), [overtime(), Order::Stop]);
    assert_eq!(guard.wake_at(), at(6.5), "no lease shortens the grace");
}

/// A guard that has a mark raised first; let in at 0.1 on a lease sent at 0.
fn marking() -> Guard {
    let mut guard = guard(Stragglers::Leave).marking(true);
    let orders = guard.handle(granted(), at(0.1));
    assert_eq!(orders[1..], [Order::Arm(at(0.0)), Order::Mark { fence: 7 }]);
    guard
}

#[test]
fn the_mark_is_raised_before_the_job_starts() {
    let mut guard = marking();
    assert_eq!(guard.handle(Event::Marked, at(0.2)), [Order::Start { fences: vec![7] }]);
    assert!(guard.thinks_it_runs());
}

#[test]
fn earlier_writers_are_waited_for_as_long_as_the_lease_lasts() {
    let mut guard = marking();
    assert_eq!(guard.handle(Event::MarkBusy, at(0.1)), []);
    assert_eq!(guard.wake_at(), at(0.12));
    assert_eq!(guard.handle(Event::Time, at(0.12)), [Order::Mark { fence: 7 }]);
    assert_eq!(guard.handle(Event::MarkBusy, at(1.2)), [Order::Say(Saying::MarkBusy)]);
    assert_eq!(guard.handle(Event::MarkBusy, at(1.3)), [], "said once");
    assert_eq!(guard.handle(Event::News(News::Renewed { sent: at(2.0) }), at(2.0)), []);
    // Stop at 4.9 after the beat: too late for a job.
    let late = [Order::Say(Saying::TooLate(Duration::from_secs(5))), Order::Leave];
    assert_eq!(guard.handle(Event::Time, at(7.0)), late);
    assert!(guard.handle(Event::Ended(Ending::Left), at(7.1)).contains(&Order::Finish(Verdict::Code(121))));
    let mut guard = marking();
    let late = [Order::Say(Saying::TooLate(Duration::from_secs(5))), Order::Leave];
    assert_eq!(guard.handle(Event::Marked, at(5.0)), late, "raising it took its time");
}

#[test]
fn before_the_start_a_signal_a_loss_or_a_dead_sentry_gives_the_lock_back() {
    let loss = || Event::News(News::Lost { at: 0, loss: Loss::Swept });
    for (event, code) in [(signal(Signal::SIGTERM), Verdict::Signal(15)), (Event::Job(Job::SentryDied), Verdict::Code(125))] {
        let mut guard = marking();
        assert_eq!(guard.handle(event, at(0.2)), [Order::Leave]);
        assert_eq!(guard.handle(Event::Marked, at(0.3)), [], "nothing starts any more");
        assert!(guard.handle(Event::Ended(Ending::Left), at(0.3)).contains(&Order::Finish(code)));
    }
    let mut guard = marking();
    let said = guard.handle(loss(), at(0.2));
    assert!(matches!(said[..], [Order::Say(Saying::LostUnstarted(_)), Order::Leave]), "{said:?}");
    assert!(guard.handle(Event::Ended(Ending::Left), at(0.3)).contains(&Order::Finish(Verdict::Code(121))));
}
