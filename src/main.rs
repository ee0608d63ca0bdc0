//! vaultlock: run a job under a named lock. This file is the top of the story; `lib.rs` is the map.

use std::process::ExitCode;

use vaultlock::cli;

fn main() -> ExitCode {
    match cli::main(std::env::args_os().collect()) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err((exit, error)) => {
            eprintln!("vaultlock: {error:#}");
            ExitCode::from(exit.code())
        }
    }
}
