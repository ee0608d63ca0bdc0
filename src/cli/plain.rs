//! The quick way to read the plainest command lines, those in crontabs and scripts: `run NAME -- COMMAND` with the options
//! that are common there. clap makes its whole tree of words first, and that takes as long as taking the lock. Every line
//! that is not understood here to the last word is clap's to read, and so is every one that is wrong.

use std::ffi::OsString;

use super::args::{Args, Global, Run, Verb};
use crate::duration;

/// The words as clap would understand them; `None` if that is for clap to say.
pub fn read(words: &[OsString]) -> Option<Args> {
    let end = words.iter().position(|word| word == "--")?;
    let (mine, command) = (words.get(1..end)?, words.get(end + 1..)?);
    if command.is_empty() {
        return None;
    }
    let mut global = Global { store: None, config: None, quiet: false, verbose: 0 };
    let mut verb = false;
    let mut name = None;
    let mut run = Run::plain(String::new(), command.to_vec());
    let mut mine = mine.iter();
    while let Some(word) = mine.next() {
        let mut value = || mine.next()?.to_str().filter(|value| !value.is_empty() && !value.starts_with('-'));
        match word.to_str()? {
            "--store" if global.store.is_none() => global.store = Some(value()?.to_owned()),
            "-q" | "--quiet" if !global.quiet => global.quiet = true,
            "run" if !verb => verb = true,
            _ if !verb => return None,
            "-n" | "--nonblock" | "--nb" if !run.claim.nonblock => run.claim.nonblock = true,
            "-w" | "--wait" | "--timeout" if run.claim.wait.is_none() => run.claim.wait = Some(duration::parse(value()?).ok()?),
            "--ttl" if run.claim.ttl.is_none() => run.claim.ttl = Some(duration::parse(value()?).ok()?),
            "-k" | "--kill-after" if run.claim.kill_after.is_none() => {
                run.claim.kill_after = Some(duration::parse(value()?).ok()?)
            }
            "--label" if run.claim.label.is_none() => run.claim.label = Some(value()?.to_owned()),
            word if word.starts_with('-') || word.is_empty() || name.is_some() => return None,
            word => name = Some(word.to_owned()),
        }
    }
    run.name = name.filter(|_| !(run.claim.nonblock && run.claim.wait.is_some()))?;
    Some(Args { global, verb: Verb::Run(Box::new(run)) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::names;

    const WORDS: [&str; 26] = [
        "run",
        "run",
        "run",
        "x",
        "y",
        "--",
        "--",
        "-n",
        "--nb",
        "-w",
        "--wait",
        "--timeout",
        "5",
        "1.5m",
        "nonsense",
        "--store",
        "/srv",
        "-q",
        "--quiet",
        "-v",
        "--ttl",
        "-k",
        "--label",
        "-nw",
        "",
        "status",
    ];

    fn line(words: &[&str]) -> Vec<OsString> {
        std::iter::once("vaultlock").chain(words.iter().copied()).map(OsString::from).collect()
    }

    fn same(words: &[OsString]) -> Result<bool, String> {
        let Some(mine) = read(words) else { return Ok(false) };
        let theirs = names::read(words).map_err(|error| format!("{words:?}: {error}"))?;
        let (mine, theirs) = (format!("{mine:?}"), format!("{theirs:?}"));
        if mine == theirs { Ok(true) } else { Err(format!("{words:?}: {mine} and not {theirs}")) }
    }

    #[test]
    fn common_lines_are_read_the_quick_way() {
        for words in [
            &["run", "x", "--", "true"][..],
            &["--store", "/srv", "run", "x", "--", "a", "--", "-n"],
            &["run", "-w", "5", "x", "--store", "/srv", "-q", "--", "true"],
            &["run", "run", "--ttl", "2s", "-k", "1", "--label", "job 7", "-n", "--", "run"],
        ] {
            assert_eq!(same(&line(words)), Ok(true));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn whatever_is_read_the_quick_way_is_what_clap_reads(picks in prop::collection::vec(0..WORDS.len(), 1..9)) {
            let words: Vec<&str> = picks.into_iter().map(|pick| WORDS[pick]).collect();
            for words in [line(&words), line(&[&["run", "x"][..], &words, &["--", "true"]].concat())] {
                prop_assert!(same(&words).is_ok(), "{}", same(&words).unwrap_err());
            }
        }
    }
}
