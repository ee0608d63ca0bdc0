//! What is asked of a lock, by `run` and `acquire` alike.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::policy::Policy;
use crate::duration;

/// Options of a claim.
#[derive(Clone, Debug, clap::Args)]
pub struct Claim {
    /// Do not wait: end with 75 at once if the lock is busy; the same as -w 0
    #[arg(short, long, visible_alias = "nb", overrides_with = "wait")]
    pub nonblock: bool,
    /// Wait at most this long, then end with 75
    #[arg(short, long, visible_alias = "timeout", value_name = "DUR", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    /// Hold the lock together with others that share it; a waiting writer holds back later readers
    #[arg(short, long, overrides_with = "exclusive")]
    pub shared: bool,
    /// Hold the lock alone (the default)
    #[arg(short = 'x', long, overrides_with = "shared")]
    pub exclusive: bool,
    #[command(flatten)]
    pub policy: Policy,
    /// The exit code for a lock that is busy
    #[arg(short = 'E', long, value_name = "N", default_value_t = 75)]
    pub conflict_exit_code: u8,
    /// How long the lease outlives its last renewal [default: 30s, or the store's max_ttl]
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub ttl: Option<Duration>,
    /// From the stop signal to SIGKILL, when the lease is lost [default: 5s, at most a quarter of the ttl]
    #[arg(short, long, value_name = "DUR", value_parser = duration::parse)]
    pub kill_after: Option<Duration>,
    /// The stop signal, by name or number
    #[arg(long, value_name = "SIG", default_value = "TERM", value_parser = signal)]
    pub signal: Signal,
    /// Stop the job after this long, and end with 124; 0 for no limit
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub max_run: Option<Duration>,
    /// Shown to whoever waits, such as a CI job's URL [default: user@host and the command's name]
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

impl Claim {
    /// Where nothing was said.
    pub fn plain() -> Claim {
        Claim {
            nonblock: false,
            wait: None,
            shared: false,
            exclusive: false,
            policy: Policy::plain(),
            conflict_exit_code: 75,
            ttl: None,
            kill_after: None,
            signal: Signal::SIGTERM,
            max_run: None,
            label: None,
        }
    }

    /// How long to wait for the lock; `None` for ever.
    pub fn patience(&self) -> Option<Duration> {
        if self.nonblock { Some(Duration::ZERO) } else { self.wait }
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_uppercase();
    let named = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) => format!("SIG{named}").parse().ok(),
    };
    match found {
        Some(Signal::SIGSTOP | Signal::SIGCONT | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU | Signal::SIGCHLD) => {
            Err(format!("SIG{named} does not ask a job to end: use TERM, INT, HUP or KILL"))
        }
        Some(signal) => Ok(signal),
        None => Err(format!("there is no signal {text:?}: use a name such as TERM, INT or HUP, or a number")),
    }
}
