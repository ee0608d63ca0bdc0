//! The store's folder and what may be planted in it: ours alone and on a local disk, or refused.

use std::fs::{self, Permissions};
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
