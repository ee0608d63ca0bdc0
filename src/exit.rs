//! The exit codes: one page, a sentence each.

/// What vaultlock ends with where the job's own code does not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Success,
    /// The code that was asked for: the job's own, or that of `-E`.
    Given(u8),
    /// The words on the command line were wrong, or the lock is already held by an enclosing run.
    Usage,
    /// Somebody else has the lock (`-E` changes this code).
    Busy,
    /// A newer run of its group took its place.
    Superseded,
    /// The fencing number is below the resource's high-water mark.
    Late,
    /// The lease was lost and the job was stopped; never 0, whatever the job made of the signal.
    Lost,
    /// The job ran for longer than it may.
    Overtime,
    /// vaultlock itself failed: the store is unreachable, refuses or is damaged.
    Failed,
    /// The command was found but could not be executed.
    NotExecutable,
    /// The command was not found.
    NotFound,
    /// Ended by this signal: 128 + n.
    Signal(i32),
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Given(code) => code,
            Exit::Usage => 64,
            Exit::Busy => 75,
            Exit::Superseded => 76,
            Exit::Late => 77,
            Exit::Lost => 121,
            Exit::Overtime => 124,
            Exit::Failed => 125,
            Exit::NotExecutable => 126,
            Exit::NotFound => 127,
            Exit::Signal(number) => 128u8.saturating_add(u8::try_from(number).unwrap_or(127)),
        }
    }
}
