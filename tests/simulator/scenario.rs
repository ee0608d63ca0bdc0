//! What a seed chooses: the engine, the hosts, the callers, and how much goes wrong.

use std::time::Duration;

use fastrand::Rng;
use vaultlock::store::Liveness;

use crate::mix::Mix;

/// One simulated world before it begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub liveness: Liveness,
    /// Each caller chooses one.
    pub ttls: Vec<Duration>,
    pub max_ttl: Duration,
    pub hosts: usize,
    pub callers: usize,
    pub locks: usize,
    /// Of a thousand: jobs that ask for another lock inside.
    pub nested: u32,
    /// How many may hold a lock together.
    pub slots: u32,
    /// New callers come and things go wrong until then; what is left must come to an end.
    pub span: Duration,
    pub longest_job: Duration,
    /// The mean time between two faults; none without.
    pub fault_every: Option<Duration>,
    /// Of a thousand: messages lost, messages late by seconds, wakes lost, and
    pub lost: u32,
    pub late: u32,
    pub wakes_lost: u32,
    /// Answers to tickets and commits lost: what was done, and its author never heard of.
    pub unheard: u32,
    /// Whether half of all faults hit whose job has just started.
    pub aimed: bool,
    /// Trees that take nearly all the time to die that the ladder leaves them.
    pub slow_kills: u32,
    /// Whether the server mostly fails over, to a replica that lags behind.
    pub fails_over: bool,
    /// Whether clocks may be wrong by minutes.
    pub wild_clocks: bool,
    /// Whether an operator breaks locks.
    pub broken: bool,
    /// What rules callers bring along.
    pub mix: Option<Mix>,
}

impl Scenario {
    /// Whether several may hold a lock together.
    pub fn several(&self) -> bool {
        self.slots > 1 || self.mix.is_some()
    }

    pub fn draw(seed: u64, rng: &mut Rng) -> Scenario {
        let mix = Mix::draw(seed);
        let seconds = |list: &[u64]| list.iter().map(|s| Duration::from_secs(*s)).collect::<Vec<_>>();
        let ttls = match rng.u32(0..10) {
            0..4 => seconds(&[10]),
            4..7 => seconds(&[3, 10, 30]),
            7..9 => seconds(&[1, 2, 5]),
            _ => seconds(&[600]),
        };
        let longest = *ttls.iter().max().expect("there are some");
        let calm = rng.u32(0..10) == 0;
        let rough = rng.bool() && !calm;
        let storm = rough && rng.u32(0..4) == 0;
        let aimed = !calm && rng.u32(0..6) == 0;
        let mut scenario = Scenario {
            liveness: if rng.bool() { Liveness::Beats } else { Liveness::Leases },
            max_ttl: longest,
            hosts: rng.usize(2..5),
            callers: rng.usize(2..7) + 2 * usize::from(mix.is_some()),
            slots: if rng.u32(0..4) == 0 { 2 } else { 1 },
            locks: if rng.u32(0..4) == 0 { 2 } else { 1 },
            nested: 0,
            span: longest * 15,
            longest_job: longest * rng.u32(1..3),
            fault_every: (!calm).then(|| longest / rng.u32(2..8)),
            lost: [10, 150][usize::from(storm)] * u32::from(rough),
            late: [20, 80][usize::from(storm)] * u32::from(rough),
            unheard: if aimed { 350 } else { 0 },
            aimed,
            slow_kills: if storm { 600 } else { 150 },
            wakes_lost: if rough { 100 } else { 0 },
            fails_over: rng.u32(0..6) == 0,
            wild_clocks: rng.u32(0..3) == 0,
            ttls,
            broken: seed % 5 == 3,
            mix,
        };
        // Not from the same dice: the other worlds stay as they were.
        if scenario.locks > 1 && !scenario.several() && seed.is_multiple_of(3) {
            (scenario.locks, scenario.nested) = (3, 600);
        }
        scenario
    }
}
