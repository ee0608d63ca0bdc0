//! A folder for the jobs of one measurement, the measured binary on one store, and the processes that come of it.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use vaultlock::ledger::View;
use vaultlock::name::Name;
use vaultlock::store::Store;
use vaultlock::store::locate::Location;
use vaultlock::time::Tick;

use super::Setting;
use super::processes::Processes;
use super::quiet::{self, Deed};
use crate::job::{self, Manner};
use crate::log::{Event, What, read_all};
use crate::support::running::{Done, Running, end_marked, marked, on_store, wait_for};

/// Every process of a stage has this in its environment, with the stage's own mark.
const MARK: &str = "PROMISES_STAGE_MARK";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Both engines, by what the rows call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Files,
    Redis,
}

impl Engine {
    pub const ALL: [Engine; 2] = [Engine::Files, Engine::Redis];

    pub fn word(self) -> &'static str {
        match self {
            Engine::Files => "file",
            Engine::Redis => "redis",
        }
    }
}

/// A folder and a store. Whatever still runs is killed at the end.
pub struct Stage {
    folder: TempDir,
    mark: String,
    url: String,
    binary: PathBuf,
    jobs: Cell<u64>,
    log: RefCell<LogRead>,
    store: RefCell<Option<Box<dyn Store>>>,
}

/// The log, as far as it was read.
#[derive(Default)]
struct LogRead {
    bytes: u64,
    events: Vec<Event>,
}

/// What a job does.
#[derive(Clone, Copy)]
pub enum Part {
    Quiet(usize, Deed),
    /// Of the tortured manners, for so long.
    Manner(Manner, Duration),
}

/// A started run and the number of its job.
pub struct Run {
    pub job: u64,
    pub running: Running,
}

impl Stage {
    /// A stage on a file store of its own.
    pub fn on_files(setting: &Setting) -> Stage {
        let mut stage = Stage::on(setting, String::new());
        stage.url = format!("file://{}", stage.file("store").display());
        stage
    }

    /// A stage on the store of this very URL.
    pub fn on(setting: &Setting, url: String) -> Stage {
        let folder = tempfile::Builder::new().prefix("vl-promise-").tempdir().unwrap();
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (jobs, log, store) = (Cell::new(0), RefCell::default(), RefCell::default());
        Stage { folder, mark, url, binary: setting.binary.clone(), jobs, log, store }
    }

    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// vaultlock with these words, on this store by the environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = on_store(&self.binary, words, &self.url);
        command.env(MARK, &self.mark);
        command
    }

    pub fn start(&self, command: Command) -> Running {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Running::start(command, self.file(&format!("{number}.out")), self.file(&format!("{number}.err")))
    }

    /// `vaultlock WORDS`, to its end.
    pub fn say(&self, words: &[&str]) -> Done {
        self.start(self.command(words)).end()
    }

    /// `vaultlock run OPTIONS NAME -- job`, started but perhaps still waiting.
    pub fn run(&self, options: &[&str], name: &str, part: Part) -> Run {
        let number = self.jobs.get() + 1;
        self.jobs.set(number);
        let (dir, lock) = (self.dir().to_owned(), name.to_owned());
        let words = match part {
            Part::Quiet(daemons, deed) => quiet::Order { dir, lock, job: number, daemons, deed }.words(),
            Part::Manner(manner, span) => job::Order { dir, lock, job: number, manner, span }.words(),
        };
        let own = std::env::current_exe().unwrap().display().to_string();
        let words: Vec<&str> = [&own].into_iter().chain(&words).map(String::as_str).collect();
        let label = number.to_string();
        let words = [&["run", "--label", &label], options, &[name, "--"], &words].concat();
        Run { job: number, running: self.start(self.command(&words)) }
    }

    /// The same, once its job is all up.
    pub fn hold(&self, options: &[&str], name: &str, part: Part) -> Run {
        let mut run = self.run(options, name, part);
        self.wait_until_up(&mut run);
        run
    }

    /// Waits until the run's job is all up, its daemons too.
    pub fn wait_until_up(&self, run: &mut Run) {
        wait_for("a job", || {
            let over = run.running.is_over();
            assert!(!over, "it ended before the job was up: {}", run.running.err());
            self.find(|what| matches!(what, What::Tick(sign) if sign.job == run.job)).is_some()
        });
    }

    /// All living processes of this stage.
    pub fn alive(&self) -> Vec<i32> {
        marked(&self.mark())
    }

    fn mark(&self) -> String {
        format!("{MARK}={}", self.mark)
    }

    pub fn let_go(&self, run: &Run) {
        quiet::go(self.dir(), run.job).unwrap();
    }

    /// What the jobs said since this was last asked; it is not found again.
    pub fn take_events(&self) -> Vec<Event> {
        self.read();
        std::mem::take(&mut self.log.borrow_mut().events)
    }

    /// When this was first said.
    pub fn find(&self, is: impl Fn(&What) -> bool) -> Option<Tick> {
        self.read();
        self.log.borrow().events.iter().rev().filter(|event| is(&event.what)).last().map(|event| event.at)
    }

    pub fn started(&self, job: u64) -> Option<Tick> {
        self.find(|what| matches!(what, What::Start(sign) if sign.job == job))
    }

    pub fn ended(&self, job: u64) -> Option<Tick> {
        self.find(|what| matches!(what, What::End(sign) if sign.job == job))
    }

    /// That this job found another one's process alive beside it.
    pub fn overlap(&self, job: u64) -> Option<String> {
        let at = self.find(|what| matches!(what, What::Overlap(sign) if sign.job == job))?;
        Some(format!("job {job} was not alone at {at:?}"))
    }

    fn read(&self) {
        let mut log = self.log.borrow_mut();
        let Ok(mut file) = File::open(job::log_path(self.dir())) else { return };
        let mut text = String::new();
        file.seek(SeekFrom::Start(log.bytes)).and_then(|_| file.read_to_string(&mut text)).unwrap();
        let (events, read) = read_all(&text).unwrap();
        log.bytes += read as u64;
        log.events.extend(events);
    }

    /// The lock as a stranger sees it, without starting anything.
    pub fn view(&self, name: &str) -> View {
        let mut store = self.store.borrow_mut();
        let open = || Location::parse(&self.url).unwrap().open(Duration::from_secs(5));
        store.get_or_insert_with(open).view(&Name::new(name).unwrap(), None).unwrap()
    }

    /// The jobs of those who wait, in the order of their tickets.
    pub fn queue(&self, name: &str) -> Vec<u64> {
        self.view(name).waiters().map(|listed| listed.ticket.who.label.parse().unwrap()).collect()
    }

    pub fn wait_for_waiting(&self, name: &str, count: usize) {
        wait_for("its place in the queue", || self.view(name).waiting >= count);
    }
}

impl Run {
    pub fn processes(&self) -> Processes {
        self.running.worker();
        Processes::of(self.running.sentry())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end_marked(&self.mark());
    }
}

/// The URL of a store; when this is dropped, what this host noted of it is forgotten.
pub struct Noted(pub String);

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(notes) = Location::parse(&self.0).ok().and_then(|location| location.notes_dir()) {
            let _ = fs::remove_dir_all(notes);
        }
    }
}
