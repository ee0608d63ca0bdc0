//! The config file: named stores, and for locks by the pattern of their names a store and options of `run`.
//!
//! ```toml
//! store = "ci"                       # where nothing else is said: one of [stores], or a URL
//!
//! [stores]
//! ci = "redis://ci.example/1"
//! prod = "postgres://locks@db.example/locks"
//!
//! [defaults]                         # options of `run`, without their dashes
//! kill-after = "10s"
//!
//! [[locks]]                          # all that match apply, the later ones over the earlier
//! name = "deploy-*"
//! store = "prod"
//! wait = "10m"
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use nix::unistd::{User, geteuid};
use toml::{Table, Value};
use wildmatch::WildMatch;

use crate::name::Name;

/// Nobody writes so much by hand.
const LONGEST: u64 = 1 << 20;
const SYSTEM: &str = "/etc/vaultlock/config.toml";

/// What a config file says; nothing where there is none.
#[derive(Debug, Default)]
pub struct Config {
    path: PathBuf,
    store: Option<String>,
    stores: BTreeMap<String, String>,
    defaults: Table,
    locks: Vec<Entry>,
}

/// What is said of the locks whose names match.
#[derive(Debug)]
struct Entry {
    name: WildMatch,
    store: Option<String>,
    options: Table,
}

impl Config {
    /// The file that was named; else this user's, else the system's, else none. Only one is read.
    ///
    /// # Errors
    /// It can't be read, others could have written it, or it says what nobody understands. No value of it is quoted, for it
    /// may hold passwords.
    pub fn find(named: Option<&Path>) -> anyhow::Result<Config> {
        if let Some(path) = named {
            let file = File::open(path)
                .with_context(|| format!("can't read the config file {}, which --config names", path.display()))?;
            return Config::read(path, file);
        }
        for path in [of_user(), Some(PathBuf::from(SYSTEM))].into_iter().flatten() {
            match File::open(&path) {
                Ok(file) => return Config::read(&path, file),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                // Another user's home (su, sudo -E) is none of ours; what the system says is for everyone.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path != Path::new(SYSTEM) => {}
                Err(error) => return Err(error).with_context(|| format!("can't read the config file {}", path.display())),
            }
        }
        Ok(Config::default())
    }

    fn read(path: &Path, file: File) -> anyhow::Result<Config> {
        refuse_others_words(&file).with_context(|| format!("the config file {}", path.display()))?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).with_context(|| format!("can't read the config file {}", path.display()))?;
        if text.len() as u64 >= LONGEST {
            bail!("the config file {} is larger than {LONGEST} bytes: is it the right one?", path.display());
        }
        Config::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> anyhow::Result<Config> {
        let said = |error: toml::de::Error| {
            // Its own rendering quotes the line, and with it perhaps a password.
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            anyhow!("the config file {}, line {line}: {}", path.display(), error.message())
        };
        let table: Table = text.parse().map_err(said)?;
        let mut config = Config { path: path.to_owned(), ..Config::default() };
        config.fill(table).with_context(|| format!("the config file {}", path.display()))?;
        Ok(config)
    }

    fn fill(&mut self, table: Table) -> anyhow::Result<()> {
        for (key, value) in table {
            match (key.as_str(), value) {
                ("store", value) => self.store = Some(string("store", value)?),
                ("stores", Value::Table(stores)) => {
                    for (name, url) in stores {
                        if name.is_empty() || name.contains(['/', ':']) {
                            bail!("a store can't be called {name:?}: that would be a path or a URL");
                        }
                        let url = string(&format!("stores.{name}"), url)?;
                        self.stores.insert(name, url);
                    }
                }
                ("defaults", Value::Table(options)) => self.defaults = options,
                ("locks", Value::Array(entries)) => {
                    self.locks = entries.into_iter().map(Entry::read).collect::<Result<_, _>>()?;
                }
                ("stores" | "defaults", _) => bail!("{key} is a table: write [{key}] on a line of its own"),
                ("locks", _) => bail!("locks is a list of tables: write [[locks]] above each"),
                _ => bail!("it knows no {key:?}: there are store, [stores], [defaults] and [[locks]]"),
            }
        }
        Ok(())
    }

    /// What it says the store of these locks is: a name or a URL; `None` where it says nothing.
    ///
    /// # Errors
    /// It gives them different ones.
    pub fn store_of(&self, locks: &[Name]) -> anyhow::Result<Option<&str>> {
        let of =
            |lock: &Name| self.matching(lock).filter_map(|entry| entry.store.as_deref()).next_back().or(self.store.as_deref());
        let Some((first, others)) = locks.split_first() else { return Ok(self.store.as_deref()) };
        match others.iter().find(|other| of(other) != of(first)) {
            None => Ok(of(first)),
            Some(other) => {
                bail!(
                    "{} gives {first} and {other} different stores: name one with --store, or take one at a time",
                    self.path.display()
                )
            }
        }
    }

    /// The options it gives these locks, the stronger ones later.
    ///
    /// # Errors
    /// It gives them different ones.
    pub fn options_of(&self, locks: &[Name]) -> anyhow::Result<Table> {
        let of = |lock: &Name| {
            let mut options = self.defaults.clone();
            self.matching(lock).for_each(|entry| options.extend(entry.options.clone()));
            options
        };
        let Some((first, others)) = locks.split_first() else { return Ok(self.defaults.clone()) };
        let options = of(first);
        match others.iter().find(|other| of(other) != options) {
            None => Ok(options),
            Some(other) => bail!("{} gives {first} and {other} different options: take one at a time", self.path.display()),
        }
    }

    /// The URL of a named store.
    ///
    /// # Errors
    /// None has this name.
    pub fn named(&self, name: &str) -> anyhow::Result<&str> {
        self.stores.get(name).map(String::as_str).ok_or_else(|| match self.path.as_os_str().is_empty() {
            true => anyhow!("there is no store {name:?}, for there is no config file: if it is a directory write ./{name}"),
            false => {
                let path = self.path.display();
                anyhow!(
                    "there is no store {name:?} among [stores] in {path}: name one of them; if it is a directory write ./{name}"
                )
            }
        })
    }

    /// The names of its stores, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stores.keys().map(String::as_str)
    }

    /// The URLs it knows, that of these locks first.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let direct = self.locks.iter().filter_map(|entry| entry.store.as_deref()).chain(self.store.as_deref());
        direct.filter(|store| !is_name(store)).chain(self.stores.values().map(String::as_str))
    }

    /// The file it was read from; empty where there is none.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn matching(&self, lock: &Name) -> impl DoubleEndedIterator<Item = &Entry> {
        self.locks.iter().filter(|entry| entry.name.matches(lock.as_str()))
    }
}

impl Entry {
    fn read(value: Value) -> anyhow::Result<Entry> {
        let Value::Table(mut options) = value else { bail!("locks is a list of tables: write [[locks]] above each") };
        let Some(name) = options.remove("name") else {
            bail!("an entry of [[locks]] has no name: write name = \"deploy-*\", or [defaults] for all locks");
        };
        let name = WildMatch::new(&string("name in [[locks]]", name)?);
        let store = options.remove("store").map(|store| string("store in [[locks]]", store)).transpose()?;
        Ok(Entry { name, store, options })
    }
}

/// Whether a word names one of the config file's stores, and is neither a path nor a URL.
pub fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.contains(['/', ':']) && word != "." && word != ".."
}

fn string(key: &str, value: Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text),
        _ => bail!("{key} must be a text in quotes"),
    }
}

fn of_user() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CONFIG_HOME").or_else(|| {
        let home = set("HOME").or_else(|| User::from_uid(geteuid()).ok().flatten().map(|user| user.dir))?;
        Some(home.join(".config"))
    });
    base.map(|base| base.join("vaultlock/config.toml"))
}

/// Whoever can write it could send our locks to a store of their own, where nobody else looks.
fn refuse_others_words(file: &File) -> anyhow::Result<()> {
    let found = file.metadata().context("can't be looked at")?;
    if !found.is_file() {
        bail!("is not a file");
    }
    let me = geteuid().as_raw();
    if found.uid() != me && found.uid() != 0 {
        bail!("belongs to user {}, neither to you ({me}) nor to root: make it yours, or name another with --config", found.uid());
    }
    if found.mode() & 0o022 != 0 {
        bail!("can be written by others: chmod go-w it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
store = "ci"

[stores]
ci = "redis://:hunter2@ci.example/1"
prod = "postgres://locks@db.example/locks"

[defaults]
kill-after = "3s"

[[locks]]
name = "deploy-*"
store = "prod"
wait = "10m"

[[locks]]
name = "deploy-eu?"
wait = "1h"
slots = 2
"#;

    fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse(Path::new("/c.toml"), text)
    }

    fn locks(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::new(name).unwrap()).collect()
    }

    #[test]
    fn a_lock_gets_what_matches_its_name_the_later_over_the_earlier() {
        let config = parse(FILE).unwrap();
        let told = |name: &str| {
            let locks = locks(&[name]);
            let options = config.options_of(&locks).unwrap();
            let options: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
            format!("{} {}", config.store_of(&locks).unwrap().unwrap(), options.join(" "))
        };
        assert_eq!(told("backup"), r#"ci kill-after=String("3s")"#);
        assert_eq!(told("deploy-us/1"), r#"prod kill-after=String("3s") wait=String("10m")"#);
        assert_eq!(told("deploy-eu1"), r#"prod kill-after=String("3s") slots=Integer(2) wait=String("1h")"#);
        assert_eq!(config.named("ci").unwrap(), "redis://:hunter2@ci.example/1");
        assert_eq!(config.names().collect::<Vec<_>>(), ["ci", "prod"]);
        let said = config.named("stage").unwrap_err().to_string();
        assert!(said.contains("/c.toml") && said.contains("./stage"), "{said}");
    }

    #[test]
    fn several_locks_must_be_told_the_same() {
        let config = parse(FILE).unwrap();
        assert_eq!(config.store_of(&locks(&["deploy-a", "deploy-b"])).unwrap(), Some("prod"));
        assert!(config.store_of(&locks(&["deploy-a", "backup"])).unwrap_err().to_string().contains("different stores"));
        assert!(config.options_of(&locks(&["deploy-a", "deploy-eu1"])).unwrap_err().to_string().contains("different options"));
        assert_eq!(config.store_of(&[]).unwrap(), Some("ci"));
    }

    #[test]
    fn what_is_wrong_is_said_and_no_value_quoted() {
        for (text, part) in [
            ("store = 1", "must be a text"),
            ("storage = 'x'", "knows no \"storage\""),
            ("stores = 'redis://:hunter2@h'", "[stores]"),
            ("[stores]\na = ['redis://:hunter2@h']", "stores.a must be a text"),
            ("[stores]\n'a/b' = 'redis://:hunter2@h'", "a path or a URL"),
            ("[locks]\nname = 'x'", "[[locks]]"),
            ("locks = ['redis://:hunter2@h']", "[[locks]]"),
            ("[[locks]]\nstore = 'redis://:hunter2@h'", "no name"),
            ("\n\nstore = \"redis://:hunter2@h", "line 3"),
            ("store = redis://:hunter2@h", "line 1"),
            ("store = 'redis://:hunter2@h' 'redis://:hunter2@h'", "line 1"),
            ("store = 'a'\nstore = 'redis://:hunter2@h'", "line 2"),
        ] {
            let said = format!("{:#}", parse(text).unwrap_err());
            assert!(said.contains(part) && !said.contains("hunter2") && said.contains("/c.toml"), "{text}: {said}");
        }
    }

    #[test]
    fn names_of_stores_are_no_paths_and_no_urls() {
        for name in ["prod", "a.b", "x-1"] {
            assert!(is_name(name), "{name}");
        }
        for other in ["", ".", "..", "./x", "/x", "x/y", "redis://x"] {
            assert!(!is_name(other), "{other}");
        }
    }
}
