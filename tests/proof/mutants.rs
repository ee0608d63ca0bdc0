//! The proof of the proof: safety rules are switched off one at a time, and the torture must notice each. It needs a
//! vaultlock built with the feature `mutants`. What no process of a real run can show is the simulator's to find.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use vaultlock::duration;
use vaultlock::mutant::Mutant;

/// How a build with mutants is told which one to be.
const VARIABLE: &str = "VAULTLOCK_MUTANT";

/// A mutant, and the torture that finds it soonest.
struct Case {
    mutant: Mutant,
    store: &'static str,
    /// These faults alone; all, where it is empty.
    faults: &'static str,
}

const fn case(mutant: Mutant, store: &'static str, faults: &'static str) -> Case {
    Case { mutant, store, faults }
}

const CASES: &[Case] = &[
    case(Mutant::NoSentry, "file", "kill worker,freeze worker"),
    case(Mutant::NoSentry, "redis", "kill worker,freeze worker"),
    case(Mutant::NoKernelTimer, "redis", "freeze both"),
    case(Mutant::NoParentDeath, "file", "kill both"),
    case(Mutant::NoParentDeath, "redis", "kill both"),
    case(Mutant::NoSubreaper, "file", "kill worker,kill sentry"),
    case(Mutant::NoSubreaper, "redis", "kill worker,kill sentry"),
    case(Mutant::ReleaseBeforeDead, "file", ""),
    case(Mutant::NoGraceMargin, "redis", "freeze worker,swallow line,hold line"),
    case(Mutant::NoQuarantine, "redis", "wipe server,flush server"),
    case(Mutant::NoFenceFloor, "redis", "wipe server,flush server"),
    case(Mutant::NoInheritedTicket, "file", "kill both"),
    case(Mutant::GoneRenews, "redis", "wipe server,flush server"),
    case(Mutant::SweptGoesOn, "redis", "wipe server,flush server"),
    case(Mutant::MyTtl, "redis", ""),
    case(Mutant::BlindCommit, "file", ""),
    case(Mutant::BlindCommit, "redis", ""),
];

/// Switches off one safety rule after the other and tortures each until something is found.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
struct Options {
    /// These mutants; all that a torture can find where none is named
    mutants: Vec<String>,
    /// How long each may go unnoticed
    #[arg(long = "for", value_name = "DUR", value_parser = duration::parse, default_value = "60s")]
    span: Duration,
    /// A vaultlock with the feature `mutants`
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_vaultlock"))]
    binary: PathBuf,
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// `proof mutants`.
pub fn main(words: &[String]) -> ExitCode {
    let options = Options::parse_from([&["mutants".to_owned()], words].concat());
    match hunt(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            println!("{survivors} survived");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(125)
        }
    }
}

/// Returns how many were not found.
fn hunt(options: &Options) -> io::Result<usize> {
    if !has_mutants(&options.binary)? {
        return Err(io::Error::other(format!("{} is not built with the feature mutants", options.binary.display())));
    }
    let is_wanted = |case: &&Case| options.mutants.is_empty() || options.mutants.iter().any(|word| word == case.mutant.word());
    let mut survivors = 0;
    println!("| mutant | what is wrong with it | store | found after | as |\n| --- | --- | --- | --- | --- |");
    for case in CASES.iter().filter(is_wanted) {
        let start = Instant::now();
        let found = torture(case, options)?;
        let (took, what) = (start.elapsed().as_secs_f64(), case.mutant.what().trim());
        let (after, rules) = match found.is_empty() {
            true => ("**not found**".to_owned(), "-".to_owned()),
            false => (format!("{took:.0} s"), found.join(", ")),
        };
        println!("| {} | {what} | {} | {after} | {rules} |", case.mutant.word(), case.store);
        survivors += usize::from(found.is_empty());
    }
    Ok(survivors)
}

/// A build that has none does not care what it is to be.
fn has_mutants(binary: &Path) -> io::Result<bool> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(binary);
    command.args(["run", "-q", "--store"]).arg(dir.path().join("store")).args(["x", "--", "true"]).env(VARIABLE, "none such");
    Ok(!command.stderr(Stdio::null()).status()?.success())
}

/// The rules that were broken.
fn torture(case: &Case, options: &Options) -> io::Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["torture", "--impatient", "--store", case.store, "--seed", &options.seed.to_string()]);
    command
        .arg(format!("--for={}s", options.span.as_secs_f64()))
        .arg("--dir")
        .arg(dir.path())
        .arg("--binary")
        .arg(&options.binary);
    if !case.faults.is_empty() {
        command.args(["--only", case.faults]);
    }
    let done = command.env(VARIABLE, case.mutant.word()).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    let mut rules: Vec<String> =
        said.lines().filter_map(|line| line.split_once(": job ")).map(|(rule, _)| rule.to_owned()).collect();
    rules.dedup();
    // A mutant that crashes, or a torture that does not work, has shown nothing.
    match rules.iter().any(|rule| rule == "Exit" || rule == "Malformed") || (rules.is_empty() && !done.status.success()) {
        true => Err(io::Error::other(format!("the torture of {} went wrong:\n{said}", case.mutant.word()))),
        false => Ok(rules),
    }
}
