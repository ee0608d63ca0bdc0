//! Which store is meant: `--store`, then `$VAULTLOCK_STORE`, then `$VAULTLOCK_STORE_FILE`, then the config file, then the file
//! store of this user.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::args::Global;
use super::config::{self, Config};
use super::plan::verbosity;
use crate::exit::Exit;
use crate::name::Name;
use crate::run::console::Verbosity;
use crate::store::locate::Location;

pub const STORE: &str = "VAULTLOCK_STORE";
/// Set beside a store URL whose user and password were taken out; holds that very URL.
pub const WITHHELD: &str = "VAULTLOCK_STORE_WITHHELD";
const FILE: &str = "VAULTLOCK_STORE_FILE";
/// No URL is longer.
const LONGEST: u64 = 64 * 1024;

type Refusal = (Exit, anyhow::Error);

/// The store of these locks.
///
/// # Errors
/// A URL that can't be read, or one whose password an enclosing run kept to itself and that is not told elsewhere.
pub fn locate(global: &Global, config: &Config, locks: &[Name]) -> Result<Location, Refusal> {
    if let Some(word) = &global.store {
        return from_words(word, config, verbosity(global));
    }
    if let Some(text) = env::var_os(STORE).filter(|text| !text.is_empty()) {
        let withheld = env::var_os(WITHHELD).as_deref() == Some(text.as_os_str());
        let text = text.into_string().map_err(|_| (Exit::Usage, anyhow!("${STORE} is not UTF-8: percent-encode it")))?;
        let location = parse(&text, config).map_err(|error| (Exit::Usage, error.context(format!("${STORE}"))))?;
        return if withheld && !location.has_secret() { unwithheld(&location, config) } else { Ok(location) };
    }
    if let Some(location) = from_file().map_err(|error| (Exit::Failed, error))? {
        return Ok(location);
    }
    let configured = || match config.store_of(locks)? {
        Some(word) => Ok(Some(parse(word, config).with_context(|| format!("the config file {}", config.path().display()))?)),
        None => Ok(None),
    };
    match configured().map_err(|error: anyhow::Error| (Exit::Failed, error))? {
        Some(location) => Ok(location),
        None => Location::default_store().map_err(|error| (Exit::Failed, error.into())),
    }
}

fn from_words(word: &str, config: &Config, verbosity: Verbosity) -> Result<Location, Refusal> {
    let location = parse(word, config).map_err(|error| (Exit::Usage, error))?;
    if location.password_in_url() && !config::is_name(word) && verbosity > Verbosity::Quiet {
        eprintln!(
            "vaultlock: the password in --store can be read by everyone on this host (ps): put the URL into $VAULTLOCK_STORE, or \
             into a file named by ${FILE}"
        );
    }
    Ok(location)
}

/// A URL, a path, or the name of one of the config file's stores.
fn parse(word: &str, config: &Config) -> anyhow::Result<Location> {
    if !config::is_name(word) {
        return Ok(Location::parse(word)?);
    }
    let url = config.named(word)?;
    let located = Location::parse(url).map_err(anyhow::Error::from);
    located.with_context(|| format!("the store {word} in {}", config.path().display()))
}

/// What a file says, such as a mounted secret.
fn from_file() -> anyhow::Result<Option<Location>> {
    let Some(path) = env::var_os(FILE).filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = Path::new(&path);
    let told = || format!("${FILE} {}", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .with_context(|| format!("can't read {}", told()))?;
    let url = text.trim();
    if url.is_empty() || url.contains(['\n', '\0']) {
        bail!("{}: it must hold one line, the store's URL", told());
    }
    Location::parse(url).map(Some).with_context(told)
}

/// The same store, with user and password, from where the job can read it as well as we can.
fn unwithheld(bare: &Location, config: &Config) -> Result<Location, Refusal> {
    let known = config.urls().filter_map(|url| Location::parse(url).ok());
    let known = from_file().ok().flatten().into_iter().chain(known);
    let same = |known: &Location| known.has_secret() && known.fingerprint() == bare.fingerprint();
    known.into_iter().find(same).ok_or_else(|| {
        let error = anyhow!(
            "the enclosing run keeps its store's user and password from the job: give this run a store of its own, with --store \
             or ${STORE}, or put the URL into a config file that the job may read"
        );
        (Exit::Failed, error)
    })
}
