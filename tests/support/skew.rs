//! Wall clocks that are wrong on command: a library preloaded into a process (skew.c) adds to the time of day.
//!
//! It reaches programs that are linked dynamically. vaultlock is not; [`dynamic_vaultlock`] is a build of it that is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// One wall clock, for any number of processes. It shows the true time until it is set.
pub struct Skew {
    dir: TempDir,
    minutes: File,
}

impl Skew {
    pub fn zero() -> Skew {
        let dir = tempfile::Builder::new().prefix("vl-skew-").tempdir().unwrap();
        compile(&dir.path().join("skew.so"));
        let minutes = File::create(dir.path().join("minutes")).unwrap();
        let skew = Skew { dir, minutes };
        skew.set(0);
        skew
    }

    /// So many minutes from the true time, at once and for all who live by this clock.
    pub fn set(&self, minutes: i8) {
        self.minutes.write_all_at(&minutes.to_ne_bytes(), 0).unwrap();
    }

    /// What a process has in its environment that lives by this clock.
    pub fn environment(&self) -> Vec<(String, PathBuf)> {
        [("LD_PRELOAD", "skew.so"), ("SKEW_FILE", "minutes")].map(|(name, file)| (name.into(), self.dir.path().join(file))).into()
    }
}

fn compile(library: &Path) {
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(library);
    gcc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/skew.c"));
    assert!(gcc.status().expect("these tests need gcc").success(), "skew.c does not compile");
}

/// The program once more, linked dynamically; built when it is first needed, in a folder of its own.
pub fn dynamic_vaultlock() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--locked", "--quiet", "--bin", "vaultlock", "--message-format", "json-render-diagnostics"]);
        cargo.args(["--target-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/dynamic")]);
        let statically = Path::new(env!("CARGO_BIN_EXE_vaultlock"));
        let profile = statically.parent().unwrap().file_name().unwrap();
        cargo.arg("--profile").arg(if profile == "debug" { "dev".as_ref() } else { profile });
        if cfg!(feature = "mutants") {
            cargo.args(["--features", "mutants"]);
        }
        // The strongest of all the places where flags may stand; .cargo/config.toml asks for a static program.
        cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=-crt-static").env("CARGO_PROFILE_DEV_DEBUG", "false");
        let built = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success(), "vaultlock can not be linked dynamically");
        let messages = String::from_utf8(built.stdout).unwrap();
        let executable = |line: &str| serde_json::from_str::<Value>(line).ok()?["executable"].as_str().map(str::to_owned);
        messages.lines().find_map(executable).expect("cargo says what it built")
    })
}
