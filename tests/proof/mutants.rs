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
    /// None for the control: nothing is switched off, and nothing may be found.
    mutant: Option<Mutant>,
    store: &'static str,
    /// These faults alone; all, where it is empty.
    faults: &'static str,
}

const fn case(mutant: Mutant, store: &'static str, faults: &'static str) -> Case {
    Case { mutant: Some(mutant), store, faults }
}

const CASES: &[Case] = &[
    Case { mutant: None, store: "file", faults: "" },
    Case { mutant: None, store: "redis", faults: "" },
    case(Mutant::NoSentry, "file", "kill worker,freeze worker"),
    case(Mutant::NoSentry, "redis", "kill worker,freeze worker"),
    case(Mutant::NoKernelTimer, "redis", "freeze both"),
    case(Mutant::NoParentDeath, "file", "kill both"),
    case(Mutant::NoParentDeath, "redis", "kill both"),
    case(Mutant::NoSubreaper, "file", "kill worker,kill sentry"),
    case(Mutant::NoSubreaper, "redis", "kill worker,kill sentry"),
    case(Mutant::ReleaseBeforeDead, "file", "kill sentry"),
    case(Mutant::NoQuarantine, "redis", "wipe server,flush server"),
    case(Mutant::NoFenceFloor, "redis", "wipe server,flush server"),
    case(Mutant::NoInheritedTicket, "file", "kill both"),
    case(Mutant::GoneRenews, "redis", "wipe server,flush server"),
    case(Mutant::BlindCommit, "redis", ""),
    Case { mutant: None, store: "postgres", faults: "" },
    case(Mutant::NoFenceFloor, "postgres", "wipe server,flush server"),
    case(Mutant::BlindCommit, "postgres", ""),
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
        Ok(wrong) => {
            println!("{wrong} of these should not be so");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(125)
        }
    }
}

/// Returns how many mutants were not found, or controls were.
fn hunt(options: &Options) -> io::Result<usize> {
    if !has_mutants(&options.binary)? {
        return Err(io::Error::other(format!("{} is not built with the feature mutants", options.binary.display())));
    }
    let is_wanted = |case: &&Case| options.mutants.is_empty() || options.mutants.iter().any(|word| word == case.word());
    let mut wrong = 0;
    println!("| mutant | what is wrong with it | store | found after | as |\n| --- | --- | --- | --- | --- |");
    for case in CASES.iter().filter(is_wanted) {
        let start = Instant::now();
        let found = torture(case, options)?;
        let (took, what) = (start.elapsed().as_secs_f64(), case.mutant.map_or("nothing", |mutant| mutant.what().trim()));
        let (after, rules) = match found.is_empty() {
            true => ("not found".to_owned(), "-".to_owned()),
            false => (format!("{took:.0} s"), found.join(", ")),
        };
        println!("| {} | {what} | {} | {after} | {rules} |", case.word(), case.store);
        wrong += usize::from(found.is_empty() == case.mutant.is_some());
    }
    Ok(wrong)
}

impl Case {
    fn word(&self) -> &'static str {
        self.mutant.map_or("none", Mutant::word)
    }
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
    if let Some(mutant) = case.mutant {
        command.env(VARIABLE, mutant.word());
    }
    let done = command.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    let broken = said.lines().filter_map(|line| Some((line.split_once(": job ")?.0, line)));
    // How soon a lock recovers says how busy the machine is.
    let mut rules: Vec<String> = broken.map(|(rule, _)| rule.to_owned()).filter(|rule| rule != "Recovery").collect();
    rules.dedup();
    if case.mutant.is_none() && !rules.is_empty() {
        println!("with nothing switched off:\n{said}see {}", dir.keep().display());
    }
    // A mutant that crashes, or a torture that does not work, has shown nothing.
    let is_wrong = rules.iter().any(|rule| rule == "Exit" || rule == "Malformed");
    match is_wrong || done.status.code().is_none_or(|code| code > 1) {
        true => Err(io::Error::other(format!("the torture of {} went wrong:\n{said}", case.word()))),
        false => Ok(rules),
    }
}
