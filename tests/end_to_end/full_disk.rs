//! The disk under a file store fills up and is emptied again: who runs runs on, nobody else gets in, and nothing is lost.

use std::fs;
use std::time::Duration;

use crate::disk::Disk;
use crate::log::{JOB, Log};
use crate::vault::{Done, Running, Vault, stays, wait_for};

const TTL: Duration = Duration::from_secs(1);
const WAYS: [fn(&Disk); 2] = [Disk::fill, Disk::fill_with_names];

/// The lock x on a small disk, with the log of its jobs on another.
struct Scene {
    disk: Disk,
    vault: Vault,
    store: String,
}

impl Scene {
    fn new() -> Scene {
        let (disk, vault) = (Disk::mount(256), Vault::new());
        vault.write("job", JOB);
        let store = disk.path().join("store").display().to_string();
        Scene { disk, vault, store }
    }

    fn queue(&self, options: &[&str], job: &[&str]) -> Running {
        let script = self.vault.file("job").display().to_string();
        let options = [&["--store", &self.store, "--ttl", "1s"], options].concat();
        self.vault.spawn(&options, "x", &[&["sh", &script], job].concat())
    }

    fn status(&self) -> String {
        self.vault.say(&["--store", &self.store, "status"]).out
    }

    fn log(&self) -> Log {
        Log::read(&self.vault.text("log"))
    }

    fn wait_for_jobs(&self, count: usize) {
        wait_for(&format!("{count} jobs"), || self.log().jobs.len() >= count);
    }
}

fn fails_for_want_of_room(done: &Done) {
    assert!(done.code == 125 && done.err.lines().count() == 1, "{done:?}");
    assert!(done.err.contains("no space left on device; make room there"), "{done:?}");
}

#[test]
fn who_runs_runs_on_and_nobody_gets_in() {
    for fill in WAYS {
        let scene = Scene::new();
        let holder = scene.queue(&[], &[]);
        scene.wait_for_jobs(1);
        fill(&scene.disk);
        fails_for_want_of_room(&scene.queue(&["-n"], &["for", "1"]).end());
        fails_for_want_of_room(&scene.queue(&["-w", "1"], &["for", "1"]).end());
        let other = ["--store", &scene.store, "-n"];
        for name in ["new", "newer"] {
            fails_for_want_of_room(&scene.vault.run(&other, name, &["true"]));
        }
        stays("the job", TTL * 3, || scene.log().jobs.iter().all(|job| !job.ended));
        scene.vault.write("go", "");
        let held = holder.end();
        assert!(held.code == 0 && held.err.lines().count() <= 1, "{held:?}");
        println!("    given back on a full disk: {:?}", held.err);
        scene.disk.make_room();
        let after = scene.queue(&["-n"], &["for", "1"]).end();
        assert_eq!((after.code, after.err.as_str()), (0, ""));
        scene.log().check(2);
        assert!(scene.status().contains("x: free"), "{}", scene.status());
        for boot in fs::read_dir(&scene.store).unwrap().flatten().filter(|entry| entry.file_name() != "notes") {
            for lock in fs::read_dir(boot.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
                assert!(lock.path().join("name").exists(), "{:?} will never be listed", lock.path());
            }
        }
    }
}

#[test]
fn who_waits_gets_in_or_fails_and_never_beside_another() {
    for fill in WAYS {
        let scene = Scene::new();
        let holder = scene.queue(&[], &[]);
        scene.wait_for_jobs(1);
        let waiters: Vec<Running> = (1..=3)
            .map(|n| {
                let waiter = scene.queue(&[], &["for", "20"]);
                wait_for("its place", || scene.status().contains(&format!("{n} waiting")));
                waiter
            })
            .collect();
        fill(&scene.disk);
        scene.vault.write("go", "");
        let held = holder.end();
        assert_eq!(held.code, 0, "{held:?}");
        let done: Vec<Done> = waiters.into_iter().map(Running::end).collect();
        println!("    who waited, on a full disk: {done:?}");
        for one in done.iter().filter(|one| one.code != 0) {
            fails_for_want_of_room(one);
        }
        scene.disk.make_room();
        let after = scene.queue(&["-n"], &["for", "1"]).end();
        assert_eq!((after.code, after.err.as_str()), (0, ""));
        scene.log().check(2 + done.iter().filter(|one| one.code == 0).count());
    }
}
