//! From what was typed to what will be done: after this nobody looks at strings.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use nix::unistd::{gethostname, getuid};

use super::args::{self, Global};
use crate::exit::Exit;
use crate::ledger::{Id, Mode, Ticket, Who, codec};
use crate::name::Name;
use crate::run::Plan;
use crate::run::console::{Console, Verbosity};
use crate::run::orders::{IfUnavailable, Stragglers};
use crate::session::Notes;
use crate::store::{Store, locate::Location};
use crate::timing::{DEFAULT_TTL, Timing};

/// The chain of enclosing runs, one `store:lock:session` a level, innermost last.
const HELD: &str = "VAULTLOCK_HELD";
const STORE: &str = "VAULTLOCK_STORE";
/// Set beside a store URL whose user and password were taken out; holds that very URL.
const WITHHELD: &str = "VAULTLOCK_STORE_WITHHELD";

type Refusal = (Exit, anyhow::Error);

/// A plan and all it needs.
pub struct Resolved {
    pub plan: Plan,
    pub store: Box<dyn Store>,
    pub notes: Notes,
    pub console: Console,
}

/// Understands `run`.
///
/// # Errors
/// The code to end with, and why.
pub fn resolve(typed: args::Run, global: &Global, words: &[OsString]) -> Result<Resolved, Refusal> {
    let lock = Name::new(&typed.name).map_err(usage)?;
    let (program, args) = command(&typed, words).map_err(|error| (Exit::Usage, error))?;
    let location = locate(global)?;
    let ttl = typed.ttl.unwrap_or(DEFAULT_TTL.min(location.max_ttl()));
    let timing = Timing::new(ttl, typed.kill_after, location.max_ttl()).map_err(usage)?;
    let id = Id::from_random(random().map_err(|error| (Exit::Failed, error))?);
    let fingerprint = location.fingerprint();
    let chain = enclosing(&lock, &fingerprint)?;
    let wait = if typed.nonblock { Some(Duration::ZERO) } else { typed.wait };
    let waits = wait != Some(Duration::ZERO);
    let ticket = Ticket {
        fmt: codec::FMT,
        mode: if typed.shared { Mode::Shared } else { Mode::Exclusive },
        slots: typed.policy.slots,
        priority: typed.policy.priority,
        lead_ms: typed.policy.lead_ms(),
        policy: typed.policy.resolve(waits).map_err(|error| (Exit::Usage, error))?,
        ttl_ms: ttl.as_millis() as u64,
        who: who(typed.label.as_deref(), &program),
        id,
    };
    let notes_dir = location.notes_dir().unwrap_or_default();
    Ok(Resolved {
        store: location.open(timing.request),
        notes: Notes::new(notes_dir, &lock),
        console: Console::new(verbosity(global), &lock, location.display(), location.first_use()),
        plan: Plan {
            env: environment(&lock, &location),
            held: held(&lock, &fingerprint, &chain),
            lock,
            ticket,
            timing,
            wait,
            conflict: typed.conflict_exit_code,
            stop_signal: typed.signal,
            stragglers: match typed.stragglers {
                args::Stragglers::Leave => Stragglers::Leave,
                args::Stragglers::Wait => Stragglers::Wait,
                args::Stragglers::Kill => Stragglers::Kill,
            },
            if_unavailable: match typed.if_unavailable {
                args::IfUnavailable::Fail => IfUnavailable::Fail,
                args::IfUnavailable::Skip => IfUnavailable::Skip,
                args::IfUnavailable::Run => IfUnavailable::Run,
            },
            program,
            args,
            isolate: typed.isolate,
        },
    })
}

/// The store that was named, by word, by environment, or by default.
///
/// # Errors
/// A URL that can't be read, or one whose password an enclosing run kept to itself.
pub fn locate(global: &Global) -> Result<Location, Refusal> {
    if let Some(text) = &global.store {
        let location = Location::parse(text).map_err(usage)?;
        if location.password_in_url() && verbosity(global) > Verbosity::Quiet {
            eprintln!(
                "vaultlock: the password in --store can be read by everyone on this host (ps): put the URL into $VAULTLOCK_STORE"
            );
        }
        return Ok(location);
    }
    let Some(text) = env::var_os(STORE).filter(|text| !text.is_empty()) else {
        return Location::default_store().map_err(|error| (Exit::Failed, error.into()));
    };
    let withheld = env::var_os(WITHHELD).as_deref() == Some(text.as_os_str());
    let text = text.into_string().map_err(|_| (Exit::Usage, anyhow!("${STORE} is not UTF-8: percent-encode it")))?;
    let location = Location::parse(&text).map_err(usage).map_err(|(exit, error)| (exit, error.context(format!("${STORE}"))))?;
    if withheld && !location.has_secret() {
        let error = anyhow!(
            "the enclosing run keeps its store's user and password from the job: give this run a store of its own, with --store \
             or ${STORE}"
        );
        return Err((Exit::Failed, error));
    }
    Ok(location)
}

pub fn verbosity(global: &Global) -> Verbosity {
    match (global.quiet, global.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, _) => Verbosity::Verbose,
    }
}

/// What to run: the words after NAME, or a string for the shell.
fn command(typed: &args::Run, words: &[OsString]) -> anyhow::Result<(OsString, Vec<OsString>)> {
    if let Some(string) = &typed.command {
        let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
        return Ok((shell, vec!["-c".into(), string.clone()]));
    }
    let Some((program, args)) = typed.words.split_first() else {
        bail!("there is no command to run: vaultlock run NAME -- COMMAND");
    };
    // `run a b -- cmd` could mean two locks, or the command b with an argument --.
    let before = words.len() - typed.words.len();
    let explicit = before > 0 && words[before - 1] == "--";
    if !explicit && args.iter().any(|arg| arg == "--") {
        bail!(
            "taking several locks is not in this version of vaultlock yet; if {program:?} is the command, put -- before it: \
             vaultlock run {:?} -- {} ...",
            typed.name,
            program.display()
        );
    }
    if program.is_empty() {
        bail!("the command's name is empty: vaultlock run NAME -- COMMAND");
    }
    Ok((program.clone(), args.to_vec()))
}

/// The chain of enclosing runs; refuses to take a lock inside its own holder, which would wait for itself for ever.
fn enclosing(lock: &Name, fingerprint: &str) -> Result<String, Refusal> {
    let chain = env::var(HELD).unwrap_or_default();
    let level = format!("{fingerprint}:{}:", lock.spelled());
    if let Some(held) = chain.split(' ').find(|held| held.starts_with(&level)) {
        let session = held.strip_prefix(&level).unwrap_or_default();
        let error = anyhow!(
            "{lock} is already held by the enclosing run (session {}): run the command without vaultlock here, or under another name",
            crate::shown::shown(session, 20)
        );
        return Err((Exit::Usage, error));
    }
    Ok(chain)
}

/// The chain with this run's level, whose session follows.
fn held(lock: &Name, fingerprint: &str, chain: &str) -> String {
    let gap = if chain.is_empty() { "" } else { " " };
    format!("{chain}{gap}{fingerprint}:{}:", lock.spelled())
}

fn environment(lock: &Name, location: &Location) -> Vec<(OsString, Option<OsString>)> {
    let url = location.for_job();
    let withheld = location.has_secret().then(|| url.clone());
    let set = |name: &str, value: Option<String>| (name.into(), value.map(OsString::from));
    vec![
        set("VAULTLOCK_NAME", Some(lock.as_str().to_owned())),
        set("VAULTLOCK_NAMES", None),
        set("VAULTLOCK_FENCES", None),
        set(STORE, Some(url)),
        set(WITHHELD, withheld),
    ]
}

fn who(label: Option<&str>, program: &OsStr) -> Who {
    let host = gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_else(|| "unknown".to_owned());
    let label = match label {
        Some(label) => label.to_owned(),
        None => {
            // For people only, so the environment is good enough: a look into the user database costs more than the lock.
            let user = ["LOGNAME", "USER"].iter().find_map(|name| env::var(name).ok().filter(|user| !user.is_empty()));
            let user = user.unwrap_or_else(|| getuid().to_string());
            // The name alone: arguments may hold what is nobody's business.
            let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
            format!("{user}@{host} {name}")
        }
    };
    Who { label: codec::cut_label(&label), host: codec::cut_label(&host), pid: std::process::id() }
}

fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::getrandom(&mut bytes).map_err(|error| anyhow!("the kernel gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn usage<E: std::error::Error + Send + Sync + 'static>(error: E) -> Refusal {
    (Exit::Usage, error.into())
}
