//! What must hold, whoever dies, freezes or stops.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{self, SIGCONT, SIGKILL, SIGSTOP, SIGTERM};

use crate::drive::{GATE, INHERIT, ISOLATE, LEFTOVERS, TTL};
use crate::run::{Run, foreground, parent, send, state, until};

/// A shell, a child of its group, two setsid'ed, a double fork, one that ignores TERM; `ready` when all are there.
const TREE: &str = "trap '' TERM; sleep 1000 & setsid sleep 1000 & (setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & wait' &) ; \
                    (sleep 1000 &) ; echo > $F/ready; wait; wait; sleep 1000";
const TREE_SIZE: usize = 6;

macro_rules! scenes {
    ($($name:ident),* $(,)?) => { pub const ALL: &[(&str, fn())] = &[$((stringify!($name), $name)),*]; };
}

scenes![
    end_codes,
    not_found_not_executable,
    path_and_scripts,
    environment,
    input_and_output,
    descriptors,
    sigpipe_and_nohup,
    mask_is_given_back,
    signals_reach_the_group_once,
    sentry_killed,
    worker_killed,
    worker_killed_while_it_is_looked_at,
    group_killed,
    worker_killed_before_the_job,
    loss_in_the_ordinary_way,
    worker_frozen,
    sentry_frozen_job_lives,
    both_frozen,
    fork_storm,
    leftovers_leave,
    leftovers_kill,
    leftovers_wait,
    stopped_without_a_terminal,
    terminal_stop_and_continue,
    terminal_interrupt,
    terminal_background_read,
    terminal_stop_while_waiting,
    terminal_script_ends_too,
    terminal_sentry_killed,
    terminal_orphaned_group,
    isolate_basics,
    isolate_unprivileged,
    isolate_sentry_killed,
    isolate_both_frozen,
];

fn code(words: &[&str]) -> (Option<i32>, String) {
    let mut run = Run::of(words).start();
    let (status, _, err) = run.end();
    (status.code(), err)
}

fn end_codes() {
    assert_eq!(code(&["true"]).0, Some(0));
    assert_eq!(code(&["sh", "-c", "exit 7"]).0, Some(7));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]).0, Some(143));
    assert_eq!(code(&["sh", "-c", "kill -INT $$"]).0, Some(130));
}

fn not_found_not_executable() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    assert_eq!(code(&["no-such-program-here"]).0, Some(127));
    assert_eq!(code(&["/no/such/program"]).0, Some(127));
    assert_eq!(code(&[""]).0, Some(127));
    assert_eq!(code(&[plain.to_str().unwrap()]).0, Some(126));
    assert_eq!(code(&["/"]).0, Some(126));
}

fn path_and_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "echo $0 $1 > $F/told\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&script).status().unwrap().success());
    let path = format!("/nowhere::{}", folder.path().display());
    let mut run = Run::of(&["script", "one"]).env("PATH", &path).start();
    assert_eq!(run.end().0.code(), Some(0));
    assert_eq!(run.told("told"), format!("{} one", script.display()));
}

fn environment() {
    let mut run = Run::sh("echo $GIVEN-$JOB_TEST_DRIVE-$KEPT").env("KEPT", "kept").start();
    assert_eq!(run.end().1, "yes--kept\n");
}

fn input_and_output() {
    let mut run = Run::sh("cat; echo err >&2");
    run.command.stdin(Stdio::piped());
    let mut run = run.start();
    run.child().stdin.take().unwrap().write_all(b"hello").unwrap();
    let (status, out, err) = run.end();
    assert_eq!((status.code(), &*out, &*err), (Some(0), "hello", "err\n"));
}

fn descriptors() {
    const LIST: &str = "for f in /proc/$$/fd/*; do echo ${f##*/}=$(readlink $f); done";
    let open = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("=pipe") && !line.ends_with('=')).map(str::to_owned).collect()
    };
    let bare = Command::new("sh").args(["-c", LIST]).stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let mut bare = open(&String::from_utf8_lossy(&bare.stdout));
    let kept = tempfile::NamedTempFile::new().unwrap();
    for isolate in [false, true] {
        let run = Run::sh(LIST);
        let run = if isolate { run.env(ISOLATE, "1") } else { run };
        let mut run = run.env(INHERIT, kept.path().to_str().unwrap()).start();
        let (_, out, err) = run.end();
        let mut given = open(&out);
        let before = given.len();
        given.retain(|line| !line.ends_with(kept.path().to_str().unwrap()));
        assert_eq!(before, given.len() + 1, "{out} {err}");
        bare.sort();
        given.sort();
        assert_eq!(given, bare);
        // Pipes: a shell's own, our output and errors, and what cargo gave us.
        assert!(!out.contains("anon_inode"), "{out}");
    }
}

fn status_line(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap()
}

fn sigpipe_and_nohup() {
    let mut run = Run::of(&["cat", "/proc/self/status"]).start();
    assert_eq!(status_line(&run.end().1, "SigIgn") & (1 << (Signal::SIGPIPE as u64 - 1)), 0);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP CHLD; exec $D sh -c 'cat /proc/self/status; echo > $F/ready; read x'"]);
    let mut run = Run::with(nohup);
    run.command.stdin(Stdio::piped());
    let mut run = run.start();
    run.told("ready");
    send(run.sentry(), Signal::SIGHUP);
    drop(run.child().stdin.take());
    let (status, out, _) = run.end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(status_line(&out, "SigIgn") & 1, 1);
}

fn mask_is_given_back() {
    let mut run = Run::of(&["cat", "/proc/self/status"]).start();
    let (_, out, _) = run.end();
    assert_eq!(status_line(&out, "SigBlk"), 0);
    assert_eq!(status_line(&out, "SigPnd"), 0);
}

fn signals_reach_the_group_once() {
    let mut run = Run::sh(
        "trap 'echo usr1 >> $F/got' USR1; trap 'echo term >> $F/got; exit 3' TERM; (trap 'echo child >> $F/got' USR1; \
         echo > $F/child; while :; do sleep 0.02; done) & echo > $F/ready; while :; do sleep 0.02; done",
    )
    .env(LEFTOVERS, "kill")
    .start();
    run.told("ready");
    run.told("child");
    send(run.sentry(), Signal::SIGUSR1);
    until("both", || fs::read_to_string(run.file("got")).is_ok_and(|text| text.lines().count() == 2));
    send(run.sentry(), SIGTERM);
    assert_eq!(run.end().0.code(), Some(3));
    let mut got: Vec<String> = run.told("got").lines().map(str::to_owned).collect();
    got.sort();
    assert_eq!(got, ["child", "term", "usr1"]);
    run.wait_for_none();
}

fn tree() -> Run {
    let run = Run::sh(TREE).env(TTL, "2000").start();
    run.told("ready");
    run.wait_for_count(TREE_SIZE + 2);
    run
}

fn sentry_killed() {
    for _ in 0..10 {
        let mut run = tree();
        send(run.sentry(), SIGKILL);
        let took = run.wait_for_none();
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert_eq!(run.end().0.signal(), Some(9));
    }
}

fn worker_killed() {
    for _ in 0..10 {
        let mut run = tree();
        send(run.worker(), SIGKILL);
        let (status, _, err) = run.end();
        assert_eq!(
            (status.code(), &*err),
            (Some(121), "vaultlock: vaultlock's worker process was killed, and the job with it\n")
        );
        assert!(run.alive().is_empty());
    }
}

/// The kernel does not let go of a dead process while somebody reads its /proc: that may hold up no kill.
fn worker_killed_while_it_is_looked_at() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            let mut run = tree();
            let (worker, sentry) = (run.worker(), run.sentry());
            stop.store(false, Ordering::Relaxed);
            for _ in 0..16 {
                let stop = &stop;
                scope.spawn(move || {
                    let tasks = format!("/proc/{worker}/task");
                    while !stop.load(Ordering::Relaxed) {
                        let _ = fs::read_dir(&tasks).map(|tasks| tasks.count());
                        let _ = fs::read(format!("{tasks}/{worker}/children"));
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            send(worker, SIGKILL);
            until("the end of the job", || run.alive().iter().all(|pid| *pid == sentry));
            let took = start.elapsed();
            stop.store(true, Ordering::Relaxed);
            assert!(took < Duration::from_millis(500), "{took:?}");
            assert_eq!(run.end().0.code(), Some(121));
        }
    });
}

fn group_killed() {
    let mut run = Run::sh(TREE);
    run.command.process_group(0);
    let run = run.start();
    run.wait_for_count(TREE_SIZE + 2);
    send(-run.sentry(), SIGKILL);
    run.wait_for_none();
}

fn worker_killed_before_the_job() {
    let run = Run::of(&["true"]);
    let gate = run.file("gate");
    let mut run = run.env(GATE, gate.to_str().unwrap()).start();
    send(run.worker(), SIGKILL);
    let (status, _, err) = run.end();
    assert_eq!((status.code(), &*err), (Some(125), "vaultlock: vaultlock's worker process was killed before the job started\n"));
}

/// From the last beat to the death of all, with the ttl of 2 s that these scenes have.
const DEAD_BY: Duration = Duration::from_millis(1980);

/// The whole time from the last renewal, at the latest, to the end of all processes.
fn loses(run: &mut Run) -> (Option<i32>, String, Duration) {
    let start = Instant::now();
    run.lose();
    let (status, _, err) = run.end();
    run.wait_for_none();
    (status.code(), err, start.elapsed())
}

fn loss_in_the_ordinary_way() {
    let mut run = tree();
    let (code, err, took) = loses(&mut run);
    assert_eq!((code, &*err), (Some(121), "lost\n"));
    assert!(took < DEAD_BY && took > Duration::from_millis(900), "{took:?}");
    // One that obeys the stop signal has the grace for it.
    let mut run = Run::sh("trap 'echo told > $F/told; exit 0' TERM; echo > $F/ready; while :; do sleep 0.01; done");
    run = run.env(TTL, "2000").start();
    run.told("ready");
    assert_eq!(loses(&mut run).0, Some(121));
    assert_eq!(run.told("told"), "told");
}

fn worker_frozen() {
    let mut run = tree();
    send(run.worker(), SIGSTOP);
    let start = Instant::now();
    let (status, _, err) = run.end();
    run.wait_for_none();
    assert_eq!(
        (status.code(), &*err),
        (Some(121), "vaultlock: the lease was lost (vaultlock was stopped or starved): the job was killed\n")
    );
    assert!(start.elapsed() < DEAD_BY, "{:?}", start.elapsed());
}

fn sentry_frozen_job_lives() {
    let mut run = Run::sh("echo > $F/ready; while [ ! -e $F/go ]; do sleep 0.05; done; exit 5").env(TTL, "1000").start();
    run.told("ready");
    send(run.sentry(), SIGSTOP);
    let start = Instant::now();
    until("three ttls", || start.elapsed() > Duration::from_secs(3));
    assert!(run.alive().len() >= 3);
    fs::write(run.file("go"), "").unwrap();
    until("the worker's end", || run.alive().len() == 1);
    send(run.sentry(), SIGCONT);
    assert_eq!(run.end().0.code(), Some(5));
}

fn both_frozen() {
    let mut run = Run::of(&["sleep", "2000"]).env(TTL, "2000").start();
    run.wait_for_count(3);
    send(run.sentry(), SIGSTOP);
    send(run.worker(), SIGSTOP);
    let start = Instant::now();
    until("the job's end", || run.alive().len() == 1);
    assert!(start.elapsed() < DEAD_BY, "{:?}", start.elapsed());
    send(run.sentry(), SIGCONT);
    assert_eq!(run.end().0.code(), Some(121));
}

fn fork_storm() {
    // A ttl that the storm can not eat up: it is the kill that counts here, not the deadline.
    let run = Run::sh("echo > $F/ready; while :; do setsid sleep 1000 & done");
    let mut run = run.env(TTL, "20000").start();
    run.wait_for_count(100);
    send(run.worker(), SIGKILL);
    assert_eq!(run.end().0.code(), Some(121));
    assert!(run.alive().is_empty());
    let run = Run::sh("echo > $F/ready; while :; do setsid sleep 1000 & done").env(TTL, "20000").start();
    run.wait_for_count(100);
    send(run.sentry(), SIGKILL);
    run.wait_for_none();
}

const LEAVER: &str = "setsid sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 & exit 4";

fn leftovers_leave() {
    let mut run = Run::sh(LEAVER).start();
    assert_eq!(run.end().0.code(), Some(4));
    // One of them is a loop, between two of its children at times.
    until("both leftovers", || run.alive().len() == 2);
}

fn leftovers_kill() {
    let mut run = Run::sh(LEAVER).env(LEFTOVERS, "kill").start();
    let (status, _, err) = run.end();
    assert_eq!((status.code(), &*err), (Some(4), "stragglers 2\n"));
    assert!(run.alive().is_empty());
}

fn leftovers_wait() {
    let mut run = Run::sh("echo $$ > $F/pid; (setsid sh -c 'while [ ! -e $F/go ]; do sleep 0.01; done' &); exit 4")
        .env(LEFTOVERS, "wait")
        .start();
    let pid: i32 = run.told("pid").parse().unwrap();
    until("the job's end", || state(pid) == "Z");
    assert!(run.child().try_wait().unwrap().is_none());
    fs::write(run.file("go"), "").unwrap();
    assert_eq!(run.end().0.code(), Some(4));
    assert!(run.alive().is_empty());
}

fn stopped_without_a_terminal() {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", "exec $D sh -c 'echo $$ > $F/pid; while [ ! -e $F/go ]; do sleep 0.01; done'"]);
    let mut run = Run::with(command).start();
    let pid: i32 = run.told("pid").parse().unwrap();
    send(pid, SIGSTOP);
    until("the stop", || state(pid) == "T");
    assert_eq!(state(run.sentry()), "S");
    send(pid, SIGCONT);
    fs::write(run.file("go"), "").unwrap();
    assert_eq!(run.end().0.code(), Some(0));
}

/// An interactive bash on a terminal of its own.
struct Terminal {
    run: Run,
    ours: File,
    seen: String,
}

impl Terminal {
    fn bash() -> Terminal {
        Terminal::of(&["bash", "--norc", "--noprofile", "-i"])
    }

    fn of(words: &[&str]) -> Terminal {
        let pair = nix::pty::openpty(None, None).unwrap();
        let slave: OwnedFd = pair.slave;
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words);
        let mut run = Run::with(command).env(TTL, "1000").env("PS1", "$ ").env("HISTFILE", "").env("TERM", "xterm");
        run.command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let mut run = run.start();
        run.command = Command::new("true");
        Terminal { run, ours: pair.master.into(), seen: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the job has the terminal: what is typed before goes to bash, or to nobody.
    fn wait_for_job(&self) {
        let bash = self.run.sentry();
        until("the job in the foreground", || {
            let group = foreground(bash);
            group != bash && parent(group) != bash && !matches!(&*state(group), "T" | "")
        });
    }

    /// Waits for bash's prompt: a Ctrl-C throws away what is typed ahead.
    fn wait_for_prompt(&mut self) {
        self.expect("$ ");
    }

    /// A background job's stop is told on request only; bash may still think of the stop before.
    fn wait_for_stop(&mut self, text: &str) {
        until(text, || {
            self.type_in("jobs\n");
            self.expect("jobs\r\n");
            self.expect("$ ").contains(text)
        });
    }

    /// Reads on until `text` has appeared; forgets everything up to it, and returns it.
    fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            let mut set = [nix::poll::PollFd::new(self.ours.as_fd(), nix::poll::PollFlags::POLLIN)];
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let pids: Vec<String> = self.run.alive().iter().map(i32::to_string).collect();
                let list = Command::new("ps")
                    .args(["-o", "pid,ppid,pgid,tpgid,stat,wchan:20,pending,args", "-p", &pids.join(",")])
                    .output()
                    .unwrap();
                panic!("waited for {text:?} in vain, saw {:?}\n{}", self.seen, String::from_utf8_lossy(&list.stdout));
            }
            if nix::poll::poll(&mut set, nix::poll::PollTimeout::try_from(left).unwrap()).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let count = self.ours.read(&mut buffer).unwrap_or(0);
                assert!(count > 0, "the terminal hung up before {text:?}, saw {:?}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }
}

fn terminal_stop_and_continue() {
    let mut t = Terminal::bash();
    t.type_in("$D sh -c 'echo rea''dy; read x; echo got-$x'\n");
    t.expect("ready");
    t.type_in("\x1a");
    t.expect("Stopped");
    // Longer than the ttl: the lease is renewed while the job is stopped.
    let start = Instant::now();
    until("two ttls", || start.elapsed() > Duration::from_secs(2));
    t.type_in("fg\n");
    t.wait_for_job();
    t.expect("echo got");
    t.type_in("line\n");
    t.expect("got-line");
    t.type_in("echo code=$?\n");
    t.expect("code=0");
    // Stopped twice, continued in the background, back to the foreground.
    t.type_in("$D sh -c 'echo ag''ain; read x; echo got-$x'\n");
    t.expect("again");
    t.type_in("\x1a");
    t.expect("Stopped");
    t.wait_for_prompt();
    t.type_in("bg\n");
    t.expect(" &\r\n");
    t.wait_for_prompt();
    t.wait_for_stop("Stopped");
    t.type_in("fg\n");
    t.wait_for_job();
    t.expect("echo got");
    t.type_in("\x1a");
    t.expect("Stopped");
    t.wait_for_prompt();
    t.type_in("fg\n");
    t.wait_for_job();
    t.expect("echo got");
    t.type_in("more\n");
    t.expect("got-more");
    t.type_in("stty -a | grep -o isig; echo fine\n");
    t.expect("fine");
}

// Jobs here wait in a builtin: dash starts programs by vfork, and a Ctrl-Z meanwhile leaves it stuck, with us or without.
fn terminal_interrupt() {
    let mut t = Terminal::bash();
    t.type_in("$D sh -c 'echo rea''dy; read x'\n");
    t.expect("ready");
    t.type_in("\x03");
    t.wait_for_prompt();
    t.type_in("echo code=$?\n");
    t.expect("code=130");
    t.type_in("$D sh -c 'echo rea''dy; read x'; true\n");
    t.expect("ready");
    t.type_in("\x1a");
    t.expect("Stopped");
    // Killed while stopped, the sentry must wake up to say so.
    let bash = t.run.sentry();
    let job = t.run.alive().into_iter().find(|pid| parent(parent(*pid)) != bash && parent(parent(parent(*pid))) == bash).unwrap();
    send(job, SIGKILL);
    until("only bash", || t.run.alive().len() == 1);
    t.type_in("jobs\n");
    t.expect("Exit 137");
}

fn terminal_background_read() {
    let mut t = Terminal::bash();
    t.type_in("$D cat &\n");
    t.expect("[1]");
    t.wait_for_prompt();
    t.wait_for_stop("Stopped");
    t.type_in("fg\n");
    t.wait_for_job();
    t.type_in("typed\n");
    t.expect("typed\r\ntyped\r\n");
    t.type_in("\x04");
    t.type_in("echo code=$?\n");
    t.expect("code=0");
}

fn terminal_stop_while_waiting() {
    let mut t = Terminal::bash();
    t.type_in("JOB_TEST_GATE=$F/gate $D sh -c 'echo rea''dy; read x; echo got-$x'\n");
    t.expect("got-");
    until("a worker", || t.run.alive().len() == 3);
    t.type_in("\x1a");
    t.expect("Stopped");
    fs::write(t.run.file("gate"), "").unwrap();
    t.type_in("fg\n");
    t.wait_for_job();
    t.expect("ready");
    t.type_in("line\n");
    t.expect("got-line");
}

fn terminal_script_ends_too() {
    for shell in ["bash", "dash"] {
        let mut t = Terminal::bash();
        t.type_in(&format!("{shell} -c '$D sh -c \"echo rea\"\"dy; read x\"; echo on-$((1+1))'\n"));
        t.expect("\rready");
        t.type_in("\x03");
        t.wait_for_prompt();
        t.type_in("echo code=$?\n");
        t.expect("code=130");
        assert!(!t.seen.contains("on-2"));
    }
}

fn terminal_sentry_killed() {
    let mut t = Terminal::bash();
    t.type_in("$D sh -c 'echo rea''dy; sleep 1000'\n");
    t.expect("\rready");
    let comm = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let bash = t.run.sentry();
    let sentry = t.run.alive().into_iter().find(|pid| parent(*pid) == bash && comm(pid) != "bash\n").unwrap();
    send(sentry, SIGKILL);
    t.expect("Killed");
    t.type_in("echo code=$?\n");
    t.expect("code=137");
    until("only bash", || t.run.alive().len() == 1);
}

fn terminal_orphaned_group() {
    // No shell above: a Ctrl-Z is dropped, as it would be without us.
    let driver = std::env::current_exe().unwrap();
    let mut t = Terminal::of(&[driver.to_str().unwrap(), "sh", "-c", "echo ready; read x; echo got-$x"]);
    t.expect("ready");
    t.type_in("\x1a");
    t.expect("^Z");
    t.type_in("line\n");
    t.expect("got-line");
    until("the end", || t.run.alive().is_empty());
}

fn isolate_basics() {
    let mut run =
        Run::sh("echo $$; ps -e | wc -l; ls -d /proc/[0-9]* | wc -l; setsid sleep 1000 & exit 9").env(ISOLATE, "1").start();
    let (status, out, err) = run.end();
    assert_eq!(status.code(), Some(9), "{err}");
    assert!(out.starts_with("2\n"), "{out}");
    assert!(run.alive().is_empty());
    let mut run = Run::of(&["no-such-program-here"]).env(ISOLATE, "1").start();
    assert_eq!(run.end().0.code(), Some(127));
    let mut run = Run::sh("kill -KILL $$").env(ISOLATE, "1").start();
    assert_ne!(run.end().0.code(), Some(0));
}

fn isolate_unprivileged() {
    let driver = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let copy = driver.path().join("driver");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    assert!(Command::new("chmod").arg("755").arg(driver.path()).arg(&copy).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(["sh", "-c", "id -u; echo $$"]);
    let mut run = Run::with(command).env(ISOLATE, "1").start();
    let (status, out, err) = run.end();
    assert_eq!((status.code(), &*out), (Some(0), "65534\n2\n"), "{err}");
}

const DAEMONS: &str = "i=0; while [ $i -lt 200 ]; do (setsid sleep 1000 &); i=$((i+1)); done; echo > $F/ready; sleep 1000";

fn isolated_daemons() -> Run {
    let run = Run::sh(DAEMONS).env(ISOLATE, "1").env(TTL, "2000").start();
    run.told("ready");
    run.wait_for_count(204);
    run
}

fn isolate_sentry_killed() {
    let run = isolated_daemons();
    send(run.sentry(), SIGKILL);
    run.wait_for_none();
}

fn isolate_both_frozen() {
    let mut run = isolated_daemons();
    send(run.sentry(), SIGSTOP);
    send(run.worker(), SIGSTOP);
    let start = Instant::now();
    until("the job's end", || run.alive().len() == 1);
    assert!(start.elapsed() < DEAD_BY, "{:?}", start.elapsed());
    send(run.sentry(), SIGCONT);
    assert_eq!(run.end().0.code(), Some(121));
}
