//! The codec under arbitrary documents: what was written is read back, and nothing else is read at all.

use proptest::prelude::*;
use vaultlock::ledger::codec::{self, FMT};
use vaultlock::ledger::policy::{FURTHEST_LEAD, Keep, LONGEST_RATE, MOST_GRANTS, Policy, Rate, Rated, Supersede};
use vaultlock::ledger::rest::Rest;
use vaultlock::ledger::{Breaker, Holder, Id, Ledger, Level, Mode, Stop, StopReason, Ticket, Who};
use vaultlock::time::Wall;

const NOW: Wall = Wall(1_795_000_000_000);

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 16]>().prop_map(Id::from_random)
}

fn who() -> impl Strategy<Value = Who> {
    ("\\PC{0,40}", "[ -~]{0,40}", any::<u32>()).prop_map(|(label, host, pid)| Who { label, host, pid })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Exclusive), Just(Mode::Shared)]
}

fn rate() -> impl Strategy<Value = Rate> {
    (1..=MOST_GRANTS, 1..=LONGEST_RATE.as_millis() as u64).prop_map(|(grants, per_ms)| Rate { grants, per_ms })
}

fn policy() -> impl Strategy<Value = Policy> {
    use proptest::option::of;
    let keep = (1u32.., any::<i32>()).prop_map(|(slots, priority)| Keep { slots, priority });
    let supersede = prop_oneof![Just(Supersede::Waiting), Just(Supersede::Running)];
    let group = of(("\\PC{1,40}", of(supersede)));
    (any::<bool>(), of(any::<u32>()), group, of(keep), of(rate()), of(1..=LONGEST_RATE.as_millis() as u64)).prop_map(
        |(preempt, max_waiters, group, keep, rate, min_hold_ms)| {
            let (group, supersede) = group.map_or((None, None), |(group, supersede)| (Some(group), supersede));
            Policy { preempt, max_waiters, supersede, group, keep, rate, min_hold_ms }
        },
    )
}

fn chain() -> impl Strategy<Value = Vec<Level>> {
    let level = ("\\PC{1,40}", "[0-9a-f]{12}").prop_map(|(lock, session)| Level { lock, session });
    proptest::collection::vec(level, 0..4)
}

fn ticket() -> impl Strategy<Value = Ticket> {
    let lead = -FURTHEST_LEAD..=FURTHEST_LEAD;
    (id(), mode(), 1u32.., any::<i32>(), lead, 1u64..=86_400_000, who(), any::<Option<u64>>(), policy(), chain()).prop_map(
        |(id, mode, slots, priority, lead_ms, ttl_ms, who, limit_ms, policy, chain)| Ticket {
            fmt: FMT,
            id,
            mode,
            slots,
            priority,
            lead_ms,
            ttl_ms,
            who,
            limit_ms,
            policy,
            chain,
        },
    )
}

fn ledger() -> impl Strategy<Value = Ledger> {
    let holders = proptest::collection::vec((ticket(), 0..=NOW.0, any::<u64>()), 0..5);
    let rated = proptest::option::of((rate(), proptest::collection::vec((0..=NOW.0).prop_map(Wall), 0..9)));
    ("\\PC{1,30}", 1u64.., "\\PC{0,40}", holders, any::<bool>(), rated, any::<bool>()).prop_map(
        |(name, version, epoch, holders, stopped, rated, rests)| {
            let holders: Vec<Holder> = holders
                .into_iter()
                .map(|(ticket, fence, since)| Holder {
                    id: ticket.id,
                    mode: ticket.mode,
                    slots: ticket.slots,
                    priority: ticket.priority,
                    fence,
                    ttl_ms: ticket.ttl_ms,
                    since: Wall(since),
                    who: ticket.who,
                    limit_ms: ticket.limit_ms,
                    group: ticket.policy.group,
                    keep: ticket.policy.keep,
                })
                .collect();
            let breaker = |h: &Holder| Breaker { by: codec::cut_label(&h.who.label), reason: codec::cut_label(&h.who.host) };
            let stop = |h: &Holder| Stop { id: h.id.clone(), why: StopReason::Broken(breaker(h)) };
            let stops = holders.iter().filter(|_| stopped).map(stop).collect();
            let rated = rated.map(|(rate, granted)| Rated { rate, granted });
            let rests = holders
                .iter()
                .filter(|_| rests)
                .map(|holder| Rest { holder: holder.clone(), for_ms: 1 + holder.fence % 1000 })
                .collect();
            Ledger { fmt: FMT, name, version, epoch, fence: NOW.0, holders, stops, rated, rests }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_written_is_read_back(ledger in ledger(), ticket in ticket()) {
        let text = codec::write_ledger(&ledger);
        prop_assert_eq!(codec::read_ledger(text.as_bytes(), &ledger.name, ledger.version, NOW).ok(), Some(ledger));
        prop_assert_eq!(codec::read_ticket(codec::write_ticket(&ticket).as_bytes()).ok(), Some(ticket));
    }

    #[test]
    fn a_document_cut_short_is_refused_at_every_byte(ledger in ledger(), ticket in ticket()) {
        let text = codec::write_ledger(&ledger);
        for end in 0..text.len() {
            prop_assert!(codec::read_ledger(&text.as_bytes()[..end], &ledger.name, ledger.version, NOW).is_err());
        }
        let text = codec::write_ticket(&ticket);
        for end in 0..text.len() {
            prop_assert!(codec::read_ticket(&text.as_bytes()[..end]).is_err());
        }
    }

    #[test]
    fn a_ledger_is_read_only_under_its_own_name_and_version(ledger in ledger(), other in "\\PC{1,30}") {
        let text = codec::write_ledger(&ledger);
        prop_assert_eq!(codec::read_ledger(text.as_bytes(), &other, ledger.version, NOW).is_ok(), other == ledger.name);
        prop_assert!(codec::read_ledger(text.as_bytes(), &ledger.name, ledger.version.wrapping_add(1), NOW).is_err());
    }
}

proptest! {
    // tests/prove promises damages 200,000 more, on real engines.
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = codec::read_ledger(&bytes, "x", 1, NOW);
        let _ = codec::read_ticket(&bytes);
    }

    #[test]
    fn a_document_with_bytes_changed_is_refused_or_still_honest(ledger in ledger(), changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut text = codec::write_ledger(&ledger).into_bytes();
        for (at, byte) in changes {
            let at = at % text.len();
            text[at] = byte;
        }
        if let Ok(read) = codec::read_ledger(&text, &ledger.name, ledger.version, NOW) {
            prop_assert!(read.name == ledger.name && read.version == ledger.version && read.fmt == FMT);
            prop_assert!(read.holders.iter().all(|holder| holder.fence <= read.fence));
            prop_assert!(read.holders.iter().all(|holder| (1..=86_400_000).contains(&holder.ttl_ms)));
        }
    }
}

#[test]
fn documents_of_a_later_format_say_so() {
    let later = br#"{"fmt":2,"name":"x","version":1,"epoch":"e","fence":0,"holders":[],"stops":[],"reservations":[]}"#;
    assert!(codec::read_ledger(later, "x", 1, NOW).unwrap_err().to_string().contains("upgrade vaultlock"));
    let unknown = br#"{"fmt":1,"name":"x","version":1,"epoch":"e","fence":0,"holders":[],"stops":[],"rule":1}"#;
    assert!(codec::read_ledger(unknown, "x", 1, NOW).is_err(), "an unknown rule is not ignored");
}

#[test]
fn absurd_values_are_refused() {
    let ledger = |fence: u64, ttl: u64, holders: usize| {
        let holder = |n: usize| {
            format!(
                r#"{{"id":"{n:032x}","mode":"exclusive","slots":1,"priority":0,"fence":1,"ttl_ms":{ttl},"since":1,"who":{{"label":"","host":"","pid":1}}}}"#
            )
        };
        let holders: Vec<String> = (0..holders).map(holder).collect();
        format!(r#"{{"fmt":1,"name":"x","version":1,"epoch":"e","fence":{fence},"holders":[{}],"stops":[]}}"#, holders.join(","))
    };
    let read = |text: String| codec::read_ledger(text.as_bytes(), "x", 1, NOW);
    assert!(read(ledger(1, 1000, 1)).is_ok());
    for absurd in [
        ledger(u64::MAX, 1000, 1),
        ledger(1 << 53, 1000, 1),
        ledger(NOW.0 * 2, 1000, 1),
        ledger(1, 0, 1),
        ledger(1, 86_400_001, 1),
        ledger(1, 1000, 201),
        ledger(0, 1000, 1),
    ] {
        assert!(read(absurd.clone()).is_err(), "{absurd:.120}");
    }
    let ruled = |stops: usize, rated: &str| {
        let stop = |n: usize| format!(r#"{{"id":"{n:032x}","why":"preempted"}}"#);
        let stops = (0..stops).map(stop).collect::<Vec<_>>().join(",");
        read(format!(
            r#"{{"fmt":1,"name":"x","version":1,"epoch":"e","fence":1,"holders":[],"stops":[{stops}],"rated":{{{rated}}}}}"#
        ))
    };
    let rated = |grants: u32, per: u64, granted: usize| {
        let granted = vec!["5"; granted].join(",");
        format!(r#""rate":{{"grants":{grants},"per_ms":{per}}},"granted":[{granted}]"#)
    };
    assert!(ruled(256, &rated(1, 1, 1000)).is_ok());
    for (stops, rated) in [
        (257, rated(1, 1, 1)),
        (0, rated(0, 1, 1)),
        (0, rated(1001, 1, 1)),
        (0, rated(1, 0, 1)),
        (0, rated(1, u64::MAX, 1)),
        (0, rated(1, 1, 1001)),
    ] {
        assert!(ruled(stops, &rated).is_err(), "{stops} {rated:.60}");
    }
    let ticket = |more: &str| {
        codec::read_ticket(
            format!(
                r#"{{"fmt":1,"id":"{:032x}","mode":"exclusive","priority":0,"ttl_ms":1000,"who":{{"label":"","host":"","pid":1}},{more}}}"#,
                1
            )
            .as_bytes(),
        )
    };
    assert!(ticket(r#""slots":1,"lead_ms":5,"policy":{"group":"g","supersede":"running"}"#).is_ok());
    for absurd in [
        r#""slots":0,"lead_ms":5"#,
        r#""slots":1,"lead_ms":9223372036854775807"#,
        r#""slots":1,"lead_ms":5,"policy":{"supersede":"running"}"#,
        r#""slots":1,"lead_ms":5,"policy":{"keep":{"slots":0,"priority":1}}"#,
        r#""slots":1,"lead_ms":5,"policy":{"rate":{"grants":0,"per_ms":1}}"#,
        r#""slots":1,"lead_ms":5,"policy":{"min_hold_ms":0}"#,
        r#""slots":1,"lead_ms":5,"policy":{"min_hold_ms":31622400001}"#,
        r#""slots":1,"lead_ms":5,"policy":{"group":""}"#,
        r#""slots":1,"lead_ms":5,"policy":{"later":1}"#,
    ] {
        assert!(ticket(absurd).is_err(), "{absurd}");
    }
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(codec::read_ledger(nested.as_bytes(), "x", 1, NOW).is_err());
    assert!(codec::read_ticket(&vec![b' '; codec::LONGEST + 1]).unwrap_err().to_string().contains("bytes are more"));
}
