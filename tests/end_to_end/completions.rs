//! Completions in a real bash: options, locks of the store, stores of the config file.

use std::process::Command;

use crate::vault::{BINARY, Vault};

/// What bash offers after these words, the last of which is unfinished.
fn offered(vault: &Vault, words: &[&str]) -> Vec<String> {
    let script = r#"
        export PATH="$F/bin:$PATH"
        source <("$V" completions bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_vaultlock vaultlock "${@: -1}" ""
        (IFS=$'\n'; echo "${COMPREPLY[*]}")
    "#;
    let done = vault.start(vault.wrap("bash", &[&["-c", script, "bash", "vaultlock"], words].concat())).end();
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    done.out.lines().map(str::to_owned).collect()
}

/// A vault whose binary is in the path, as one that was installed is.
fn installed() -> Vault {
    let vault = Vault::new();
    std::fs::create_dir(vault.file("bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, vault.file("bin/vaultlock")).unwrap();
    vault
}

#[test]
fn locks_are_completed_from_the_store() {
    let vault = installed();
    for name in ["vault-7", "vault-8", "other", "vault;reboot"] {
        assert_eq!(vault.run(&[], name, &["true"]).code, 0);
    }
    assert_eq!(offered(&vault, &["run", "va"]), ["vault-7", "vault-8"], "and no word that a shell would read otherwise");
    assert_eq!(offered(&vault, &["status", "vault-7", "oth"]), ["other"]);
    let elsewhere = vault.file("elsewhere").display().to_string();
    assert_eq!(offered(&vault, &["--store", &elsewhere, "run", "va"]), [""], "it is the store that was typed");
    let glued = format!("--store={}", vault.store().display());
    assert_eq!(offered(&vault, &["run", &glued, "oth"]), ["other"]);
}

#[test]
fn stores_are_completed_from_the_config_file_and_options_from_the_program() {
    let vault = installed();
    let config = vault.write("c.toml", "[stores]\nprod = '/p'\nproof = '/q'\nci = '/c'\n").display().to_string();
    assert_eq!(offered(&vault, &["--config", &config, "--store", "pr"]), ["prod", "proof"]);
    assert_eq!(offered(&vault, &["run", "--kill"]), ["--kill-after"]);
    assert_eq!(offered(&vault, &["stat"]), ["status"]);
}

#[test]
fn a_store_that_does_not_answer_holds_nobody_up() {
    let vault = installed();
    let started = std::time::Instant::now();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", deaf.local_addr().unwrap());
    assert_eq!(offered(&vault, &["--store", &url, "run", "va"]), [""]);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn the_scripts_are_syntax_that_their_shells_take() {
    let script = Command::new(BINARY).args(["completions", "bash"]).output().unwrap();
    let vault = Vault::new();
    let file = vault.write("c.bash", &String::from_utf8(script.stdout).unwrap());
    assert!(Command::new("bash").arg("-n").arg(file).status().unwrap().success());
}
