//! A password is seen by the server alone.

use std::fs;

use crate::stage::{Done, Running, Stage, wait_for};
use crate::support::proxy::{Proxy, Way, parrot};
use crate::support::redis::{Server, free_port};
use crate::support::verdict::CANARY;

const END: &str = "max_ttl=3s&fresh=true";

/// A server that wants the canary, and a stage that knows it by its URL.
fn scene() -> (Server, Stage) {
    let server = Server::with(&["--requirepass", CANARY]);
    let stage = Stage::on(format!("redis://:{CANARY}@127.0.0.1:{}/?{END}", server.port));
    (server, stage)
}

#[track_caller]
fn clean(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    assert!(!text.contains(CANARY), "{what}: {text}");
}

#[track_caller]
fn clean_done(what: &str, done: &Done) {
    clean(what, done.out.as_bytes());
    clean(what, done.err.as_bytes());
}

fn proc_file(pid: i32, name: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{name}")).unwrap()
}

/// The job's process, as it wrote it down.
fn job_of(stage: &Stage) -> i32 {
    wait_for("the job", || stage.text("pid").ends_with('\n'));
    stage.text("pid").trim().parse().unwrap()
}

/// The words `vaultlock` set in the environment of the job.
fn words_of_the_job(stage: &Stage) -> String {
    let environ = String::from_utf8_lossy(&proc_file(job_of(stage), "environ")).into_owned();
    environ.split('\0').filter(|word| word.starts_with("VAULTLOCK_")).collect::<Vec<&str>>().join("\n")
}

#[test]
fn a_password_from_the_environment_shows_nowhere() {
    let (server, stage) = scene();
    let holder = stage.hold(&["-v"], &[]);
    let waiter = stage.wait_behind(&["-v"], &[]);
    for pid in stage.alive() {
        // The job's own helpers come and go.
        clean("a command line", &fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    }
    clean("the job's environment", &proc_file(job_of(&stage), "environ"));
    let words = words_of_the_job(&stage);
    assert!(words.contains(&format!("VAULTLOCK_STORE=redis://127.0.0.1:{}/?", server.port)), "{words}");
    for words in [&["status"][..], &["status", "x", "--json"], &["-v", "status"], &["run", "-n", "x", "true"]] {
        clean_done(&words.join(" "), &stage.say(words));
    }
    stage.let_go();
    for run in [holder, waiter] {
        let done: Done = Running::end(run);
        assert_eq!(done.code, 0);
        clean_done("-v", &done);
    }
    for key in server.ask(&["KEYS", "*"]).split(' ') {
        clean(key, server.ask(&["DUMP", key]).as_bytes());
    }
}

#[test]
fn a_password_from_rediscli_auth_gets_into_no_word_of_ours() {
    let server = Server::with(&["--requirepass", CANARY]);
    let stage = Stage::new(&server.url());
    let script = stage.file("job").display().to_string();
    let mut command = stage.command(&["run", "-v", "x", "--", "sh", &script]);
    command.env("REDISCLI_AUTH", CANARY);
    let holder = stage.start(command);
    clean("VAULTLOCK_*", words_of_the_job(&stage).as_bytes());
    for pid in stage.alive() {
        clean("a command line", &proc_file(pid, "cmdline"));
    }
    stage.let_go();
    let done = holder.end();
    clean_done("-v", &done);
    assert_eq!(done.code, 0);
}

#[test]
fn a_password_on_the_command_line_works_and_earns_a_warning() {
    let (_server, known) = scene();
    let stage = Stage::on(String::new());
    let words = ["--store", known.url(), "run", "x", "--", "sh", "-c", "env; cat /proc/self/cmdline"];
    let done = stage.say(&words);
    done.said_one_line(0, &["the password in --store can be read by everyone on this host"]);
    clean_done("the job's output", &done);
    assert!(done.out.contains("VAULTLOCK_STORE=redis://127.0.0.1:"));
    let quiet = stage.say(&[&["-q"], &words[..]].concat());
    quiet.was_silent(0);
    let server = Server::with(&["--requirepass", CANARY]);
    let socket = format!("{}?pass={CANARY}&{END}", server.socket_url());
    let done = stage.say(&["--store", &socket, "run", "x", "--", "env"]);
    done.said_one_line(0, &["the password in --store can be read"]);
    clean_done("the job's output", &done);
}

#[test]
fn a_run_inside_a_job_whose_store_keeps_its_password_needs_a_store_of_its_own() {
    let (_server, stage) = scene();
    let nested = |options: &str| {
        let script = format!("$V run -n {options} y -- echo inside");
        let mut command = stage.command(&["run", "x", "-c", &script]);
        command.env("OWN", stage.url()).env("SHELL", "/bin/sh");
        stage.start(command).end()
    };
    let refused = nested("");
    refused.said_one_line(125, &["keeps its store's user and password", "--store or $VAULTLOCK_STORE"]);
    assert_eq!(refused.out, "");
    assert_eq!(nested("--if-unavailable run").code, 125, "a missing password is no server out of reach");
    for own in ["--store $OWN", "--store $F/files"] {
        let done = nested(own);
        assert_eq!((done.code, done.out.as_str()), (0, "inside\n"), "{own}: {}", done.err);
    }
    let script = "VAULTLOCK_STORE=$OWN $V run -n x -- echo inside";
    let mut command = stage.command(&["run", "x", "-c", script]);
    command.env("OWN", stage.url()).env("SHELL", "/bin/sh");
    stage.start(command).end().said_one_line(64, &["x is already held by the enclosing run"]);
    let script = "VAULTLOCK_STORE=$OWN $V run -n y -- env";
    let mut command = stage.command(&["run", "x", "-c", script]);
    command.env("OWN", stage.url()).env("SHELL", "/bin/sh");
    let done = stage.start(command).end();
    assert!(done.code == 0 && done.out.lines().filter(|line| line.contains(CANARY)).all(|line| line.starts_with("OWN=")));
}

#[test]
fn a_store_without_a_password_is_handed_down() {
    let server = Server::start();
    let stage = Stage::new(&server.url());
    let done = stage.run(&[], &["sh", "-c", "$V run -n y -- echo inside; $V run -n x -- echo never"]);
    assert_eq!((done.code, done.out.as_str()), (64, "inside\n"));
    done.said_one_line(64, &["x is already held by the enclosing run"]);
}

#[test]
fn no_failure_quotes_a_password() {
    let locked = Server::with(&["--requirepass", "another"]);
    let open = Server::start();
    let right = Server::with(&["--requirepass", CANARY]);
    right.tell(&["ACL", "SETUSER", "weak", "on", &format!(">{CANARY}")]);
    let replica = Server::with(&["--requirepass", CANARY]);
    replica.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    let deaf = Proxy::before(right.port);
    deaf.to_client(Way::Swallow);
    let cut = Proxy::before(right.port);
    cut.to_server(Way::CutAfter(20));
    let quoting = parrot(b"-ERR unknown command 'AUTH', with args beginning with: 'c4n4ry-s3cret'\r\n");
    let mirror = parrot(b"-c4n4ry-s3cret c4n4ry-s3cret\r\n");
    let http = parrot(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let at = |port: u16| format!("redis://:{CANARY}@127.0.0.1:{port}/?{END}");
    let urls = [
        at(locked.port),
        at(open.port),
        at(replica.port),
        at(deaf.port),
        at(cut.port),
        at(quoting),
        at(mirror),
        at(http),
        at(free_port()),
        at(right.port).replace("redis://", "rediss://"),
        at(right.port).replace("redis://:", "redis://weak:"),
        at(right.port).replace("redis://:", "redis://nobody:"),
        at(right.port).replace("/?", "/99?"),
        at(right.port).replace("max_ttl=3s", "max_ttl=2s"),
        at(right.port).replace("fresh=true", "fresh=perhaps"),
        format!("redis://:{CANARY}@no-such-host.invalid/"),
        format!("redis://:{CANARY}@h:99999/"),
        format!("redis://:{CANARY}@h/x"),
        format!("redis://:{CANARY}%zz@h/"),
        format!("redis://:{CANARY}@ho st/"),
        format!("redis://me:1/{CANARY}@h/0"),
        format!("redis://me:1?{CANARY}@h/0"),
        format!("redis://me:1#{CANARY}@h/0"),
        format!("redis://me:{CANARY}"),
        format!("postgres://me:{CANARY}@h/"),
        format!("nothing://me:{CANARY}@h/"),
        format!("redis+unix:///nowhere/x.sock?pass={CANARY}"),
        format!("redis+unix://me:{CANARY}@/nowhere/x.sock"),
        format!("rediss://:{CANARY}@127.0.0.1:{}/?cacert=/nowhere", right.port),
    ];
    Stage::on(at(right.port)).run(&[], &["true"]).was_silent(0);
    for url in urls {
        let stage = Stage::on(url.clone());
        let done = stage.run(&["--ttl", "1s", "-v"], &["echo", "ran"]);
        assert!(matches!(done.code, 64 | 125) && done.out.is_empty() && !done.err.is_empty(), "{url} {done:?}");
        clean_done(&url, &done);
        let status = stage.say(&["status", "x", "--json"]);
        assert!(status.code != 0 || url.contains("max_ttl=2s"), "{url}: {status:?}");
        clean_done(&url, &status);
    }
}

#[test]
fn a_nested_run_finds_the_password_where_its_job_may_read_it() {
    let (server, stage) = scene();
    let url = format!("redis://:{CANARY}@127.0.0.1:{}/?{END}", server.port);
    fs::write(stage.file("url"), &url).unwrap();
    let nested = ["run", "x", "--", crate::stage::BINARY, "run", "y", "--", "true"];
    let refused = stage.say(&nested);
    assert_eq!(refused.code, 125, "{}", refused.err);
    assert!(refused.err.contains("keeps its store's user and password"), "{}", refused.err);
    let mut told = stage.command(&nested);
    told.env("VAULTLOCK_STORE_FILE", stage.file("url"));
    let done = stage.start(told).end();
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    // Another server's password is not sent to this one.
    fs::write(stage.file("url"), url.replace("127.0.0.1", "127.0.0.2")).unwrap();
    let mut other = stage.command(&nested);
    other.env("VAULTLOCK_STORE_FILE", stage.file("url"));
    assert_eq!(stage.start(other).end().code, 125);
}
