//! A lock across the steps of a script: the keeper takes nothing of its caller's, lives as long as the script and no longer,
//! and whoever of it is killed or frozen, the script is dead before the next one has the lock.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGINT, SIGKILL, SIGSTOP};

use crate::running::keeper_of;
use crate::vault::{BINARY, Done, Running, Vault, is_alive, is_root, send, send_all, stays, wait_for};

/// Logs until it is told to go; does not obey TERM.
const WORK: &str = "trap '' TERM; while [ ! -e $F/go ]; do echo first >> $F/log; sleep 0.02; done";

/// A script that holds the lock.
struct Script {
    vault: Vault,
    shell: Running,
    handle: String,
    /// Sentry, worker and standby.
    keeper: [i32; 3],
}

impl Script {
    /// One that acquires with these words, and goes on to `work`.
    fn new(words: &str, work: &str) -> Script {
        let vault = Vault::new();
        let script = format!("exec 7> $F/seven; h=$($V acquire {words} --while-pid $$ 2>&1); echo \"$? $h\" > $F/told; {work}");
        let shell = vault.start(vault.wrap("sh", &["-c", &script]));
        let told = vault.told("told");
        let handle = told.strip_prefix("0 ").unwrap_or_else(|| panic!("{told}")).to_owned();
        let keeper = keeper_of(shell.sentry()).expect("a keeper");
        Script { vault, shell, handle, keeper }
    }

    /// The same, that is at work.
    fn at_work(words: &str) -> Script {
        let script = Script::new(words, WORK);
        script.vault.told_any("log");
        script
    }

    fn pid(&self) -> i32 {
        self.shell.sentry()
    }

    fn say(&self, verb: &str) -> Done {
        self.vault.say(&[verb, &self.handle])
    }

    /// Another waits for the lock, which a blow to the keeper brings it; the script is dead by then, and so is the keeper.
    fn hands_over(self, blow: impl Fn(&Script)) {
        let next = self.vault.spawn(&[], "x", &["sh", "-c", "for i in 1 2 3; do echo second >> $F/log; sleep 0.05; done"]);
        self.vault.wait_for_waiting("x", 1);
        blow(&self);
        next.end().was_silent(0);
        let log = self.vault.text("log");
        let turn = log.find("second").unwrap();
        assert!(!log[turn..].contains("first"), "the script lived on:\n{log}");
        let status = self.shell.end();
        assert_eq!(status.code, -9, "{status:?}");
        wait_for("the keeper's end", || !self.keeper.iter().any(|pid| is_alive(*pid)));
        assert_eq!(self.vault.say(&["check", &self.handle]).code, 121);
        assert_eq!(self.vault.traces("x"), Vec::<std::path::PathBuf>::new());
    }
}

fn free(vault: &Vault, name: &str) -> bool {
    vault.status(name)["holders"].as_array().unwrap().is_empty()
}

fn link(pid: i32, what: &str) -> String {
    fs::read_link(format!("/proc/{pid}/{what}")).map(|to| to.display().to_string()).unwrap_or_default()
}

#[test]
fn a_command_substitution_returns_and_nothing_of_the_callers_is_kept() {
    let script = Script::at_work("x");
    let holder = &script.vault.status("x")["holders"][0];
    assert_eq!((holder["pid"].as_i64(), script.handle.len()), (Some(script.pid().into()), 35), "{holder}");
    let store = script.vault.store().display().to_string();
    for pid in script.keeper {
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let (number, to) = (fd.file_name(), link(pid, &format!("fd/{}", fd.file_name().display())));
            let ours = to.starts_with(&store) || to == "/dev/null" || to.starts_with("anon_inode:");
            let inner = (to.starts_with("pipe:") || to.starts_with("socket:")) && number != "0" && number != "1" && number != "2";
            assert!(ours || inner, "{number:?} is {to}");
        }
        assert_eq!(link(pid, "cwd"), "/");
        let session = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().split(' ').nth(5).unwrap().to_owned();
        assert_eq!(session(pid), script.keeper[0].to_string());
        // CI's runners kill by what stands here.
        assert!(fs::read(format!("/proc/{pid}/environ")).unwrap().iter().all(|byte| *byte == 0));
    }
    // Every pipe has both its ends in the keeper: none is the caller's.
    let pipes =
        |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(move |fd| fs::read_link(fd.path()).unwrap());
    let callers: Vec<_> = pipes(script.pid()).filter(|to| to.display().to_string().starts_with("pipe:")).collect();
    assert!(script.keeper.iter().flat_map(|pid| pipes(*pid)).all(|pipe| !callers.contains(&pipe)));
    script.vault.write("go", "");
    script.shell.end().was_silent(0);
    wait_for("the lock to be free", || free(&script.vault, "x"));
}

#[test]
fn release_gives_it_back_before_it_returns_and_a_used_handle_is_none_any_more() {
    let script = Script::new("x y", "sleep 1000; :");
    assert_eq!((script.say("check").code, free(&script.vault, "x"), free(&script.vault, "y")), (0, false, false));
    script.vault.run(&["-n"], "y", &["true"]).said_one_line(75, &["y is busy: held by", &format!("pid {}", script.pid())]);
    script.say("release").was_silent(0);
    assert!(free(&script.vault, "x") && free(&script.vault, "y"));
    for verb in ["release", "check"] {
        script.say(verb).said_one_line(121, &["this handle holds no lock (any more)"]);
        let forged = format!("{}{}", &script.handle[..34], if script.handle.ends_with('0') { '1' } else { '0' });
        assert_eq!(script.vault.say(&[verb, &forged]).code, 121);
        let wrong = script.vault.say(&[verb, &script.handle[1..]]);
        wrong.said_one_line(64, &["this is no handle"]);
        assert!(!wrong.err.contains(&script.handle[4..]));
    }
    wait_for("the keeper's end", || !script.keeper.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn on_a_terminal_the_lock_is_kept_for_the_shell_that_asked() {
    let vault = Vault::new();
    let pair = nix::pty::openpty(None, None).unwrap();
    let mut shell = vault.wrap("sh", &["-c", "$V acquire x; echo $? > $F/code; sleep 1000; :"]);
    let mut shell = shell.stdout(pair.slave).spawn().unwrap();
    assert_eq!(vault.told("code"), "0");
    assert_eq!(vault.status("x")["holders"][0]["pid"].as_u64(), Some(shell.id().into()));
    let mut said = [0; 64];
    let count = nix::unistd::read(&pair.master, &mut said).unwrap();
    assert_eq!(vault.say(&["check", String::from_utf8_lossy(&said[..count]).trim_end()]).code, 0);
    shell.kill().unwrap();
    shell.wait().unwrap();
    wait_for("the lock to be free", || free(&vault, "x"));
}

#[test]
fn two_handles_are_two_locks() {
    let script = Script::new("x", "g=$($V acquire y --while-pid $$); echo $g > $F/other; sleep 1000");
    let other = script.vault.told("other");
    assert_ne!(script.handle, other);
    script.say("release").was_silent(0);
    assert_eq!((free(&script.vault, "x"), free(&script.vault, "y")), (true, false));
    script.vault.say(&["check", &other]).was_silent(0);
    script.vault.say(&["release", &other]).was_silent(0);
    assert!(free(&script.vault, "y") && is_alive(script.pid()));
    send(script.pid(), SIGKILL);
}

#[test]
fn a_script_that_is_killed_gives_its_lock_back() {
    let script = Script::at_work("x");
    send(script.pid(), SIGKILL);
    wait_for("the lock to be free", || free(&script.vault, "x"));
    wait_for("the keeper's end", || !script.keeper.iter().any(|pid| is_alive(*pid)));
    assert_eq!(script.say("release").code, 121);
}

#[test]
fn whoever_of_the_keeper_is_killed_the_script_is_dead_before_the_next_one_starts() {
    for struck in [&[0][..], &[1], &[2], &[0, 1]] {
        let blow = |script: &Script| send_all(&struck.iter().map(|at| script.keeper[*at]).collect::<Vec<_>>(), SIGKILL);
        Script::at_work("x").hands_over(blow);
    }
}

#[test]
fn whoever_of_the_keeper_is_frozen_the_script_ends_inside_its_lease() {
    for struck in [&[1][..], &[0, 1]] {
        Script::at_work("--ttl 1s x").hands_over(|script| {
            send_all(&struck.iter().map(|at| script.keeper[*at]).collect::<Vec<_>>(), SIGSTOP);
            wait_for("the script's end", || !is_alive(script.pid()));
            // On this store a frozen process keeps the lock for as long as it exists.
            send(script.keeper[0], SIGKILL);
        });
    }
}

#[test]
fn a_script_that_is_only_to_be_told_runs_on() {
    let script = Script::at_work("--on-loss tell x");
    script.say("check").was_silent(0);
    send(script.keeper[1], SIGKILL);
    wait_for("the keeper's end", || !script.keeper.iter().any(|pid| is_alive(*pid)));
    script.vault.run(&["-n"], "x", &["true"]).was_silent(0);
    assert_eq!((script.say("check").code, script.say("release").code), (121, 121));
    let before = script.vault.text("log").len();
    wait_for("more of the script's work", || script.vault.text("log").len() > before);
    script.vault.write("go", "");
    script.shell.end().was_silent(0);
}

#[test]
fn a_script_may_run_for_so_long_and_no_longer() {
    let script = Script::at_work("--max-run 0.3 -k 0.2 x");
    assert_eq!(script.shell.end().code, -9);
    wait_for("the lock to be free", || free(&script.vault, "x"));
}

#[test]
fn one_that_waits_ends_as_a_run_would_and_leaves_nothing_in_the_queue() {
    let vault = Vault::new();
    let holder = vault.hold(&[], "x");
    let me = std::process::id().to_string();
    let acquire = |words: &[&str]| vault.command(&[&["acquire", "x", "--while-pid"], words].concat());
    for (words, code) in [(&["-n"][..], 75), (&["-w", "0.1"], 75), (&["-n", "-E", "9"], 9)] {
        let done = vault.start(acquire(&[&[me.as_str()], words].concat())).end();
        done.said_one_line(code, &["x is busy: held by"]);
        assert_eq!(done.out, "");
    }
    // A Ctrl-C, a killed caller, and a process that ends while it waits for the lock of which it was to be the reason.
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    let waiting = [me.as_str(), me.as_str(), &sleeper.id().to_string()].map(|pid| {
        let running = vault.start(acquire(&[pid]));
        vault.wait_for_waiting("x", 1);
        match pid == me {
            true if running.err().is_empty() && !vault.file("struck").exists() => {
                vault.write("struck", "");
                running.send(SIGINT);
            }
            true => running.send(SIGKILL),
            false => {
                sleeper.kill().unwrap();
                sleeper.wait().unwrap();
            }
        }
        vault.wait_for_waiting("x", 0);
        running.end()
    });
    assert_eq!(waiting.each_ref().map(|done| done.code), [130, -9, 125], "{waiting:?}");
    waiting[2].said_one_line(125, &["has ended, for which the lock was to be kept"]);
    vault.let_go("x");
    holder.end().was_silent(0);
}

#[test]
fn a_process_that_can_not_be_watched_is_refused_before_anything_is_asked() {
    let vault = Vault::new();
    let refused = |vault: &Vault, words: &[&str], part: &str| {
        vault.say(&[&["acquire", "x"], words].concat()).said_one_line(64, &[part]);
        assert!(!vault.store().exists());
    };
    refused(&vault, &[], "--while-pid is needed where standard output is no terminal");
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    refused(&vault, &["--while-pid", &dead.id().to_string()], "there is no process");
    // A number that was somebody else's when it was typed.
    let script = "read pid < $F/pid; exec $V acquire x --while-pid $pid";
    nix::unistd::mkfifo(&vault.file("pid"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let typed = vault.start(vault.wrap("sh", &["-c", script]));
    thread::sleep(Duration::from_millis(30));
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(vault.file("pid"), format!("{}\n", stranger.id())).unwrap();
    typed.end().said_one_line(64, &["is younger than this vaultlock"]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn what_the_config_file_says_of_the_lock_holds_for_it_as_for_a_run() {
    let vault = Vault::new();
    let config =
        vault.write("config.toml", "[defaults]\nttl = \"7s\"\nstragglers = \"wait\"\n\n[[locks]]\nname = \"x\"\nslots = 2\n");
    let me = std::process::id().to_string();
    let acquire = ["--config", config.to_str().unwrap(), "acquire", "--while-pid", &me, "x"];
    let handles = [(), ()].map(|()| vault.say(&acquire).out);
    vault.say(&[&acquire[..], &["-n"]].concat()).said_one_line(75, &["x is busy"]);
    let status = vault.status("x");
    assert_eq!((status["holders"].as_array().unwrap().len(), &status["slots"]), (2, &serde_json::json!(2)), "{status}");
    for handle in handles {
        vault.say(&["release", handle.trim_end()]).was_silent(0);
    }
}

#[test]
fn a_process_of_another_user_is_watched_only_if_it_need_not_be_stopped() {
    let vault = Vault::new();
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let binary = shared.path().join("vaultlock");
    // Not by this process: what it forks meanwhile would hold the file open, and nobody could execute it.
    assert!(Command::new("cp").args([BINARY.as_ref(), binary.as_os_str()]).status().unwrap().success());
    let acquire = |words: &[&str]| {
        // Process 1 is root's. Whoever tests as root becomes nobody.
        let mut command = vault.wrap(binary.to_str().unwrap(), &[&["acquire", "x", "--while-pid", "1"], words].concat());
        command.env("VAULTLOCK_STORE", shared.path().join("store"));
        if is_root() {
            command.uid(65534);
        }
        vault.start(command).end()
    };
    acquire(&[]).said_one_line(64, &["process 1 belongs to another user", "--on-loss tell"]);
    let done = acquire(&["--on-loss", "tell"]);
    done.was_silent(0);
    let mut release = Command::new(&binary);
    release.args(["release", done.out.trim_end()]).env("VAULTLOCK_STORE", shared.path().join("store"));
    if is_root() {
        release.uid(65534);
    }
    vault.start(release).end().was_silent(0);
}

#[test]
fn a_job_asks_whether_its_run_still_holds() {
    let vault = Vault::new();
    let script = "trap '' TERM; $V check && echo $? > $F/held; l=$(echo $F/store/*/x/ledger); rm -r $l; mkdir -m 700 $l; $V check; echo $? > $F/lost";
    vault.run(&[], "x", &["sh", "-c", script]);
    assert_eq!((vault.told("held"), vault.told("lost")), ("0".into(), "121".into()));
    vault.say(&["check"]).said_one_line(64, &["there is no run around this process"]);
    stays("nobody is left", Duration::from_millis(50), || vault.alive().is_empty());
}
