//! The rules of the house, read off the source: what may import what, where `unsafe` may stand, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of lib.rs, the highest first. A floor may import from those below it and from `WORDS`.
const FLOORS: [&[&str]; 5] = [&["cli"], &["run"], &["session"], &["store", "job", "mark"], &["ledger"]];
/// Words and numbers: they know each other and nothing above.
const WORDS: [&str; 9] = ["bell", "duration", "exit", "mutant", "name", "secret", "shown", "time", "timing"];
const LONGEST_FILE: usize = 350;
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                found.push((entry.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 40, "is this the source? {found:?}");
    found
}

/// The module of the crate's root that a file belongs to.
fn module(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The root modules that a text names: `crate::x`, also out of braces.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for after in line.split("crate::").skip(1) {
            let list = after.strip_prefix('{').map_or(after, |list| list.split('}').next().unwrap());
            let heads = if after.starts_with('{') { list.split(',').collect() } else { vec![list] };
            let word = |head: &str| -> String { head.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
            names.extend(heads.into_iter().map(word).filter(|word| !word.is_empty()));
        }
    }
    names
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn every_module_of_the_root_has_its_floor() {
    for (path, _) in sources() {
        let module = module(&path);
        let known = floor(&module).is_some() || WORDS.contains(&module.as_str()) || ["lib", "main"].contains(&module.as_str());
        assert!(known, "{} stands on no floor: put {module} into lib.rs and here", path.display());
    }
}

#[test]
fn imports_point_down_only() {
    for (path, text) in sources() {
        let from = module(&path);
        for to in named(&text).into_iter().filter(|to| *to != from) {
            let allowed = match (floor(&from), floor(&to)) {
                (_, None) => WORDS.contains(&to.as_str()) || to.chars().all(char::is_uppercase),
                (Some(from), Some(to)) => from < to,
                (None, Some(_)) => ["lib", "main"].contains(&from.as_str()),
            };
            assert!(allowed, "{} may not import crate::{to}", path.display());
        }
    }
}

#[test]
fn a_folder_keeps_to_its_own_and_does_not_climb() {
    for (path, text) in sources() {
        let depth = path.components().count() - 1;
        // `super::super` from src/a/b.rs is the root: imports across modules are spelled with `crate::`, where they show.
        let climbs = |line: &str| line.matches("super::").count() > depth && line.contains(&"super::".repeat(depth + 1));
        let climber = text.lines().find(|line| climbs(line) && !text.contains("mod tests {"));
        assert_eq!(climber, None, "{}", path.display());
    }
}

#[test]
fn store_and_job_never_meet() {
    for (path, text) in sources() {
        let named = named(&text);
        match module(&path).as_str() {
            "store" => assert!(!named.contains(&"job".to_owned()), "{}", path.display()),
            "job" => assert!(!named.contains(&"store".to_owned()), "{}", path.display()),
            _ => {}
        }
    }
}

#[test]
fn unsafe_stands_in_the_job_folder_alone() {
    for (path, text) in sources().into_iter().filter(|(path, _)| !path.starts_with("job")) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let unsafe_code =
            code.into_iter().find(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe"));
        assert_eq!(unsafe_code, None, "{}", path.display());
    }
}

#[test]
fn no_file_outgrows_a_reader() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= LONGEST_FILE,
            "{} has {lines} lines: a concept in it wants a name and a file of its own",
            path.display()
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
