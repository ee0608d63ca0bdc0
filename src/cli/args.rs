//! The words of the command line, typed and not yet understood: nothing here does anything.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::claim::Claim;
use super::complete;

/// Run a job under a named lock. If the lease is lost the job is stopped, and it is dead before anyone else gets the lock.
#[derive(Debug, Parser)]
#[command(name = "vaultlock", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, redis+sentinel://, redis+cluster://,
    /// postgres://, etcd://, etcds:// or zk://, or the name of a store in the config file. Else $VAULTLOCK_STORE, else what the file
    /// $VAULTLOCK_STORE_FILE holds, else what the config file says, else the file store of this user
    #[arg(long, global = true, value_name = "URL", add = ArgValueCandidates::new(complete::stores))]
    pub store: Option<String>,
    /// The config file, in place of $XDG_CONFIG_HOME/vaultlock/config.toml or else /etc/vaultlock/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: who is waited for, when a store does not answer
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Hold the lock while a command runs
    Run(Box<Run>),
    /// Hold the lock across the steps of a script, while a process lives; prints a handle
    Acquire(Box<Acquire>),
    /// Give back what acquire took
    Release(Release),
    /// Say whether the lock is still held: 0, or 121
    Check(Check),
    /// Give a job more time than its --max-run
    Extend(Extend),
    /// Show who holds locks and who waits
    Status(Status),
    /// Take a lock from its holder: its job is stopped
    Break(Break),
    /// Run a command unless a fencing number is below a resource's high-water mark
    Fence(Fence),
    /// Tell what the store can promise
    Doctor(Doctor),
    /// Print a completion script
    Completions {
        /// For this shell
        shell: Shell,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// `vaultlock run`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "vaultlock run [OPTIONS] NAME [--] COMMAND [ARG]...\n       vaultlock run [OPTIONS] NAME... -- COMMAND [ARG]...\n       vaultlock run [OPTIONS] NAME -c STRING"
)]
#[command(after_long_help = EXIT_CODES, args_override_self = true)]
pub struct Run {
    /// The lock, or with `--` before COMMAND several, all held or none: each 1 to 200 bytes of UTF-8 without control characters
    #[arg(add = ArgValueCandidates::new(complete::locks))]
    pub name: String,
    /// The other locks, where there are several (names.rs).
    #[arg(skip)]
    pub more: Vec<String>,
    /// The command and its arguments. Options of vaultlock stand before it, never after
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub words: Vec<OsString>,

    #[command(flatten)]
    pub claim: Claim,
    /// What becomes of processes the job leaves behind when it ends by itself
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Stragglers::Leave)]
    pub stragglers: Stragglers,
    /// What to do if the store can't be reached before the start
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = IfUnavailable::Fail)]
    pub if_unavailable: IfUnavailable,
    /// Raise FILE's high-water mark (see vaultlock fence) to the run's fence before the job starts
    #[arg(long, value_name = "FILE")]
    pub guard: Option<PathBuf>,
    /// Run the job in a PID namespace of its own: nothing it starts can outlive it
    #[arg(long)]
    pub isolate: bool,
    /// Run STRING through the shell ($SHELL, else /bin/sh) in place of COMMAND
    #[arg(short, long, value_name = "STRING", allow_hyphen_values = true, conflicts_with = "words")]
    pub command: Option<OsString>,
}

impl Run {
    /// What `run NAME -- WORDS` means.
    pub fn plain(name: String, words: Vec<OsString>) -> Run {
        Run {
            name,
            more: Vec::new(),
            words,
            claim: Claim::plain(),
            stragglers: Stragglers::Leave,
            if_unavailable: IfUnavailable::Fail,
            guard: None,
            isolate: false,
            command: None,
        }
    }
}

/// `vaultlock acquire`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "vaultlock acquire [OPTIONS] NAME...", args_override_self = true)]
pub struct Acquire {
    /// The locks, all held or none: each 1 to 200 bytes of UTF-8 without control characters
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(complete::locks))]
    pub names: Vec<String>,
    #[command(flatten)]
    pub claim: Claim,
    /// Keep the lock while this process lives, such as the shell of the script: $$ [default: the parent, on a terminal]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub while_pid: Option<i32>,
    /// What to do to that process if the lease is lost
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnLoss::Stop)]
    pub on_loss: OnLoss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLoss {
    /// It gets the stop signal, then SIGKILL, and is dead before anyone else gets the lock
    Stop,
    /// It runs on; vaultlock check tells
    Tell,
}

/// `vaultlock release`.
#[derive(Debug, clap::Args)]
pub struct Release {
    /// What vaultlock acquire printed
    pub handle: String,
}

/// `vaultlock check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// What vaultlock acquire printed; in the job of a run none is needed
    pub handle: Option<String>,
}

/// `vaultlock extend`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "vaultlock extend [OPTIONS] NAME --by DUR")]
pub struct Extend {
    /// The lock
    #[arg(add = ArgValueCandidates::new(complete::locks))]
    pub name: String,
    /// So much longer than it may run now
    #[arg(long, value_name = "DUR", value_parser = crate::duration::parse)]
    pub by: Duration,
    /// Whose job: the session that status shows [default: the run around this process, else the only holder]
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
}

/// `vaultlock status`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "vaultlock status [OPTIONS] [NAME]...")]
pub struct Status {
    /// These locks; all that the store knows where none is named
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::locks))]
    pub names: Vec<String>,
    /// Print JSON: one object a lock, in a list unless one NAME was given
    #[arg(long)]
    pub json: bool,
    /// Show them anew each second until interrupted; with --json a line for each lock that has changed
    #[arg(long)]
    pub watch: bool,
}

/// `vaultlock doctor`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "vaultlock doctor [OPTIONS]")]
pub struct Doctor {
    /// Print JSON: one object
    #[arg(long)]
    pub json: bool,
    /// Say also which store fits what
    #[arg(long, conflicts_with = "json")]
    pub explain: bool,
}

/// `vaultlock break`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "vaultlock break [OPTIONS] --session ID --reason TEXT NAME")]
pub struct Break {
    /// The lock
    #[arg(add = ArgValueCandidates::new(complete::locks))]
    pub name: String,
    /// Whom to take it from, or who is to wait for it no longer: the session that status shows
    #[arg(long, value_name = "ID")]
    pub session: String,
    /// Told to whoever loses the lock, together with your name
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Only if the lock still has this version (status --json shows it); else end with 75
    #[arg(long, value_name = "N")]
    pub if_version: Option<u64>,
    /// Give the lock away at once, without waiting for the job to end: two jobs may run beside each other
    #[arg(long)]
    pub force: bool,
}

/// `vaultlock fence`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "vaultlock fence FILE FENCE -- COMMAND [ARG]...")]
pub struct Fence {
    /// Holds the high-water mark: on the same file system as what COMMAND writes, or wherever all its writers are
    pub file: PathBuf,
    /// The fencing number of the run that COMMAND belongs to: $VAULTLOCK_FENCE
    pub fence: u64,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub words: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stragglers {
    /// They run on without the lock, which is said once
    Leave,
    /// The lock is kept until the last of them has ended
    Wait,
    /// They are killed
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IfUnavailable {
    /// End with 125
    Fail,
    /// End with 0, the job was not run
    Skip,
    /// Run the job without the lock, and say so
    Run,
}

const EXIT_CODES: &str = "\
Exit codes:
  the job's own   it ended by itself
  128+n           it was ended by signal n
  64              wrong words, or the lock is already held by an enclosing run
  75              busy (-E changes it)
  76              superseded by a newer run of its group
  77              the fencing number is below the high-water mark of FILE (fence, --guard)
  121             the lease was lost and the job was stopped; check, release: not held any more
  124             the job ran for longer than --max-run
  125             vaultlock itself failed: the store is unreachable, refuses or is damaged
  126, 127        COMMAND can't be executed / was not found";
