//! vaultlock beside the lock commands that people use today: the same jobs under the same torture, one tool after the
//! other, and one table.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vaultlock::duration;
use vaultlock::time::Clock;

use crate::checker::{Rule, Verdict};
use crate::engine::{Scope, Store};
use crate::torture;

/// Tortures vaultlock, flock(1) and etcdctl lock alike, with what all of them know: jobs that leave nothing running, who
/// wait as long as it takes, a ttl of 2 or 3 s, and faults that need no knowledge of the tool.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct Options {
    /// How long faults are done to each
    #[arg(long = "for", value_name = "DUR", value_parser = duration::parse, default_value = "60s")]
    span: Duration,
    #[arg(long, value_name = "N", default_value_t = 24)]
    callers: usize,
    #[arg(long, value_name = "N", default_value_t = 12)]
    locks: usize,
    /// Repeats the choices of an earlier run; the same for each tool
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Faults a second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rate: f64,
    /// The vaultlock to torture
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_vaultlock"))]
    binary: PathBuf,
    /// Where the logs of all are kept
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Each with its server's like beside it.
const TOOLS: [(&str, Store); 5] = [
    ("`vaultlock run`, file store", Store::File),
    ("`flock`", Store::Flock),
    ("`vaultlock run`, Redis", Store::Redis),
    ("`vaultlock run`, etcd", Store::Etcd),
    ("`etcdctl lock`", Store::Etcdctl),
];

/// `proof peers`.
pub fn main(words: &[String]) -> ExitCode {
    let options = Options::parse_from([&["peers".to_owned()], words].concat());
    match compare(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(125)
        }
    }
}

/// Whether vaultlock kept its promise. What the others did is for the reader to judge.
fn compare(options: &Options) -> io::Result<bool> {
    let seed = options.seed.unwrap_or_else(|| Clock::Boottime.now().0 % 1_000_000_000);
    let mut verdicts = Vec::new();
    for (_, store) in TOOLS {
        verdicts.push(torture::torture(&options.torture(store, seed), store)?);
    }
    println!("\nproof peers --for {:?} --seed {seed}\n", options.span);
    println!("| tool | jobs | faults | overlaps | longest overlap | stuck | recovery, worst of |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for ((tool, _), verdict) in TOOLS.iter().zip(&verdicts) {
        println!("{}", row(tool, verdict));
    }
    Ok(TOOLS.iter().zip(&verdicts).all(|((_, store), verdict)| store.is_a_peers() || verdict.is_good()))
}

impl Options {
    fn torture(&self, store: Store, seed: u64) -> torture::Options {
        torture::Options {
            callers: self.callers,
            locks: self.locks,
            seed: Some(seed),
            rate: self.rate,
            span: self.span,
            binary: self.binary.clone(),
            dir: self.dir.as_ref().map(|dir| dir.join(store.told().replace(' ', "-"))),
            scope: Scope::Common,
            ..torture::Options::brief()
        }
    }
}

fn row(tool: &str, verdict: &Verdict) -> String {
    let longest = match verdict.overlaps() {
        0 => "-".to_owned(),
        _ => format!("{:.1} s", verdict.longest_overlap().as_secs_f64()),
    };
    let recovery = match verdict.recovery(100) {
        Some(worst) => format!("{:.2} s of {}", worst.as_secs_f64(), verdict.recoveries.len()),
        None => "-".to_owned(),
    };
    let (jobs, faults, overlaps, stuck) = (verdict.jobs, verdict.fault_count(), verdict.overlaps(), verdict.count(Rule::Stuck));
    format!("| {tool} | {jobs} | {faults} | {overlaps} | {longest} | {stuck} | {recovery} |")
}
