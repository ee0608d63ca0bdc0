//! The checker of the proof, checked: good logs pass, and each kind of bad log fails for its own reason and no other.

#[path = "proof/checker.rs"]
pub mod checker;
#[path = "proof/log.rs"]
pub mod log;

use std::time::Duration;

use checker::{Rule, Rules, Verdict, check};
use log::{Event, read_all};

/// One lock with two runs that wait for ever, ttl 1 s; times in milliseconds.
const TWO: &str = "asked 0 a 1 1000 - firm\nasked 0 a 2 1000 - firm\nstart 10 a 1 100 11\ntick 20 a 1 100 11\n";
const GOOD_END: &str = "end 30 a 1 100 11\ngone 31 1 0\nstart 32 a 2 101 12\nend 40 a 2 101 12\ngone 41 2 0\ncalm 42\n";
/// The first run's job ends and the second one has its turn, this late.
const LATE_END: &str = "start 5000 a 2 101 12\nend 5010 a 2 101 12\ngone 5011 2 0\ncalm 5012\n";

fn events(text: &str) -> Vec<Event> {
    let (mut events, read) = read_all(text).unwrap();
    assert_eq!(read, text.len());
    for event in &mut events {
        event.at.0 *= 1_000_000;
    }
    events
}

fn on_file(text: &str) -> Verdict {
    check(&Rules::file(), &events(text))
}

fn on_redis(text: &str) -> Verdict {
    check(&Rules::redis(Duration::from_secs(1)), &events(text))
}

#[track_caller]
fn good(verdict: Verdict) -> Verdict {
    assert!(verdict.is_good(), "{:#?}", verdict.violations);
    verdict
}

#[track_caller]
fn bad(rules: &[Rule], verdict: &Verdict) {
    let broken: Vec<Rule> = verdict.violations.keys().map(|(rule, _)| *rule).collect();
    assert_eq!(broken, rules, "{:#?}", verdict.violations);
}

#[test]
fn turns_are_good() {
    let verdict = good(on_file(&format!("{TWO}{GOOD_END}")));
    assert_eq!((verdict.runs, verdict.jobs, verdict.overlaps(), verdict.fault_count()), (2, 2, 0, 0));
    assert_eq!(verdict.codes.get(&0), Some(&2));
}

#[test]
fn jobs_of_two_locks_may_live_together() {
    good(on_file(
        "asked 0 a 1 1000 - firm\nasked 0 b 2 1000 - firm\nstart 1 a 1 9 11\nstart 2 b 2 5 12\ntick 3 a 1 9 11\ntick 4 b 2 5 12\n\
         gone 5 1 0\ngone 5 2 0\n",
    ));
}

/// A run of two locks, each under a number of its own.
const BOTH: &str = "asked 0 a 1 1000 - firm 1\nasked 0 b 2 1000 - firm 1\nstart 1 a 1 9 11\nstart 1 b 2 5 11\n";

#[test]
fn a_run_of_two_locks_is_one_run_and_holds_both() {
    let end = "end 20 a 1 9 11\nend 20 b 2 5 11\ngone 21 1 0\ngone 21 2 0\n";
    let verdict = good(on_redis(&format!("{BOTH}{end}calm 22\n")));
    assert_eq!((verdict.runs, verdict.jobs, verdict.of_several, verdict.codes.get(&0)), (1, 1, 1, Some(&1)));
    let beside = "asked 2 b 3 1000 - firm\nstart 3 b 3 6 12\ntick 4 a 1 9 11\ntick 4 b 2 5 11\n";
    bad(&[Rule::Outlived], &on_redis(&format!("{BOTH}{beside}{end}gone 30 3 0\n")));
}

#[test]
fn a_fault_of_a_run_of_two_locks_is_one_of_both() {
    let killed = "fault 10 1 kill worker - 1 8\nstruck 10 1\n";
    let verdict = on_redis(&format!("{BOTH}{killed}tick 1100 b 2 5 11\ngone 1200 1 121\ngone 1200 2 121\n"));
    bad(&[Rule::Deadline], &verdict);
    good(on_redis(&format!("{BOTH}{killed}tick 900 b 2 5 11\ngone 1000 1 121\ngone 1000 2 121\n")));
}

#[test]
fn a_recovery_is_not_measured_where_somebody_waits_for_another_lock_too() {
    // Job 2 may have the lock long before it starts.
    let waits = "asked 0 a 1 1000 - firm\nasked 0 a 2 1000 - firm 2\nasked 0 b 3 1000 - firm 2\nasked 0 a 4 1000 - firm\n";
    let dead = "start 10 a 1 100 11\nfault 5000 1 kill all a 1 8 9 11\nstruck 5000 1\ncleared 5001 1\ngone 5002 1 -9\n";
    let turns =
        "start 9000 a 2 101 12\nstart 9000 b 3 7 12\ngone 9010 2 0\ngone 9010 3 0\nstart 9020 a 4 102 13\ngone 9030 4 0\n";
    good(on_redis(&format!("{waits}{dead}{turns}")));
    let alone = waits.replace("- firm 2\n", "- firm\n");
    assert!(on_redis(&format!("{alone}{dead}{turns}")).count(Rule::Recovery) == 1);
}

#[test]
fn a_life_after_a_later_jobs_start_is_an_overlap() {
    for word in ["tick", "end"] {
        let verdict = on_file(&format!(
            "{TWO}start 30 a 2 101 12\n{word} 47 a 1 100 11\nend 50 a 2 101 12\ngone 51 2 0\ngone 51 1 0\ncalm 60\n"
        ));
        bad(&[Rule::Outlived], &verdict);
        assert_eq!((verdict.overlaps(), verdict.longest_overlap()), (1, Duration::from_millis(17)));
    }
    // Of the first of three, long after the second.
    let three = format!("{TWO}asked 20 a 3 1000 - firm\nstart 30 a 2 101 12\nstart 40 a 3 102 13\ntick 50 a 1 100 11\n");
    bad(&[Rule::Outlived], &on_file(&format!("{three}gone 60 1 0\ngone 60 2 0\ngone 60 3 0\n")));
}

#[test]
fn order_is_that_of_the_lines_whatever_the_times_say() {
    let verdict = on_file(&format!("{TWO}start 30 a 2 101 12\ntick 25 a 1 100 11\ngone 51 2 0\ngone 51 1 0\n"));
    bad(&[Rule::Outlived], &verdict);
}

#[test]
fn the_kernels_witness_counts() {
    let verdict =
        on_file(&format!("{TWO}start 32 a 2 101 12\noverlap 32 a 2 101 12\noverlap 37 a 2 101 12\ngone 40 1 0\ngone 41 2 0\n"));
    bad(&[Rule::Presence], &verdict);
    assert_eq!((verdict.overlaps(), verdict.longest_overlap()), (1, Duration::from_millis(5)));
}

#[test]
fn an_overlap_seen_twice_is_one() {
    let both = "start 32 a 2 101 12\noverlap 32 a 2 101 12\ntick 37 a 1 100 11\ngone 40 1 0\ngone 41 2 0\n";
    let verdict = on_file(&format!("{TWO}{both}"));
    bad(&[Rule::Outlived, Rule::Presence], &verdict);
    assert_eq!(verdict.overlaps(), 1);
}

#[test]
fn fences_rise() {
    for fence in [99, 100, 0] {
        let verdict = on_file(&format!("{TWO}gone 30 1 0\nstart 32 a 2 {fence} 12\ngone 41 2 0\n"));
        bad(&[Rule::Fence], &verdict);
    }
    // Forgotten by a server whose clock was set; not if its clock was left alone, nor once more in the same life.
    let (clock, flush) = ("fault 21 1 jump clock - -\n", "fault 22 2 flush server - -\n");
    let again = "gone 30 1 0\nstart 4000 a 2 99 12\ngone 4001 2 0\nasked 4002 a 3 1000 - firm\n";
    let forgotten =
        |before: &str, third: u32| on_redis(&format!("{TWO}{before}{again}start 4003 a 3 {third} 13\ngone 4010 3 0\n"));
    let rule = |verdict: &Verdict| verdict.count(Rule::Fence);
    assert_eq!(rule(&forgotten(&format!("{clock}{flush}"), 100)), 0);
    assert_eq!(forgotten(&format!("{clock}{flush}"), 100).excused, 1);
    assert_eq!(rule(&forgotten(&format!("{clock}{flush}"), 99)), 1);
    assert_eq!(rule(&forgotten(flush, 101)), 1);
    assert_eq!(rule(&forgotten(clock, 101)), 1);
    // A tool that has none.
    let none = "asked 0 a 1 1000 - firm\nstart 1 a 1 0 5\ngone 3 1 0\nasked 4 a 2 1000 - firm\nstart 5 a 2 0 6\ngone 7 2 0\n";
    good(check(&Rules::peer(true), &events(none)));
}

#[test]
fn a_run_must_end() {
    bad(&[Rule::Stuck], &on_file(&format!("{TWO}end 30 a 1 100 11\ngone 31 1 0\nstart 32 a 2 101 12\ncalm 40\n")));
    let late = "end 30 a 1 100 11\ngone 31 1 0\nstart 32 a 2 101 12\ncalm 40\ngone 60050 2 0\n";
    bad(&[Rule::Stuck], &on_file(&format!("{TWO}{late}")));
}

#[test]
fn a_lock_that_was_asked_for_is_granted() {
    bad(&[Rule::NeverGranted], &on_file("asked 0 a 1 1000 - firm\ngone 10 1 121\ncalm 20\n"));
    // Who does not wait has no claim to it.
    good(on_file("asked 0 a 1 1000 0 firm\ngone 10 1 75\ncalm 20\n"));
    // When all is well somebody gets it.
    for end in ["gone 90 3 125\n", "start 85 a 3 102 13\ngone 90 3 121\n"] {
        bad(&[Rule::NeverGranted], &on_file(&format!("{TWO}{GOOD_END}asked 80 a 3 1000 - firm\n{end}")));
    }
    let third = "asked 80 a 3 1000 - firm\nstart 85 a 3 102 13\ngone 90 3 0\n";
    good(on_file(&format!("{TWO}{GOOD_END}{third}")));
    // One good turn is enough.
    good(on_file(&format!("{TWO}{GOOD_END}asked 60 a 4 1000 - firm\ngone 70 4 125\n{third}")));
}

#[test]
fn who_waits_for_ever_does_not_give_up() {
    bad(&[Rule::GaveUp], &on_file(&format!("{TWO}end 30 a 1 100 11\ngone 31 1 0\ngone 32 2 75\ncalm 40\n")));
}

#[test]
fn no_fault_excuses_a_panic() {
    for code in [101, -6, 134, 70, 127] {
        let end = format!("end 30 a 1 100 11\ngone 31 1 0\nstart 32 a 2 101 12\ngone 32 2 {code}\ncalm 40\n");
        bad(&[Rule::Exit], &on_file(&format!("{TWO}{end}")));
    }
}

/// `KIND WHOM` at 100 ms, done at 110, to the first job.
fn with_fault(fault: &str, asked: &str, after: &str) -> String {
    let two = TWO.replacen("firm", asked, 1);
    format!("{two}fault 100 1 {fault} a 1 7 8\nstruck 110 1\n{after}{LATE_END}")
}

#[test]
fn nobody_lives_longer_than_a_frozen_or_killed_worker_can_renew() {
    // 110 + 990 + 50
    for whom in ["worker", "both", "all"] {
        let fault = format!("freeze {whom}");
        let in_time = "tick 1149 a 1 100 11\ncure 3000 1\ngone 3001 1 121\n";
        let too_late = "tick 1151 a 1 100 11\ncure 3000 1\ngone 3001 1 121\n";
        good(on_redis(&with_fault(&fault, "firm", in_time)));
        bad(&[Rule::Deadline], &on_redis(&with_fault(&fault, "firm", too_late)));
        bad(&[Rule::Deadline], &on_file(&with_fault(&fault, "firm", too_late)));
        bad(
            &[Rule::Deadline],
            &on_file(&with_fault(&fault.replace("freeze", "kill"), "firm", "tick 1151 a 1 100 11\ngone 1200 1 121\n")),
        );
    }
    // Frozen for less than the ttl it goes on; thawed too late it does not.
    good(on_redis(&with_fault("freeze both", "firm", "cure 1000 1\ntick 1500 a 1 100 11\ngone 3001 1 0\n")));
    bad(&[Rule::Deadline], &on_redis(&with_fault("freeze both", "firm", "cure 1160 1\ntick 1170 a 1 100 11\ngone 3001 1 0\n")));
    // A sentry alone changes nothing.
    good(on_redis(&with_fault("freeze sentry", "firm", "tick 2000 a 1 100 11\ngone 3001 1 0\n")));
}

#[test]
fn daemons_may_outlive_sentry_and_worker_but_not_one_of_them() {
    let late = "tick 1200 a 1 100 11\ngone 3001 1 121\n";
    good(on_file(&with_fault("kill both", "loose", late)));
    bad(&[Rule::Deadline], &on_file(&with_fault("kill both", "firm", late)));
    bad(&[Rule::Deadline], &on_file(&with_fault("kill worker", "loose", late)));
}

#[test]
fn nor_longer_than_no_answer_of_the_store_gets_through() {
    let server = |fault: &str, last: u32| {
        with_fault(fault, "firm", &format!("tick {last} a 1 100 11\ncure 3000 1\ngone 3001 1 121\n"))
            .replace("server a 1 7 8", "server - -")
    };
    for fault in ["freeze server", "restart server", "wipe server", "swallow line", "hold line"] {
        good(on_redis(&server(fault, 1149)));
        bad(&[Rule::Deadline], &on_redis(&server(fault, 1151)));
    }
    // What lets some answers through says nothing; nor does what ends in time, or hits another.
    good(on_redis(&server("delay line", 2000)));
    good(on_redis(&with_fault("hold line", "firm", "cure 1000 1\ntick 2000 a 1 100 11\ngone 3001 1 0\n")));
    good(on_redis(&server("hold line", 2000).replace("hold line a 1 7 8", "hold line - 9")));
}

#[test]
fn one_fault_is_cured_and_another_lasts() {
    let both = |second: &str| {
        let second =
            format!("fault 300 2 {second}\nstruck 310 2\ncure 900 2\ntick 1200 a 1 100 11\ncure 2000 1\ngone 3001 1 121\n");
        on_redis(&with_fault("freeze worker", "firm", &second))
    };
    bad(&[Rule::Deadline], &both("hold line - 1"));
    bad(&[Rule::Deadline], &both("freeze sentry a 1 7"));
    // A process is frozen once: the first to thaw it thaws it.
    good(both("freeze both a 1 7 8"));
}

#[test]
fn a_killed_worker_is_not_thawed() {
    let both = "fault 300 2 kill worker a 1 8\nstruck 310 2\ncure 900 1\ntick 1200 a 1 100 11\ngone 3001 1 121\n";
    bad(&[Rule::Deadline], &on_redis(&with_fault("freeze worker", "firm", both)));
}

#[test]
fn nothing_lives_when_its_run_has_ended_unless_its_sentry_was_killed() {
    let after = "gone 200 1 121\ntick 230 a 1 100 11\n";
    good(on_file(&with_fault("kill sentry", "firm", after)));
    bad(&[Rule::AfterGone], &on_file(&with_fault("kill worker", "firm", after)));
    bad(&[Rule::AfterGone], &on_file(&with_fault("freeze sentry", "firm", after)));
}

/// Everything of the first job is killed when its lock has been quiet for two seconds; the second starts at `start`.
fn recovery(start: u64, between: &str) -> String {
    format!(
        "{TWO}fault 3000 1 kill all a 1 7 8 11\nstruck 3000 1\ngone 3001 1 -9\ncleared 3005 1\n{between}\
         start {start} a 2 101 12\nend {} a 2 101 12\ngone {} 2 0\ncalm 9000\n",
        start + 1,
        start + 2
    )
}

#[test]
fn a_dead_holders_lock_is_granted_in_time() {
    assert_eq!(good(on_file(&recovery(3205, ""))).recoveries, [Duration::from_millis(200)]);
    bad(&[Rule::Recovery], &on_file(&recovery(3206, "")));
    // 1000 * 1.01 + 2000
    assert_eq!(good(on_redis(&recovery(6015, ""))).recoveries, [Duration::from_millis(3010)]);
    bad(&[Rule::Recovery], &on_redis(&recovery(6016, "")));
}

#[test]
fn a_recovery_that_never_comes_is_too_late() {
    let never = format!("{TWO}fault 3000 1 kill all a 1 7 8 11\nstruck 3000 1\ngone 3001 1 -9\ncleared 3005 1\n");
    bad(&[Rule::Stuck, Rule::Recovery], &on_file(&format!("{never}calm 3301\n")));
    // Another fault ends the measurement, but what was too late before it was too late.
    bad(&[Rule::Recovery], &on_file(&recovery(4000, "fault 3206 2 freeze worker a 2 9\nstruck 3207 2\ncure 3210 2\n")));
}

#[test]
fn a_recovery_is_measured_only_where_nothing_else_disturbs_it() {
    let disturbances = ["a 2 9", "- - 9"];
    for whom in disturbances {
        let disturbed = recovery(8000, &format!("fault 3100 2 freeze server {whom}\nstruck 3101 2\ncure 3110 2\n"));
        assert!(good(on_file(&disturbed)).recoveries.is_empty());
        // Before it, and not over.
        let before =
            recovery(8000, "").replacen("fault 3000", &format!("fault 2000 9 hold line {whom}\nstruck 2001 9\nfault 3000"), 1);
        assert!(good(on_file(&before)).recoveries.is_empty());
    }
    let elsewhere = recovery(3105, "fault 3010 2 freeze worker b 9 9\nstruck 3011 2\ncure 3012 2\n");
    assert_eq!(good(on_file(&elsewhere)).recoveries.len(), 1);
    // Who waited ended for another reason.
    let left = recovery(8000, "gone 3100 2 125\nasked 3110 a 3 1000 - firm\n")
        .replace(" a 2 101", " a 3 101")
        .replace("gone 8002 2", "gone 8002 3");
    assert!(good(on_file(&left)).recoveries.is_empty());
    // Nobody waited.
    let alone = recovery(8000, "").replacen("asked 0 a 2 1000 - firm\n", "", 1).replacen(
        "cleared 3005 1",
        "cleared 3005 1\nasked 7990 a 2 1000 - firm",
        1,
    );
    assert!(good(on_file(&alone)).recoveries.is_empty());
}

#[test]
fn what_makes_no_sense_is_no_proof() {
    bad(&[Rule::Malformed], &on_file("start 1 a 1 5 11\n"));
    bad(&[Rule::Malformed], &on_file("gone 1 1 0\n"));
    bad(&[Rule::Malformed], &on_file("asked 0 a 1 1000 0 firm\ntick 1 a 1 5 11\ngone 2 1 0\n"));
    bad(&[Rule::Malformed], &on_file("asked 0 a 1 1000 0 firm\nstart 1 a 1 5 11\nstart 2 a 1 5 11\ngone 2 1 0\n"));
}

#[test]
fn every_event_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let text = format!(
        "{TWO}{GOOD_END}asked 50 lock-12 3 1500 0 loose\noverlap 51 a 2 101 12\nfault 60 1 half-close line a 2\n\
         fault 61 2 kill all lock-12 3 1 22 333 4444 55555 6666666 7777777 8888888\nstruck 62 2\ncleared 63 2\ncure 64 1\n\
         fault 65 3 wipe server - -\ngone 66 3 -9\n"
    );
    let events = events(&text);
    let log = log::Log::open(&path).unwrap();
    events.iter().for_each(|event| log.write_event(event).unwrap());
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(read_all(&written).unwrap(), (events, written.len()));
    assert!(written.split_inclusive('\n').all(|line| line.len() % 64 == 0), "a line that can be torn:\n{written}");
    // The end of a line that is being written is not read yet.
    let cut = &written[..written.len() - 10];
    assert_eq!(read_all(cut).unwrap().1, written.len() - 64);
}

#[test]
fn a_line_that_is_no_event_is_refused() {
    for line in ["", "start 1 a 1 2", "start 1 a 1 2 3 4", "begin 1", "fault 1 1 kill everybody - -", "gone x 1 0", "calm"] {
        assert!(read_all(&format!("{line}\n")).is_err(), "{line:?}");
    }
}
