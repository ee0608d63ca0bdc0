//! The process side under fire: this program starts itself again as sentry and worker (`drive`) and then kills,
//! freezes and stops the parts. Without libtest, whose threads would be there before the split.

#[path = "job/drive.rs"]
mod drive;
#[path = "job/run.rs"]
mod run;
#[path = "job/scenes.rs"]
mod scenes;
#[path = "support/signals.rs"]
mod signals;

use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os(drive::FLAG).is_some() {
        drive::drive();
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if std::env::args().any(|arg| arg == "--list") {
        scenes::ALL.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, scene) in scenes::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
            continue;
        }
        let start = std::time::Instant::now();
        let good = catch_unwind(scene).is_ok();
        println!("{name} ... {} ({} ms)", if good { "ok" } else { "FAILED" }, start.elapsed().as_millis());
        if !good {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}
