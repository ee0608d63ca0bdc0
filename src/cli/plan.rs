//! From what was typed to what will be done: after this nobody looks at strings.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use nix::unistd::{gethostname, getuid};

use super::args::{self, Global};
use super::claim::Claim;
use super::config::Config;
use super::names;
use super::stores::{STORE, WITHHELD, locate};
use crate::exit::Exit;
use crate::ledger::{Id, Level, Mode, Ticket, Who, codec};
use crate::mark::Mark;
use crate::name::Name;
use crate::run::Plan;
use crate::run::console::{Console, Verbosity};
use crate::run::orders::{IfUnavailable, Stragglers};
use crate::run::work::{Job, Keep, Work};
use crate::session::Notes;
use crate::store::{Store, locate::Location};
use crate::timing::{DEFAULT_TTL, Timing};

/// The chain of enclosing runs, one `store:lock:session` a level, innermost last.
const HELD: &str = "VAULTLOCK_HELD";
/// Of more enclosing runs the innermost are looked at for cycles.
const MOST_LEVELS: usize = 40;

type Refusal = (Exit, anyhow::Error);

/// A plan and all it needs.
pub struct Resolved {
    pub plan: Plan,
    pub store: Box<dyn Store>,
    pub notes: Vec<Notes>,
    pub console: Console,
}

/// Understands `run`.
///
/// # Errors
/// The code to end with, and why.
pub fn resolve(typed: &args::Run, global: &Global, config: &Config, words: &[OsString]) -> Result<Resolved, Refusal> {
    let locks = names::in_order(typed)?;
    if typed.guard.is_some() {
        refuse_unguarded(typed, locks.len()).map_err(|error| (Exit::Usage, error))?;
    }
    let (program, args) = command(typed, words).map_err(|error| (Exit::Usage, error))?;
    let location = locate(global, config, &locks)?;
    let (env, levels) = (environment(&locks, &location), levels(&locks, &location));
    let mut resolved = claim(&typed.claim, locks, &location, global, who(typed.claim.label.as_deref(), &program), |chain| {
        Work::Run(Job { program, args, isolate: typed.isolate, env, chain, levels })
    })?;
    resolved.plan.mark = typed.guard.as_deref().map(Mark::new);
    resolved.plan.stragglers = match typed.stragglers {
        args::Stragglers::Leave => Stragglers::Leave,
        args::Stragglers::Wait => Stragglers::Wait,
        args::Stragglers::Kill => Stragglers::Kill,
    };
    resolved.plan.if_unavailable = match typed.if_unavailable {
        args::IfUnavailable::Fail => IfUnavailable::Fail,
        args::IfUnavailable::Skip => IfUnavailable::Skip,
        args::IfUnavailable::Run => IfUnavailable::Run,
    };
    Ok(resolved)
}

/// Understands `acquire`.
///
/// # Errors
/// The code to end with, and why.
pub fn resolve_keep(typed: &args::Acquire, keep: Keep, global: &Global, config: &Config) -> Result<Resolved, Refusal> {
    let locks = names::sorted(&typed.names)?;
    let location = locate(global, config, &locks)?;
    let name = keep.process.name().unwrap_or_default();
    // Who acquired it is gone as soon as it has it; who looks at it wants to know for whom it is kept.
    let who = Who { pid: keep.process.pid() as u32, ..who(typed.claim.label.as_deref(), OsStr::new(&name)) };
    claim(&typed.claim, locks, &location, global, who, |_| Work::Keep(keep))
}

/// What a claim to these locks is, whatever is done under them; `work` is given the chain of enclosing runs.
fn claim(
    typed: &Claim,
    locks: Vec<Name>,
    location: &Location,
    global: &Global,
    who: Who,
    work: impl FnOnce(String) -> Work,
) -> Result<Resolved, Refusal> {
    let ttl = typed.ttl.unwrap_or(DEFAULT_TTL.min(location.max_ttl()));
    let timing = Timing::new(ttl, typed.kill_after, location.max_ttl()).map_err(usage)?;
    let timing = timing.for_locks(locks.len() as u32).map_err(usage)?;
    let fingerprint = location.fingerprint();
    let chain = enclosing(&locks, &fingerprint)?;
    let wait = typed.patience();
    let policy = typed.policy.resolve(wait != Some(Duration::ZERO)).map_err(|error| (Exit::Usage, error))?;
    let mut around = levels_of(&chain, &fingerprint);
    // As timeout(1) has it: 0 is no limit.
    let limit = typed.max_run.filter(|max_run| !max_run.is_zero());
    let mut tickets: Vec<Ticket> = Vec::with_capacity(locks.len());
    for lock in &locks {
        let id = Id::from_random(random().map_err(|error| (Exit::Failed, error))?);
        let level = (locks.len() > 1).then(|| Level { lock: lock.as_str().to_owned(), session: id.session() });
        tickets.push(Ticket {
            fmt: codec::FMT,
            mode: if typed.shared { Mode::Shared } else { Mode::Exclusive },
            slots: typed.policy.slots,
            priority: typed.policy.priority,
            lead_ms: typed.policy.lead_ms(),
            policy: policy.clone(),
            ttl_ms: ttl.as_millis() as u64,
            who: who.clone(),
            limit_ms: limit.map(|limit| limit.as_millis() as u64),
            chain: around.clone(),
            id,
        });
        around.extend(level);
    }
    let notes_dir = location.notes_dir().unwrap_or_default();
    Ok(Resolved {
        store: location.open(timing.request),
        notes: locks.iter().map(|lock| Notes::new(notes_dir.clone(), lock)).collect(),
        console: Console::new(verbosity(global), &locks, location.display(), location.first_use()),
        plan: Plan {
            locks,
            tickets,
            timing,
            wait,
            conflict: typed.conflict_exit_code,
            stop_signal: typed.signal,
            max_run: limit,
            mark: None,
            stragglers: Stragglers::Leave,
            if_unavailable: IfUnavailable::Fail,
            work: work(chain),
        },
    })
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
    names::refuse_unclear(typed, words)?;
    if program.is_empty() {
        bail!("the command's name is empty: vaultlock run NAME -- COMMAND");
    }
    Ok((program.clone(), args.to_vec()))
}

/// The chain of enclosing runs; refuses to take a lock inside its own holder, which would wait for itself for ever.
fn enclosing(locks: &[Name], fingerprint: &str) -> Result<String, Refusal> {
    let chain = env::var(HELD).unwrap_or_default();
    for lock in locks.iter().filter(|_| !chain.is_empty()) {
        let level = level(lock, fingerprint);
        // A colon may be in a name, in a session it can't be.
        let session = |held| str::strip_prefix(held, &level).filter(|session| !session.contains(':'));
        if let Some(session) = chain.split(' ').find_map(session) {
            let error = anyhow!(
                "{lock} is already held by the enclosing run (session {}): run the command without vaultlock here, or under \
                 another name",
                crate::shown::shown(session, 20)
            );
            return Err((Exit::Usage, error));
        }
    }
    Ok(chain)
}

/// A mark is raised to the fence of one lock, and a run without a lock has none.
fn refuse_unguarded(typed: &args::Run, locks: usize) -> anyhow::Result<()> {
    if locks > 1 {
        bail!(
            "--guard is for one lock: guard each resource with `vaultlock fence` and the number of its lock in $VAULTLOCK_FENCES"
        );
    }
    if typed.if_unavailable == args::IfUnavailable::Run {
        bail!("--guard needs a fence, and a run without the lock has none: use --if-unavailable fail or skip");
    }
    Ok(())
}

/// What the runs around this process hold in a store, the innermost last.
pub fn held_around(location: &Location) -> Vec<Level> {
    levels_of(&env::var(HELD).unwrap_or_default(), &location.fingerprint())
}

/// What the enclosing runs hold in this store, as far as it is well told: the innermost.
fn levels_of(chain: &str, fingerprint: &str) -> Vec<Level> {
    let read = |held: &str| {
        let (lock, session) = held.strip_prefix(fingerprint)?.strip_prefix(':')?.rsplit_once(':')?;
        let lock = Name::from_word(lock)?.as_str().to_owned();
        (session.len() <= 20).then(|| Level { lock, session: session.to_owned() })
    };
    let levels: Vec<Level> = chain.split(' ').filter_map(read).collect();
    levels[levels.len().saturating_sub(MOST_LEVELS)..].to_vec()
}

/// What a run in this store adds to the chain, up to where the sessions follow.
fn levels(locks: &[Name], location: &Location) -> Vec<String> {
    let fingerprint = location.fingerprint();
    locks.iter().map(|lock| level(lock, &fingerprint)).collect()
}

/// One level of the chain, whose session follows.
fn level(lock: &Name, fingerprint: &str) -> String {
    format!("{fingerprint}:{}:", lock.word())
}

fn environment(locks: &[Name], location: &Location) -> Vec<(OsString, Option<OsString>)> {
    let names = || locks.iter().map(Name::word).collect::<Vec<_>>().join(" ");
    let url = location.for_job();
    let withheld = location.has_secret().then(|| url.clone());
    let set = |name: &str, value: Option<String>| (name.into(), value.map(OsString::from));
    vec![
        set("VAULTLOCK_NAME", Some(locks[0].as_str().to_owned())),
        set("VAULTLOCK_NAMES", (locks.len() > 1).then(names)),
        set(STORE, Some(url)),
        set(WITHHELD, withheld),
    ]
}

fn host() -> String {
    gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_else(|| "unknown".to_owned())
}

/// For people only, so the environment is good enough: a look into the user database costs more than the lock.
fn user() -> String {
    let user = ["LOGNAME", "USER"].iter().find_map(|name| env::var(name).ok().filter(|user| !user.is_empty()));
    user.unwrap_or_else(|| getuid().to_string())
}

/// Who types, for people.
pub fn user_at_host() -> String {
    codec::cut_label(&format!("{}@{}", user(), host()))
}

fn who(label: Option<&str>, program: &OsStr) -> Who {
    let host = host();
    let label = match label {
        Some(label) => label.to_owned(),
        None => {
            let user = user();
            // The name alone: arguments may hold what is nobody's business.
            let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
            format!("{user}@{host} {name}")
        }
    };
    Who { label: codec::cut_label(&label), host: codec::cut_label(&host), pid: std::process::id() }
}

pub fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::getrandom(&mut bytes).map_err(|error| anyhow!("the kernel gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn usage<E: std::error::Error + Send + Sync + 'static>(error: E) -> Refusal {
    (Exit::Usage, error.into())
}
