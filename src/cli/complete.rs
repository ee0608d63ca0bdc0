//! What a shell asks for while somebody types: options from the clap tree, names of locks from the store, names of stores from
//! the config file.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_complete::{CompleteEnv, CompletionCandidate};

use super::args::{Args, Global, Shell};
use super::config::Config;
use super::stores;

/// Set by the completion scripts alone. clap's own choice, `COMPLETE`, might be in anyone's environment.
const ASKED: &str = "VAULTLOCK_COMPLETE";
/// Nobody waits longer for a list of names.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a shell, if it is one that asks.
///
/// # Errors
/// clap's own.
pub fn answered(words: &[OsString]) -> Result<bool, clap::Error> {
    if env::var_os(ASKED).is_none() {
        return Ok(false);
    }
    let here = env::current_dir().ok();
    let answered = CompleteEnv::with_factory(Args::command).var(ASKED).try_complete(words.iter().cloned(), here.as_deref())?;
    // Its last line has no end, and this program's entry no runtime that would see to it.
    io::stdout().flush()?;
    Ok(answered)
}

/// The script that makes a shell ask.
pub fn script(shell: Shell) -> Vec<u8> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell.write_registration(ASKED, "vaultlock", "vaultlock", "vaultlock", &mut script).expect("a list takes every byte");
    script
}

/// The locks of the store that the line so far means; none if it does not answer at once.
pub fn locks() -> Vec<CompletionCandidate> {
    let known = || -> Option<Vec<CompletionCandidate>> {
        let global = typed();
        let config = Config::find(global.config.as_deref()).ok()?;
        let mut store = stores::locate(&global, &config, &[]).ok()?.open(PATIENCE);
        let names = store.locks().ok()?;
        Some(names.iter().map(|name| name.as_str()).filter(|name| is_plain(name)).map(CompletionCandidate::new).collect())
    };
    known().unwrap_or_default()
}

/// The stores that have a name.
pub fn stores() -> Vec<CompletionCandidate> {
    let config = Config::find(typed().config.as_deref()).unwrap_or_default();
    config.names().filter(|name| is_plain(name)).map(CompletionCandidate::new).collect()
}

/// Whether a shell takes a word as it is. Names come from other hosts, and shells put what they are offered into the command
/// line unquoted: `x;reboot` would be a trap.
fn is_plain(name: &str) -> bool {
    !name.starts_with('-') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./@%+,-".contains(&byte))
}

/// Where the line so far says that locks live; the words stand after the shell's own `--`.
fn typed() -> Global {
    let mut global = Global { store: None, config: None, quiet: true, verbose: 0 };
    let mut words = env::args_os().skip_while(|word| word != "--").skip(2);
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else { continue };
        let (option, glued) = text.split_once('=').map_or((text, None), |(option, value)| (option, Some(OsString::from(value))));
        match option {
            "--store" => global.store = glued.or_else(|| words.next()).and_then(|value| value.into_string().ok()),
            "--config" => global.config = glued.or_else(|| words.next()).map(|value| Path::new(&value).to_owned()),
            _ => {}
        }
        if OsStr::new("--") == word {
            break;
        }
    }
    global
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn only_words_that_no_shell_reads_otherwise_are_offered() {
        for good in ["vault-7", "a/b.c", "x_1@host"] {
            assert!(is_plain(good), "{good}");
        }
        for trap in ["x;reboot", "$(reboot)", "a b", "-n", "`x`", "a\\b", "ü", "a:b", "~root", "x>y"] {
            assert!(!is_plain(trap), "{trap}");
        }
    }
}
