//! The proof: real jobs under real locks while everything around them is killed, frozen, cut off and restarted, and a
//! checker over what they did. This program is also the job, so it is no libtest. Without words it is a brief torture.

#[macro_use]
#[path = "proof/log.rs"]
pub mod log;

#[path = "proof/caller.rs"]
mod caller;
#[path = "proof/checker.rs"]
pub mod checker;
#[path = "proof/deeds.rs"]
mod deeds;
#[path = "proof/dice.rs"]
mod dice;
#[path = "proof/driver.rs"]
mod driver;
#[path = "proof/engine.rs"]
mod engine;
#[path = "proof/job.rs"]
pub mod job;
#[path = "proof/members.rs"]
mod members;
#[path = "proof/mutants.rs"]
mod mutants;
#[path = "proof/peers.rs"]
mod peers;
#[path = "proof/process.rs"]
pub mod process;
#[path = "proof/promises/mod.rs"]
mod promises;
pub mod support;
#[path = "proof/tail.rs"]
mod tail;
#[path = "proof/tool.rs"]
mod tool;
#[path = "proof/torture.rs"]
mod torture;
#[path = "proof/trial.rs"]
mod trial;

use std::process::ExitCode;

use clap::ValueEnum;
use engine::Store;

/// In memory, so that no disk's stall is taken for a lock's. A killed server's data are safe there.
const MEMORY: &str = "/dev/shm";

fn main() -> ExitCode {
    if std::fs::metadata(MEMORY).is_ok_and(|memory| memory.is_dir()) {
        // Refused only to who asks twice.
        let _ = tempfile::env::override_temp_dir(std::path::Path::new(MEMORY));
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((verb, rest)) if verb == "job" => job::main(rest),
        Some((verb, rest)) if verb == "quiet" => promises::quiet::main(rest),
        Some((verb, rest)) if verb == "promises" => promises::main(rest),
        // One word alone is the name of a test, as for any test program.
        Some((verb, rest)) if verb == "torture" && !rest.is_empty() => torture::main(rest),
        Some((verb, rest)) if verb == "mutants" && !rest.is_empty() => mutants::main(rest),
        Some((verb, rest)) if verb == "peers" && !rest.is_empty() => peers::main(rest),
        _ => briefly(&words),
    }
}

/// As one of the tests.
fn briefly(words: &[String]) -> ExitCode {
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut good = true;
    for store in Store::value_variants().iter().filter(|store| store.is_brief()) {
        let name = format!("torture_{store:?}").to_lowercase();
        if words.iter().any(|word| word == "--list") {
            println!("{name}: test");
        } else if wanted.is_empty() || wanted.iter().any(|part| name.contains(*part)) {
            good &= torture::torture(&torture::Options::brief(), *store).expect("the torture can be carried out").is_good();
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
