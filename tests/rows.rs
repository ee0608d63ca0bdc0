//! Bad input on every engine, a row a test: names, sizes, damage, numbers, secrets and text that wants to act.
//!
//! The other rows are tested where they arise. Of the file store: names on file systems that fold them, planted links and
//! FIFOs, modes and owners, locks that others could take, foreign file systems (S2, S5 to S8: end_to_end/store_file.rs,
//! end_to_end/damage.rs). Of servers: what a user with few rights can do (S9: each engine's doctor and entry), a password on
//! a command line or in a job's environment (S11: secrets.rs and refusals.rs of each), TLS (S13: each engine's entry).

#[path = "redis_run/log.rs"]
pub mod log;
#[path = "redis_run/stage.rs"]
pub mod stage;
pub mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use serde_json::Value;
use stage::{Stage, send, wait_for};
use support::claims::{done, enter, hold, lock, ticket};
use support::etcd::Etcd;
use support::postgres::Postgres;
use support::redis::Server as Redis;
use support::running::is_alive;
use support::verdict::CANARY;
use tempfile::TempDir;
use vaultlock::store::Store;
use vaultlock::store::locate::Location;

const MOST: Duration = Duration::from_secs(6);

/// A store whose ledger of the lock `x` can be overwritten.
trait Place {
    fn url(&self) -> String;
    fn ledger(&self) -> String;
    fn forge(&self, ledger: &str);
    /// Puts the second ledger of the lock back in place of a forged one.
    fn mend(&self, second: &str) {
        self.forge(second);
    }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let files = fs::read_dir(self.0.path().join("store").join(boot.trim()).join("x/ledger")).unwrap();
        let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        files.map(|entry| entry.unwrap().path()).max_by_key(number).expect("a ledger")
    }
}

impl Place for Folder {
    fn url(&self) -> String {
        self.0.path().join("store").display().to_string()
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn forge(&self, ledger: &str) {
        fs::write(self.file(), ledger).unwrap();
    }
}

impl Place for Redis {
    fn url(&self) -> String {
        format!("{}?max_ttl=6s&fresh=true", Redis::url(self))
    }

    fn ledger(&self) -> String {
        self.ask(&["HGET", "vaultlock:{x}", "ledger"])
    }

    fn forge(&self, ledger: &str) {
        self.tell(&["HSET", "vaultlock:{x}", "ledger", ledger]);
    }
}

/// One that lets in whoever this is, so that its URL names no user and goes to the job as it is.
struct Database(Postgres);

impl Database {
    fn new() -> Database {
        let server = Postgres::start();
        let me = User::from_uid(geteuid()).unwrap().unwrap().name;
        server.tell(&format!("CREATE ROLE \"{me}\" SUPERUSER LOGIN"));
        Database(server)
    }
}

impl Place for Database {
    fn url(&self) -> String {
        format!("postgres://127.0.0.1:{}/postgres?max_ttl=6s&fresh=true", self.0.port)
    }

    fn ledger(&self) -> String {
        self.0.tell("SELECT ledger FROM vaultlock.locks WHERE name = 'x'")
    }

    fn forge(&self, ledger: &str) {
        self.0.tell(&format!("UPDATE vaultlock.locks SET ledger = $forged${ledger}$forged$ WHERE name = 'x'"));
    }
}

/// A cluster in which nobody can hold from before.
struct Settled(Etcd, String);

impl Settled {
    fn new() -> Settled {
        let etcd = Etcd::start();
        let url = etcd.settled(MOST);
        Settled(etcd, url)
    }
}

impl Place for Settled {
    fn url(&self) -> String {
        self.1.clone()
    }

    fn ledger(&self) -> String {
        let told = self.0.tell(&["get", "--print-value-only", "vaultlock/x/ledger"]);
        told.strip_suffix('\n').unwrap_or_default().to_owned()
    }

    fn forge(&self, ledger: &str) {
        self.0.tell(&["put", "--", "vaultlock/x/ledger", ledger]);
    }

    fn mend(&self, second: &str) {
        self.0.tell(&["del", "vaultlock/x/ledger"]);
        // How often a key was written is its version.
        (0..2).for_each(|_| self.forge(second));
    }
}

macro_rules! rows {
    ($($row:ident)*) => {
        mod file { $(#[test] fn $row() { super::$row(&super::Folder::new()); })* }
        mod redis { $(#[test] fn $row() { super::$row(&super::Redis::start()); })* }
        mod postgres { $(#[test] fn $row() { super::$row(&super::Database::new()); })* }
        mod etcd { $(#[test] fn $row() { super::$row(&super::Settled::new()); })* }
    };
}

rows! {
    s01_any_name_is_a_lock_of_its_own_or_refused
    s03_names_and_labels_have_an_end
    s04_damage_grants_nothing_and_is_left_as_it_is
    s04_a_fence_from_far_ahead_is_damage
    s10_a_pid_in_the_store_is_never_signalled
    s12_a_password_in_the_url_is_told_to_nobody
    s14_text_of_others_moves_no_cursor
    s15_the_jobs_words_are_nobodys_business
    s16_a_handle_is_shown_to_nobody
    s17_the_job_gets_no_descriptor_but_its_ticket
    s18_numbers_out_of_range_are_wrong_words
    s19_a_lock_inside_itself_is_refused_at_once
    s20_an_absurd_ttl_holds_nobody_up
}

/// The store itself, as a claim would open it.
fn open(place: &dyn Place) -> Box<dyn Store> {
    Location::parse(&place.url()).unwrap().open(Duration::from_secs(5))
}

fn s01_any_name_is_a_lock_of_its_own_or_refused(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let names =
        ["a", "a/b", "A", "..", ".hidden", "two words", "{tag}", "a{x}b", "%2f", "*", "$(id)", "-", "q", "a'\"", "a\\", "鍵"];
    for name in names {
        let done = stage.say(&["run", "-n", name, "--", "sh", "-c", "printf %s \"$VAULTLOCK_NAME\"; $V run -n other -- true"]);
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, name, ""));
    }
    let listed: Value = serde_json::from_str(&stage.say(&["status", "--json"]).out).unwrap();
    let mut listed: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|lock| lock["name"].as_str()).collect();
    let mut expected = [names.as_slice(), &["other"]].concat();
    // That of `settled`.
    listed.retain(|name| *name != "settled");
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    let inside =
        "for n in a/b A 'a ' a. %61 'a*'; do $V run -n \"$n\" -- true || exit 9; done; env -u VAULTLOCK_HELD $V run -n a -- true";
    assert_eq!(stage.say(&["run", "a", "--", "sh", "-c", inside]).code, 75);
    for (name, complaint) in [("", "can't be empty"), ("a\nb", "control characters"), ("\u{1b}[2J", "control characters")] {
        let done = stage.say(&["run", name, "--", "true"]);
        assert!(done.code == 64 && done.err.contains(complaint), "{name:?}: {done:?}");
    }
}

fn s03_names_and_labels_have_an_end(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let long = "é".repeat(100);
    let done =
        stage.say(&["run", &long, "--label", &"é".repeat(60_000), "--", "sh", "-c", "$V status \"$VAULTLOCK_NAME\" --json"]);
    let shown: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((shown["name"].as_str(), shown["holders"][0]["label"].as_str()), (Some(&*long), Some(&*long)));
    let done = stage.say(&["run", &"x".repeat(201), "--", "true"]);
    assert!(done.code == 64 && done.err.contains("201 bytes is too long"), "{done:?}");
}

fn s04_damage_grants_nothing_and_is_left_as_it_is(place: &dyn Place) {
    let stage = Stage::on(place.url());
    stage.run(&[], &["true"]).was_silent(0);
    let whole = place.ledger();
    assert!(whole.contains("\"fence\""), "{whole}");
    let (half, later) = (&whole[..whole.len() / 2], whole.replace("\"fmt\":1", "\"fmt\":2"));
    assert_ne!(whole, later);
    for forged in [half, "", "{}", "null", &"[".repeat(10_000), &later, &whole.replace("\"fence\":", "\"fence\":1")] {
        place.forge(forged);
        let done = stage.run(&["-n"], &["echo", "ran"]);
        assert!(done.code == 125 && done.out.is_empty() && done.err.lines().count() == 1, "{forged:.40}: {done:?}");
        let told = stage.say(&["status", "x"]);
        assert!(told.code == 125 && !told.err.contains("panicked"), "{forged:.40}: {told:?}");
        assert_eq!(place.ledger().trim_end(), forged.trim_end(), "it is left for somebody to look at");
    }
    place.mend(&whole);
    // Those who met the damage could not look whom to wake, so they did not leave the queue: they lapse.
    stage.run(&["-w", "20s"], &["true"]).was_silent(0);
}

fn s04_a_fence_from_far_ahead_is_damage(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let (mut store, name, me) = (open(place), lock("x"), ticket("from far ahead"));
    let view = store.take(&name, &me).unwrap();
    let mut commit = enter(&view, &me);
    commit.ledger.iter_mut().for_each(|ledger| {
        ledger.fence = 1 << 53;
        ledger.holders.clear();
    });
    commit.drop = vec![me.id.clone()];
    commit.show = false;
    // One that shows what was written finds the damage at once.
    let _ = store.commit(&name, &me.id, &commit);
    let done = stage.run(&["-n"], &["echo", "ran"]);
    assert!(done.code == 125 && done.out.is_empty(), "{done:?}");
}

fn s10_a_pid_in_the_store_is_never_signalled(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let mut bystander = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let (mut store, mut me) = (open(place), ticket("a liar"));
    me.who.pid = bystander.id();
    me.who.host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    hold(store.as_mut(), "x", &me);
    let shown = stage.status("x")["holders"][0].clone();
    assert_eq!(shown["pid"], bystander.id());
    let session = shown["session"].as_str().unwrap().to_owned();
    let done = stage.say(&["break", "x", "--session", &session, "--reason", "a test", "--force"]);
    // On the file store nobody but the holder's own processes can give its lock away.
    let expected = if place.url().starts_with('/') { 125 } else { 0 };
    assert_eq!(done.code, expected, "{done:?}");
    assert!(is_alive(bystander.id() as i32));
    send(bystander.id() as i32, Signal::SIGKILL);
    bystander.wait().unwrap();
}

fn s12_a_password_in_the_url_is_told_to_nobody(place: &dyn Place) {
    let url = place.url();
    let Some((scheme, rest)) = url.split_once("://") else { return };
    let stage = Stage::on(format!("{scheme}://postgres:{CANARY}@{rest}"));
    for words in [&["run", "-v", "x", "--", "env"][..], &["status", "--json"], &["doctor", "--explain"], &["status", "x"]] {
        let done = stage.say(words);
        assert!(!done.out.contains(CANARY) && !done.err.contains(CANARY), "{words:?}: {done:?}");
    }
}

fn s14_text_of_others_moves_no_cursor(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let hostile = "\u{1b}[2J\u{9b}31m\r\n\u{7}a\u{202e}b\u{2066}c\u{200b}d\u{7f}";
    let (mut store, mut me) = (open(place), ticket(hostile));
    me.who.host = hostile.to_owned();
    me.ttl_ms = MOST.as_millis() as u64;
    hold(store.as_mut(), "x", &me);
    let waiter = stage.start(stage.command(&["run", "-v", "--label", hostile, "x", "--", "true"]));
    wait_for("the waiting line", || !waiter.err().is_empty());
    let said = [stage.say(&["status", "x"]).out, stage.run(&["-n", "-v"], &["true"]).err, waiter.err()];
    for text in said {
        assert!(text.contains("\\u{1b}[2J\\u{9b}31m"), "{text:?}");
        let raw = text.chars().find(|c| c.is_control() && *c != '\n' || "\u{202e}\u{2066}\u{200b}".contains(*c));
        assert_eq!(raw, None, "{text:?}");
    }
    waiter.send(Signal::SIGTERM);
    assert_eq!(waiter.end().code, 143);
}

fn s15_the_jobs_words_are_nobodys_business(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let look = "$V status x --json; $V status x; $V -v run -n --label inside y -- $V status --json";
    let done = stage.run(&[], &["sh", "-c", look, CANARY]);
    assert!(done.code == 0 && !done.out.contains(CANARY) && done.out.contains(" sh\","), "{done:?}");
    assert!(!place.ledger().contains(CANARY));
}

fn s16_a_handle_is_shown_to_nobody(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let script = "h=$($V acquire x --while-pid $$) && { $V status x --json; $V status x; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; } >$F/seen
        $V check $h && $V release $h && echo $h";
    let done = stage.start(stage.wrap("sh", &["-c", script])).end();
    let handle = done.out.trim_end();
    assert!(done.code == 0 && handle.starts_with("vl-"), "{done:?}");
    let seen = stage.text("seen");
    assert!(seen.contains("\"holders\"") && !seen.contains(&handle[3..]), "{seen}");
    assert!(!place.ledger().contains(&handle[3..]));
}

fn s17_the_job_gets_no_descriptor_but_its_ticket(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let look = ["-c", "for f in /proc/$$/fd/*; do readlink $f; done | grep -v vl-stage"];
    let without = stage.start(stage.wrap("sh", &look)).end();
    let with = stage.run(&[], &[&["sh"], &look[..]].concat());
    let added: Vec<&str> = with.out.lines().filter(|line| !without.out.lines().any(|had| had == *line)).collect();
    match place.url().starts_with('/') {
        // The kernel frees the ticket when nobody has it open any more.
        true => assert!(added.len() == 1 && added[0].contains("/x/tickets/"), "{added:?}"),
        false => assert!(added.is_empty(), "{added:?}"),
    }
}

fn s18_numbers_out_of_range_are_wrong_words(place: &dyn Place) {
    let url = place.url();
    for wrong in ["0s", "-1s", "1e30s", "nan", "99999999999999999999h", "soon"] {
        let url = match url.split_once('?') {
            Some((server, _)) => format!("{server}?max_ttl={wrong}"),
            None => format!("file://{url}?max_ttl={wrong}"),
        };
        let done = Stage::on(url).run(&["-n"], &["echo", "ran"]);
        done.said_one_line(64, &["max_ttl"]);
    }
    let stage = Stage::on(url);
    for words in [
        ["--ttl", "0s"],
        ["--ttl", "1e30s"],
        ["-w", "-1s"],
        ["-j", "0"],
        ["-j", "10001"],
        ["--priority", "1e9"],
        ["--kill-after", "nan"],
    ] {
        let done = stage.run(&words, &["echo", "ran"]);
        assert!(done.code == 64 && done.out.is_empty() && !done.err.contains("panicked"), "{words:?}: {done:?}");
    }
}

fn s19_a_lock_inside_itself_is_refused_at_once(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let started = Instant::now();
    let done = stage.run(&[], &["sh", "-c", "$V run y x -- echo never; echo $?; $V run y -- echo inside"]);
    assert_eq!((done.code, done.out.as_str()), (0, "64\ninside\n"), "{done:?}");
    assert!(done.err.contains("x") && started.elapsed() < MOST, "{done:?}");
}

fn s20_an_absurd_ttl_holds_nobody_up(place: &dyn Place) {
    let stage = Stage::on(place.url());
    let (mut store, mut me) = (open(place), ticket("absurd"));
    me.ttl_ms = 24 * 3_600_000;
    let view = store.take(&lock("x"), &me).unwrap();
    done(store.commit(&lock("x"), &me.id, &enter(&view, &me)).unwrap());
    // On the file store the kernel knows that it is gone.
    drop(store);
    let started = Instant::now();
    stage.run(&["-w", "20s"], &["true"]).was_silent(0);
    assert!(started.elapsed() < MOST * 3, "{:?}", started.elapsed());
}
