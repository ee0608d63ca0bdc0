//! Every message that people meet, word for word: tests/messages.txt has what is typed, what is said and the code.
//! `BLESS=1 cargo test --test messages` writes it anew from what is said now.

pub mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::{geteuid, gethostname};
use support::etcd::Etcd;
use support::postgres::Postgres;
use support::redis::{Server as Redis, free_port};
use support::running::on_store;
use support::verdict::CANARY;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/messages.txt");

/// What differs from one run to the next, as sed(1) takes it.
const UNSTEADY: &str = r"
s/session [0-9a-f]{12}/session ID/g
s/pid [0-9]+/pid PID/g
s/\(([0-9]+)(, [0-9]+)*\), which run on/(PIDS), which run on/
s/[0-9]{13}/FENCE/g
s/PID\) for [0-9.]+(ms|s)/PID) for TIME/g
s/(try again in|due in|keeps it for|has run for) ([0-9]+(ms|[hms])( [0-9])?)+/\1 TIME/
s/127.0.0.1:[0-9]+/127.0.0.1:PORT/g
s/([0-9a-f]{8}-[0-9a-f-]{27})/BOOT/g
";

struct Servers {
    redis: Redis,
    postgres: Postgres,
    etcd: Etcd,
}

impl Servers {
    fn start() -> Servers {
        let redis = Redis::with(&["--requirepass", CANARY]);
        let postgres = Postgres::start();
        postgres.tell(&format!("CREATE ROLE alice LOGIN PASSWORD '{CANARY}'; CREATE ROLE weak LOGIN"));
        postgres.admit("host all postgres,weak 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
        Servers { redis, postgres, etcd: Etcd::start() }
    }
}

#[test]
fn every_message_is_said_word_for_word() {
    let written = fs::read_to_string(FILE).unwrap_or_default();
    let servers = Servers::start();
    let mut said = String::new();
    for line in written.lines().filter(|line| line.starts_with('#') || line.starts_with("$ ")) {
        match line.strip_prefix("$ ") {
            Some(typed) => said += &format!("{line}\n{}\n", answer(typed, &servers)),
            None => said += &format!("{line}\n\n"),
        }
    }
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        return fs::write(FILE, said).unwrap();
    }
    for (wanted, found) in cases(&written).zip(cases(&said)) {
        assert_eq!(wanted, found);
    }
    assert_eq!(written, said);
}

fn cases(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n$ ")
}

/// What is said to this, each time in a new folder with a new file store, and the code in brackets where it is not 0.
fn answer(typed: &str, servers: &Servers) -> String {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store").display().to_string();
    let mut command = on_store("sh".as_ref(), &["-c", &format!("exec 2>&1; {typed}")], &store);
    let binaries = Path::new(env!("CARGO_BIN_EXE_vaultlock")).parent().unwrap().display().to_string();
    command.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap())).env("USER", "me").env("LOGNAME", "me");
    command.env("HOME", dir.path()).env("XDG_CONFIG_HOME", dir.path()).env_remove("NO_COLOR").env("SHELL", "/bin/sh");
    command.env("REDIS", format!("127.0.0.1:{}", servers.redis.port)).env("SECRET", CANARY);
    command.env("POSTGRES", format!("127.0.0.1:{}", servers.postgres.port));
    command.env("ETCD", format!("127.0.0.1:{}", servers.etcd.port)).env("NOBODY", format!("127.0.0.1:{}", free_port()));
    let done = command.current_dir(dir.path()).output().unwrap();
    let mut text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(!text.contains(CANARY), "{typed}: {text}");
    text = text.replace(&dir.path().display().to_string(), "DIR").replace(&binaries, "BIN");
    let host = gethostname().unwrap().into_string().unwrap();
    text = text.replace(&format!("{}@{host}", geteuid()), "me@HOST").replace(&format!("me@{host}"), "me@HOST");
    text = steady(&text.replace(&format!("host {host}"), "host HOST"));
    match done.status.code() {
        Some(0) => text,
        code => format!("{text}[{}]\n", code.map_or("signal".to_owned(), |code| code.to_string())),
    }
}

fn steady(text: &str) -> String {
    use std::io::Write;
    let mut sed = Command::new("sed");
    sed.args(["-E", UNSTEADY]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut sed = sed.spawn().unwrap();
    sed.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(sed.wait_with_output().unwrap().stdout).unwrap()
}
