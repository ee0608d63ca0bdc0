//! The store's folder and what may be planted in it: ours alone and on a local disk, or refused.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::vault::{BINARY, Done, Vault, is_root, wait_for};

const NOBODY: u32 = 65534;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn on(vault: &Vault, store: &Path) -> Done {
    vault.run(&["--store", store.to_str().unwrap(), "-w", "1"], "x", &["sh", "-c", "echo > $F/granted"])
}

fn refused(vault: &Vault, store: &Path, complaint: &str) {
    let done = on(vault, store);
    assert_eq!(done.code, 125, "{store:?}: {done:?}");
    assert!(done.err.starts_with("vaultlock: ") && done.err.contains(complaint), "{store:?}: {done:?}");
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
    assert!(!vault.file("granted").exists());
}

/// A file system of its own over a folder, gone at the end.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn tmpfs<'a>(at: &'a Path, options: &str) -> Mount<'a> {
        fs::create_dir_all(at).unwrap();
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).expect("root may mount a tmpfs");
        Mount(at)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn nasty_names_are_locks_like_others_or_refused() {
    let vault = Vault::new();
    let long = "é".repeat(100);
    let names = [
        "a",
        "a/b",
        "A",
        "..",
        ".",
        ".hidden",
        "two words",
        "{tag}",
        "%2f",
        "~",
        "*",
        "$(id)",
        "a\u{202e}b",
        "-",
        "x.lock",
        &long,
        "ledger",
        "max_ttl",
        "a%2fb",
        "'\"",
        "鍵",
    ];
    for name in names {
        // A name may look like an option: then `--name`'s place is after `--`, as everywhere.
        let told = vault.run(&["-n"], name, &["sh", "-c", "printf %s \"$VAULTLOCK_NAME\"; $V run -n other -- true"]);
        assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, name, ""));
    }
    let listed: serde_json::Value = serde_json::from_str(&vault.say(&["status", "--json"]).out).unwrap();
    let mut listed: Vec<&str> = listed.as_array().unwrap().iter().map(|lock| lock["name"].as_str().unwrap()).collect();
    let mut expected = [names.as_slice(), &["other"]].concat();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for (name, complaint) in [
        ("", "can't be empty"),
        ("a\nb", "control characters"),
        ("\u{1b}[2J", "control characters"),
        ("a\u{85}", "control characters"),
        ("x".repeat(201).as_str(), "201 bytes is too long"),
        ("x".repeat(10_000).as_str(), "10000 bytes is too long"),
    ] {
        for done in [vault.run(&[], name, &["true"]), vault.say(&["status", name])] {
            assert_eq!(done.code, 64, "{name:.20}: {done:?}");
            assert!(done.err.contains(complaint) && !done.err.trim_end().contains(char::is_control), "{done:?}");
        }
    }
}

#[test]
fn a_name_and_its_extension_are_two_locks() {
    let vault = Vault::new();
    let _holder = vault.hold(&[], "a");
    for other in ["a/b", "A", "a ", "a.", "%61", "a/"] {
        assert_eq!(vault.run(&["-n"], other, &["true"]).code, 0, "{other:?}");
    }
    assert_eq!(vault.run(&["-n"], "a", &["true"]).code, 75);
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    let vault = Vault::new();
    let _holder = vault.hold(&[], "x");
    let _waiter = vault.spawn(&[], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    wait_for("a bell", || !vault.files("x", "bells").is_empty());
    for (path, _) in vault.contents() {
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600, "{path:?}");
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700, "{path:?}");
    }
    if is_root() {
        let ticket = vault.files("x", "tickets").remove(0);
        let denied = Command::new("flock").arg("-n").arg(ticket).arg("true").uid(NOBODY).gid(NOBODY).output().unwrap();
        assert!(!denied.status.success(), "a stranger could lock a ticket");
    }
}

#[test]
fn a_store_that_others_could_change_is_refused() {
    let vault = Vault::new();
    let real = vault.file("real");
    fs::create_dir(&real).unwrap();
    chmod(&real, 0o700);
    symlink(&real, vault.file("link")).unwrap();
    refused(&vault, &vault.file("link"), "not a directory of its own");
    vault.write("plain", "");
    refused(&vault, &vault.file("plain"), "not a directory of its own");
    for mode in [0o777, 0o770, 0o702, 0o1777] {
        chmod(&real, mode);
        refused(&vault, &real, "can be written by others: run chmod go-w on it");
    }
    chmod(&real, 0o755);
    assert_eq!(on(&vault, &real).code, 0);
    fs::remove_file(vault.file("granted")).unwrap();

    let open = vault.file("open");
    fs::create_dir_all(open.join("between/store")).unwrap();
    chmod(&open.join("between/store"), 0o700);
    chmod(&open, 0o777);
    refused(&vault, &open.join("between/store"), "anyone may rename what is in ");
    chmod(&open, 0o1777);
    assert_eq!(on(&vault, &open.join("between/store")).code, 0);
}

#[test]
fn a_store_of_somebody_else_is_refused() {
    let vault = Vault::new();
    let store = if is_root() {
        fs::create_dir(vault.file("theirs")).unwrap();
        chown(vault.file("theirs"), Some(NOBODY), Some(NOBODY)).unwrap();
        vault.file("theirs")
    } else {
        Path::new("/usr/lib").to_owned()
    };
    refused(&vault, &store, "belongs to user ");
}

#[test]
fn a_stranger_can_not_use_roots_store() {
    if !is_root() {
        // An ordinary user has nobody to be a stranger to; the test before this one is the other half.
        return;
    }
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    chmod(vault.store().parent().unwrap(), 0o755);
    let binary = vault.file("vaultlock");
    fs::copy(BINARY, &binary).unwrap();
    let before = vault.contents();
    for store in [vault.store(), vault.file("new/store")] {
        let mut stranger = vault.wrap(binary.to_str().unwrap(), &["run", "x", "--", "true"]);
        stranger.env("VAULTLOCK_STORE", store).uid(NOBODY).gid(NOBODY);
        let done = vault.start(stranger).end();
        assert_eq!(done.code, 125, "{done:?}");
        assert!(done.err.contains("permission denied; run as the store's owner"), "{done:?}");
    }
    assert!(vault.contents() == before);
}

#[test]
fn a_file_system_whose_locks_may_be_local_is_refused() {
    // Not a disk, not on the list, and there on every Linux.
    let vault = Vault::new();
    refused(&vault, Path::new(&format!("/proc/{}", std::process::id())), "lies on a file system (type 0x9fa0)");
}

#[test]
fn a_store_that_can_not_be_written_is_refused() {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    if !is_root() {
        chmod(&vault.lock_dir("x").join("tickets"), 0o500);
        refused(&vault, &vault.store(), "permission denied");
        chmod(&vault.lock_dir("x").join("tickets"), 0o700);
        return;
    }
    let shown = vault.file("shown");
    let _mount = Mount::tmpfs(&shown, "mode=700");
    assert_eq!(on(&vault, &shown.join("store")).code, 0);
    fs::remove_file(vault.file("granted")).unwrap();
    mount(None::<&str>, &shown, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>).unwrap();
    refused(&vault, &shown.join("store"), "read-only file system; choose a store that can be written");
    refused(&vault, &shown.join("new"), "read-only file system; choose a store that can be written");
    let status = vault.say(&["--store", shown.join("store").to_str().unwrap(), "status", "x"]);
    assert_eq!((status.code, status.out.as_str()), (0, "x: free\n"), "{status:?}");
}

#[test]
fn a_full_disk_grants_nothing_and_loses_nothing() {
    assert!(is_root(), "a small disk can be mounted by root alone: run this test as root");
    let vault = Vault::new();
    let disk = vault.file("disk");
    let _mount = Mount::tmpfs(&disk, "size=256k,mode=700");
    let store = disk.join("store");
    let options = ["--store", store.to_str().unwrap()];
    let script = "echo > $F/up; while [ ! -e $F/end ]; do sleep 0.02; done; exit 5";
    let holder = vault.spawn(&options, "x", &["sh", "-c", script]);
    vault.told_any("up");
    let mut fill = fs::File::create(disk.join("fill")).unwrap();
    while fill.write_all(&[0; 512]).is_ok() {}
    refused(&vault, &store, "no space left on device; make room there");
    for name in ["new", "newer"] {
        let done = vault.run(&[&options[..], &["-n"]].concat(), name, &["true"]);
        assert!(done.code == 125 && done.err.contains("make room there"), "{done:?}");
    }
    vault.write("end", "");
    let held = holder.end();
    assert_eq!(held.code, 5, "{held:?}");
    assert!(held.err.lines().count() <= 1, "{held:?}");
    drop(fill);
    fs::remove_file(disk.join("fill")).unwrap();
    let after = on(&vault, &store);
    assert_eq!(after.code, 0, "{after:?}");
    let listed = vault.say(&["--store", store.to_str().unwrap(), "status"]).out;
    assert!(listed.contains("x: free"), "{listed}");
    for boot in fs::read_dir(&store).unwrap().flatten().filter(|entry| entry.file_name() != "notes") {
        for lock in fs::read_dir(boot.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            assert!(lock.path().join("name").exists(), "{:?} will never be listed", lock.path());
        }
    }
}

#[test]
fn what_is_planted_in_place_of_a_file_is_refused() {
    for (part, what) in
        [("ledger", "1"), ("tickets", "1.1.1.00000000000000000000000000000000"), (".", "name"), ("..", ".max_ttl")]
    {
        for kind in ["link", "fifo", "folder"] {
            let vault = Vault::new();
            assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
            let place = vault.lock_dir("x").join(part);
            if part == "ledger" {
                fs::remove_dir_all(&place).unwrap();
                fs::create_dir(&place).unwrap();
            }
            let path = place.join(what);
            let _ = fs::remove_file(&path);
            match kind {
                "link" => symlink("/etc/passwd", &path).unwrap(),
                "fifo" => mkfifo(&path, Mode::S_IRWXU).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            let done = vault.say(&["status"]);
            assert!(done.code == 125 && done.err.contains(" is "), "{kind} as {what}: {done:?}");
            if part != "." {
                refused(&vault, &vault.store(), "which vaultlock did not make");
            }
        }
    }
}

#[test]
fn what_is_planted_in_place_of_a_folder_is_refused() {
    for part in ["ledger", "tickets", "bells", "."] {
        let vault = Vault::new();
        assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
        let place = vault.lock_dir("x").join(part);
        let place = if part == "." { vault.lock_dir("x") } else { place };
        let elsewhere = vault.file("elsewhere");
        fs::rename(&place, &elsewhere).unwrap_or_else(|_| fs::create_dir(&elsewhere).unwrap());
        symlink(&elsewhere, &place).unwrap();
        if part == "bells" {
            // It is needed by waiters alone, and by them for speed alone.
            let done = on(&vault, &vault.store());
            assert_eq!((done.code, done.err.as_str()), (0, ""));
        } else {
            refused(&vault, &vault.store(), "not a directory of its own");
        }
    }
}

#[test]
fn a_hard_link_to_another_locks_ledger_is_refused() {
    let vault = Vault::new();
    for name in ["x", "other"] {
        assert_eq!(vault.run(&[], name, &["true"]).code, 0);
    }
    let (mine, theirs) = (vault.ledger("x"), vault.ledger("other"));
    fs::remove_file(&mine).unwrap();
    fs::hard_link(&theirs, &mine).unwrap();
    refused(&vault, &vault.store(), "it belongs to the lock \"other\"");
}

#[test]
fn everybody_agrees_on_max_ttl() {
    let vault = Vault::new();
    assert_eq!(vault.run(&[], "x", &["true"]).code, 0);
    let url = |max: &str| format!("file://{}?max_ttl={max}", vault.store().display());
    for other in ["10s", "60s", "30001ms"] {
        let done = vault.run(&["--store", &url(other)], "x", &["true"]);
        assert_eq!(done.code, 125, "{done:?}");
        assert!(done.err.contains("use the same max_ttl in every store URL"), "{done:?}");
    }
    assert_eq!(vault.run(&["--store", &url("30s")], "x", &["true"]).code, 0);
    let nested = vault.run(&["--store", &url("30s")], "x", &["sh", "-c", "$V run y -- true"]);
    assert_eq!(nested.code, 0, "{nested:?}");
}

#[test]
fn a_hostile_label_moves_no_cursor() {
    let vault = Vault::new();
    let label = "\u{1b}[2J\u{9b}31m\r\n\u{7}a\u{202e}b\u{2066}c\u{200b}d\u{7f}\\";
    let _holder = vault.hold(&["--label", label], "x");
    let waiter = vault.spawn(&["--label", label, "-v"], "x", &["true"]);
    vault.wait_for_waiting("x", 1);
    wait_for("the waiting line", || !waiter.err().is_empty());
    let said = [vault.say(&["status", "x"]).out, vault.run(&["-n", "-v"], "x", &["true"]).err, waiter.err()];
    for text in said {
        assert!(text.contains("\\u{1b}[2J\\u{9b}31m\\u{d}\\u{a}\\u{7}a\\u{202e}b\\u{2066}c\\u{200b}d\\u{7f}"), "{text:?}");
        let raw = text.chars().find(|c| c.is_control() && *c != '\n' || "\u{202e}\u{2066}\u{200b}".contains(*c));
        assert_eq!(raw, None, "{text:?}");
    }
    assert_eq!(vault.status("x")["holders"][0]["label"], label);
    let json = vault.say(&["status", "x", "--json"]).out;
    assert!(!json.chars().any(|c| c < ' ' && c != '\n'), "{json:?}");
}

#[test]
fn a_huge_label_is_cut() {
    let vault = Vault::new();
    let _holder = vault.hold(&["--label", &"é".repeat(60_000)], "x");
    assert_eq!(vault.status("x")["holders"][0]["label"], "é".repeat(100));
    assert!(vault.run(&["-n"], "x", &["true"]).err.len() < 300);
}
