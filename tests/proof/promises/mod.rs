//! The table of promises: each is measured on real processes and gets a row, with how often it was tried.
//!
//! The rows of the torture (P1, P4, P10) and of the simulator (P14, P15) are printed by those.

mod damage;
mod death;
mod lanes;
mod memory;
mod order;
mod processes;
pub mod quiet;
mod recovery;
mod release;
mod resource;
pub mod row;
mod secrets;
mod stage;
mod stale;
mod wakes;

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use row::Row;

/// What is measured, and how often.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The measured vaultlock.
    binary: PathBuf,
    /// For figures to be published; else for a check in a few minutes.
    full: bool,
}

impl Setting {
    fn trials(&self, quick: usize, full: usize) -> usize {
        if self.full { full } else { quick }
    }
}

type Measure = fn(&Setting) -> Vec<Row>;

/// In the order of the table.
const ALL: [(&str, &str, Measure); 9] = [
    ("P2", "frozen or killed, vaultlock leaves no process of its job alive past the deadline", death::measure),
    ("P3", "the lock is released only when every process of the job is gone", release::measure),
    ("P5", "a stale job is refused at the resource", stale::measure),
    ("P6", "a dead holder is replaced in time", recovery::measure),
    ("P7", "no lost wake-ups", wakes::measure),
    ("P8", "first come, first served", order::measure),
    ("P11", "a Redis that lost its memory does not double-run a job", memory::measure),
    ("P12", "corrupt state never grants", damage::measure),
    ("P13", "secrets never reach ps, logs or the job", secrets::measure),
];

const USAGE: &str = "usage: proof promises [quick|full] [--binary PATH] [P2 P3 ...]";

/// Measures the promises named in `words`, or all; fails if one was not kept.
pub fn main(words: &[String]) -> ExitCode {
    let Some((setting, wanted)) = read(words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let start = Instant::now();
    println!("{}", Row::head());
    let mut kept = true;
    for (promise, says, measure) in ALL.iter().filter(|(name, ..)| wanted.is_empty() || wanted.iter().any(|word| word == name)) {
        let begin = Instant::now();
        let rows = catch_unwind(|| measure(&setting)).unwrap_or_else(|why| vec![Row::broken_off(promise, words_of(&why))]);
        for row in &rows {
            println!("{row}");
            row.violations().for_each(|violation| eprintln!("{promise}: {violation}"));
            kept &= row.kept();
        }
        eprintln!("{promise} ({says}): {:.0} s", begin.elapsed().as_secs_f64());
    }
    println!("\n0 violations in n trials mean, at 95 % confidence, a rate below 3/n: the figure in parentheses.");
    eprintln!("all: {:.0} s", start.elapsed().as_secs_f64());
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(words: &[String]) -> Option<(Setting, Vec<String>)> {
    let mut setting = Setting { binary: env!("CARGO_BIN_EXE_vaultlock").into(), full: false };
    let mut wanted = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" => {}
            "quick" => setting.full = false,
            "full" => setting.full = true,
            "--binary" => setting.binary = std::path::absolute(words.next()?).ok()?,
            name if ALL.iter().any(|(known, ..)| *known == name) => wanted.push(name.to_owned()),
            _ => return None,
        }
    }
    Some((setting, wanted))
}

fn words_of(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
