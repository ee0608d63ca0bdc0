//! The proof: real jobs under real locks while everything around them is killed, frozen, cut off and restarted, and a
//! checker over what they did. This program is also the job, so it is no libtest. Without words it is a brief torture.

#[path = "proof/checker.rs"]
mod checker;
#[path = "proof/job.rs"]
mod job;
#[path = "proof/log.rs"]
mod log;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((verb, rest)) if verb == "job" => job::main(rest),
        _ => ExitCode::SUCCESS,
    }
}
