//! The deterministic simulator: the real ledger, session, guard and ladder, and the memory store's engine, in worlds where
//! everything that can go wrong does. A seed is a world; the same seed is the same world, event by event.

#[path = "simulator/caller.rs"]
mod caller;
#[path = "simulator/event.rs"]
mod event;
#[path = "simulator/faults.rs"]
mod faults;
#[path = "simulator/heartbeat.rs"]
mod heartbeat;
#[path = "simulator/host.rs"]
mod host;
#[path = "simulator/judge.rs"]
mod judge;
#[path = "simulator/mix.rs"]
mod mix;
#[path = "simulator/nest.rs"]
mod nest;
#[path = "simulator/operator.rs"]
mod operator;
#[path = "simulator/outside.rs"]
mod outside;
#[path = "simulator/processes.rs"]
mod processes;
#[path = "simulator/rules.rs"]
mod rules;
#[path = "simulator/runs.rs"]
mod runs;
#[path = "simulator/scenario.rs"]
mod scenario;
#[path = "simulator/server.rs"]
mod server;
#[path = "simulator/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, Parser, Subcommand};

/// Without a command: a brief run, as `cargo test` wants it.
#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds in a row; says which show a violation
    Seeds {
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
    },
    /// Run the world of one seed and print every event
    Replay { seed: u64 },
    /// Run seeds twice and compare, event by event
    Twice {
        #[arg(long, default_value_t = 1_000)]
        count: u64,
    },
    /// Switch each safety rule off in turn and look for a seed that shows it (needs the feature `mutants`)
    Mutants {
        /// These alone; all that is simulated where none is named
        mutants: Vec<String>,
        #[arg(long, default_value_t = 10_000)]
        most: u64,
    },
}

fn main() -> ExitCode {
    // Under `cargo test` other tests' names and libtest's options come along: they are for others.
    let is_ours = std::env::args().nth(1).is_some_and(|word| Words::command().find_subcommand(word).is_some());
    let good = match is_ours.then(Words::parse).and_then(|words| words.command) {
        None => runs::brief(300, 20),
        Some(Command::Seeds { from, count }) => {
            let start = Instant::now();
            let sum = runs::many(from, count);
            sum.print(start.elapsed());
            sum.bad.is_empty()
        }
        Some(Command::Replay { seed }) => {
            let outcome = world::run(seed, true);
            println!("seed {seed}, digest {:016x}: {}", outcome.digest, outcome.wrong.map_or("no violation".into(), |(_, w)| w));
            true
        }
        Some(Command::Twice { count }) => {
            let differ = runs::replayed(0, count);
            println!("simulator: {count} seeds replayed, {} came out differently {differ:?}", differ.len());
            differ.is_empty()
        }
        #[cfg(feature = "mutants")]
        Some(Command::Mutants { mutants, most }) => runs::hunt(&mutants, most),
        #[cfg(not(feature = "mutants"))]
        Some(Command::Mutants { .. }) => {
            eprintln!("this build has no mutants: use tests/prove mutants");
            false
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
