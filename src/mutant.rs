//! Safety rules that a test build can switch off, one at a time: a proof that the tests would notice. In any other build
//! [`on`] is a constant `false`, and nothing of this is left in the program.

macro_rules! mutants {
    ($($(#[doc = $what:literal])* $name:ident $word:literal,)*) => {
        /// A way to be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $what])* $name,)*
        }

        impl Mutant {
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// What it is called in tables and in the environment of a test build.
            pub fn word(self) -> &'static str {
                match self {
                    $(Mutant::$name => $word,)*
                }
            }

            /// What is wrong with it.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$name => concat!($($what),*),)*
                }
            }
        }
    };
}

mutants! {
    /// the lease is based on when a beat was answered, not on when it was sent
    AckTime "ack_time",
    /// asking again for a ticket that exists counts as a renewal
    RetryRenews "retry_is_renewal",
    /// a beat makes a ticket that is gone anew
    Revive "revive",
    /// a commit is carried out whatever the ledger's version
    BlindCommit "blind_commit",
    /// a claim judged dead is swept without a look whether it has beaten since
    BlindSweep "blind_sweep",
    /// a lock is given back whether or not the store still knows by whom
    BlindRelease "blind_release",
    /// the lock is given back before the job's tree is dead
    ReleaseBeforeDead "release_before_dead",
    /// the ladder leaves no time for the grace
    NoGraceMargin "no_grace_margin",
    /// the ladder leaves no time for clocks that tick apart
    NoDriftMargin "no_drift_margin",
    /// nobody watches the worker
    NoSentry "no_sentry",
    /// no kernel timer ends a frozen worker
    NoKernelTimer "no_kernel_timer",
    /// the job does not die with its worker
    NoParentDeath "no_parent_death",
    /// neither sentry nor worker adopts the job's orphans
    NoSubreaper "no_subreaper",
    /// a store that may have forgotten a holder is believed at once
    NoQuarantine "no_quarantine",
    /// the fence is a counter alone, without clock, memory of the host, or leap
    NoFenceFloor "no_fence_floor",
    /// a ledger without a past is believed to have had none
    BlankIsNew "blank_is_new",
    /// a holding carried over into a new life takes the fence's leap with it
    NoLeapOnAdopt "no_leap_on_adopt",
    /// a claim that was never told of its entry carries it over into a new life
    AdoptUnheard "adopt_unheard",
    /// a holder is judged by its observer's ttl
    MyTtl "my_ttl",
    /// the server's clock is believed about a quiet lease
    ServerClock "server_clock",
    /// a job is started however old the lease is
    NoRecheck "no_recheck",
    /// an entry without an answer is taken for done
    GuessDone "guess_done",
    /// a ticket that is gone is taken for renewed
    GoneRenews "gone_renews",
    /// a ledger that names the holder no more is overlooked
    SweptGoesOn "swept_goes_on",
    /// a waiter whose ticket is gone asks for it again under the same id
    SameId "same_id",
    /// a waiter does not beat
    IdleWaiters "idle_waiters",
    /// a waiter looks only when it is woken
    NoPoll "no_poll",
    /// a head that does not react is waited for
    NoRank "no_rank",
    /// a waiter goes in ahead of those before it
    Barge "barge",
    /// whoever asks for a ticket is let straight in, whatever stands in the way
    StraightBarge "straight_barge",
    /// a reader goes in ahead of a writer that waits
    WriterStarves "writer_starves",
    /// slots kept for the urgent are given to anybody
    KeepIgnored "keep_ignored",
    /// a rate holds nobody up
    NoRate "no_rate",
    /// a lock that rests is taken
    NoRest "no_rest",
    /// who is superseded waits on
    SupersededStays "superseded_stays",
    /// who must queue again for a lock keeps the locks that come after it
    HoldsOn "holds_on",
    /// the lease of several locks is as young as the youngest of them
    YoungestBase "youngest_base",
    /// nobody looks for a cycle of nested runs
    NoSearch "no_search",
    /// a lock's processes do not keep its ticket's descriptor
    NoInheritedTicket "no_inherited_ticket",
}

/// Whether this is the rule that is switched off.
#[cfg(not(feature = "mutants"))]
pub const fn on(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switch::{choose, on};

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::mutant::Mutant;

    /// Names a mutant to a program of a test build.
    const VARIABLE: &str = "VAULTLOCK_MUTANT";

    /// The chosen one's number, from 1; 0 if none is.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);

    /// For this process, in place of what the environment says.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.store(mutant.map_or(0, |mutant| mutant as usize + 1), Ordering::Relaxed);
    }

    /// Whether this is the rule that is switched off.
    ///
    /// # Panics
    /// If the environment names no mutant that there is.
    pub fn on(mutant: Mutant) -> bool {
        static NAMED: OnceLock<Option<Mutant>> = OnceLock::new();
        let find = |word: String| {
            let known = Mutant::ALL.iter().copied().find(|known| known.word() == word);
            known.unwrap_or_else(|| panic!("there is no mutant {word:?}"))
        };
        CHOSEN.load(Ordering::Relaxed) == mutant as usize + 1
            || *NAMED.get_or_init(|| std::env::var(VARIABLE).ok().map(find)) == Some(mutant)
    }
}
