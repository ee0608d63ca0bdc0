//! vaultlock: run a job under a named lock. This file is the top of the story; `lib.rs` is the map.
#![no_main]

use std::ffi::OsString;

use vaultlock::cli;
use vaultlock::shown::chain;

vaultlock::entry!(run);

fn run(words: Vec<OsString>) -> u8 {
    match cli::main(words) {
        Ok(exit) => exit.code(),
        Err((exit, error)) => {
            eprintln!("vaultlock: {}", chain(&error));
            exit.code()
        }
    }
}
