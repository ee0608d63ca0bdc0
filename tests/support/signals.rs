//! A child that ignores no signal, whatever the test run was told to ignore (nohup, a script's `&`).

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives the child the default answer to the signals that a caller may have made us ignore.
pub fn heed(command: &mut Command) {
    let heeded = || {
        for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
            // SAFETY: the default action is no handler.
            unsafe { signal(ignored, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only makes system calls.
    unsafe { command.pre_exec(heeded) };
}
