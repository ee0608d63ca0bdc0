//! Straight in: who asks for a ticket where nothing at all stands in the way becomes the holder with that same step.
//!
//! Plain is a lock that somebody used and gave back in this very life of a store that forgot nothing, with nobody in its
//! queue; or one that nobody ever used. Whatever else there is (a holder, a waiter, a stop, a rule, another life) is for
//! [`super::decide`], which would let the ticket into a plain lock with the same ledger.

use super::codec::write_ledger;
use super::enter::enter;
use super::{Commit, Ledger, Life, Listed, Me, Memory, Ticket, View, fence};
use crate::mutant::{self, Mutant};
use crate::time::Wall;

/// What an engine needs of a claim to let it straight in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Straight {
    /// The highest fence the claim's host remembers for the lock; 0 if none.
    pub remembered: u64,
    /// The host's wall clock.
    pub wall: Wall,
}

impl Straight {
    /// The commit that lets `ticket` in, if the view shows a plain lock with this ticket alone in its queue.
    pub fn commit(&self, view: &View, ticket: &Ticket) -> Option<Commit> {
        let at_rest = at_rest(&view.ledger.name, view.ledger.version, &view.epoch, view.ledger.fence);
        // A rule that the ticket alone brings along is for `decide` too.
        let plain = view.memory == Memory::Intact && view.ledger == at_rest && view.waiting == 1 && ticket.policy.is_none();
        let mine = view.living(&ticket.id).filter(|_| plain || mutant::on(Mutant::StraightBarge))?;
        let me = Me { ticket: ticket.clone(), remembered: self.remembered, wall: self.wall, joining: true };
        Some(enter(view, &me, mine, &[], &[], view.now))
    }
}

/// The ledger of a lock that nobody holds and nothing is said about.
fn at_rest(name: &str, version: u64, epoch: &str, fence: u64) -> Ledger {
    Ledger { version, fence, ..Ledger::blank(name, epoch) }
}

/// For an engine that can't run [`Straight::commit`] where its data is: what the ledger's text must be, and what it is to
/// become, each with a control character, which no JSON holds, where a number belongs that only the engine knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub at_rest: String,
    pub entered: String,
    /// Added to the floor under the fence where there is no ledger yet, in milliseconds.
    pub leap_ms: u64,
    /// The floor is the store's clock, unless it is further behind the claim's than this, in milliseconds.
    pub far_behind_ms: u64,
    /// A fence above this is damage.
    pub most: u64,
}

impl Form {
    pub const VERSION: char = '\u{1}';
    pub const EPOCH: char = '\u{2}';
    pub const FENCE: char = '\u{3}';
    pub const NOW: char = '\u{4}';

    /// The form for a ticket; `None` if its own words could be taken for a blank to fill in.
    pub fn of(name: &str, ticket: &Ticket, wall: Wall) -> Option<Form> {
        if mutant::on(Mutant::NoFenceFloor) {
            return None;
        }
        let ledger = at_rest(name, VERSION - 1, EPOCH, FENCE - 1);
        let listed = Listed { ticket: ticket.clone(), order: 0, seq: 0, at: NOW, life: Life::Alive };
        let view = View {
            tickets: vec![listed],
            waiting: 1,
            ahead: 0,
            epoch: EPOCH.to_owned(),
            memory: Memory::Intact,
            max_ttl: ticket.ttl(),
            now: NOW,
            ledger,
        };
        let entered = Straight { remembered: 0, wall: NOW }.commit(&view, ticket)?.ledger?;
        Some(Form {
            at_rest: blanked(&write_ledger(&at_rest(name, VERSION, EPOCH, FENCE)), [1, 1, 1, 0])?,
            entered: blanked(&write_ledger(&entered), [1, 1, 2, 1])?,
            leap_ms: fence::leap(!mutant::on(Mutant::BlankIsNew)),
            far_behind_ms: fence::FAR_BEHIND.as_millis() as u64,
            most: fence::most(wall),
        })
    }
}

// Stand-ins that no honest ledger has: found in its text they are the blanks.
const VERSION: u64 = 9_007_199_254_740_901;
const FENCE: u64 = 9_007_199_254_740_907;
const NOW: Wall = Wall(9_007_199_254_740_903);
const EPOCH: &str = "9007199254740909";

/// The text with blanks for the stand-ins; `None` unless each is there so many times.
fn blanked(text: &str, times: [usize; 4]) -> Option<String> {
    let mut blanked = text.to_owned();
    let stand_ins = [
        (VERSION.to_string(), Form::VERSION),
        (EPOCH.to_owned(), Form::EPOCH),
        (FENCE.to_string(), Form::FENCE),
        (NOW.0.to_string(), Form::NOW),
    ];
    for ((stand_in, blank), times) in stand_ins.into_iter().zip(times) {
        if blanked.matches(&stand_in).count() != times {
            return None;
        }
        blanked = blanked.replace(&stand_in, &blank.to_string());
    }
    Some(blanked)
}
