//! P12: what a store keeps is changed at random while the lock is held. Whatever a newcomer then reads, it must not be let
//! in: not at once, and not while the holder may still be alive.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use vaultlock::ledger::{Decision, Me, Ticket, Watched, decide};
use vaultlock::name::Name;
use vaultlock::store::Store;
use vaultlock::store::locate::Location;
use vaultlock::time::{Clock, Wall};
use vaultlock::timing::DEFAULT_TTL;

use super::Setting;
use super::row::{Found, Row};
use crate::support::claims::{hold, lock, ticket};
use crate::support::redis::Server;

const REQUEST: Duration = Duration::from_secs(5);
const LOCK: &str = "x";

pub fn measure(setting: &Setting) -> Vec<Row> {
    let trials = setting.trials(10_000, 100_000);
    vec![
        measure_on("file: ledger and ticket", &mut Files::new(), trials),
        measure_on("redis: the lock's and the store's fields", &mut Fields::new(), trials),
    ]
}

/// A store whose documents can be overwritten.
trait Places {
    fn url(&self) -> String;
    /// Looks for them, once the lock is held.
    fn find(&mut self, holder: &Ticket);
    fn count(&self) -> usize;
    fn read(&self, place: usize) -> Vec<u8>;
    fn write(&mut self, place: usize, text: &[u8]);
    /// What it is called in a complaint.
    fn name(&self, place: usize) -> String;
}

fn measure_on(what: &str, places: &mut dyn Places, trials: usize) -> Row {
    let location = Location::parse(&places.url()).unwrap();
    let [mut holders, mut mine] = [location.open(REQUEST), location.open(REQUEST)];
    let (holder, me) = (ticket("holder"), ticket("newcomer"));
    hold(&mut *holders, LOCK, &holder);
    places.find(&holder);
    mine.take(&lock(LOCK), &me).unwrap();
    let whole: Vec<Vec<u8>> = (0..places.count()).map(|place| places.read(place)).collect();
    let mut found = Found::default();
    let (mut refused, mut held, mut granted) = (0, 0, BTreeMap::new());
    while found.trials < trials {
        let place = found.trials % whole.len();
        let text = mutated(&whole[place]);
        if text == whole[place] {
            continue;
        }
        found.trials += 1;
        places.write(place, &text);
        match catch_unwind(AssertUnwindSafe(|| look(&mut *mine, &lock(LOCK), &me))) {
            Ok(None) => refused += 1,
            Ok(Some(false)) => held += 1,
            Ok(Some(true)) => {
                *granted.entry(places.name(place)).or_insert(0) += 1;
                found.violations.push(format!("granted: {}: {}", places.name(place), shown(&whole[place], &text)));
            }
            Err(_) => found.violations.push(format!("panicked: {}: {}", places.name(place), shown(&whole[place], &text))),
        }
        places.write(place, &whole[place]);
    }
    found.expect(look(&mut *mine, &lock(LOCK), &me) == Some(false), || "the store was not as before".to_owned());
    found.faults = found.trials;
    let mut note = format!("{refused} refused, {held} read as a lock that is held");
    granted.iter().for_each(|(place, count)| note += &format!(", {count} granted by {place}"));
    Row::new("P12 corrupt state never grants", what).noted(note).add_all([found])
}

/// Whether a newcomer would be let in: now, or after watching for half of the holder's lease. `None` if what is there is
/// refused.
fn look(store: &mut dyn Store, name: &Name, me: &Ticket) -> Option<bool> {
    let view = store.view(name, Some(&me.id)).ok()?;
    let now = Clock::Boottime.now();
    let mut watched = Watched::default();
    let asker = Me { ticket: me.clone(), remembered: 0, wall: Wall::now(), joining: true };
    let mut granted = false;
    for now in [now, now + DEFAULT_TTL / 2] {
        watched.look(&view, me, now);
        granted |= matches!(decide(&view, &asker, &watched, now), Decision::Enter(_));
    }
    Some(granted)
}

/// One to three bytes changed, taken out or put in; one time in eight all from some byte on is cut off.
fn mutated(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    if fastrand::u8(..8) == 0 {
        text.truncate(fastrand::usize(..=text.len()));
        return text;
    }
    for _ in 0..fastrand::usize(1..=3) {
        let at = fastrand::usize(..=text.len());
        // As often another digit as another byte: a number stays a number.
        let byte = if fastrand::bool() { fastrand::digit(10) as u8 } else { fastrand::u8(..) };
        match fastrand::u8(..3) {
            0 if at < text.len() => text[at] = byte,
            1 if at < text.len() => drop(text.remove(at)),
            _ => text.insert(at, byte),
        }
    }
    text
}

fn shown(whole: &[u8], text: &[u8]) -> String {
    format!("{:?} in place of {:?}", String::from_utf8_lossy(text), String::from_utf8_lossy(whole))
}

/// The file store: the ledger, and the holder's ticket.
struct Files {
    folder: tempfile::TempDir,
    found: Vec<PathBuf>,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap(), found: Vec::new() }
    }
}

impl Places for Files {
    fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("store").display())
    }

    fn find(&mut self, _holder: &Ticket) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let dir = self.folder.path().join("store").join(boot.trim()).join(LOCK);
        let files = |part: &str| fs::read_dir(dir.join(part)).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
        self.found = ["ledger", "tickets"].map(files).to_vec();
    }

    fn count(&self) -> usize {
        self.found.len()
    }

    fn read(&self, place: usize) -> Vec<u8> {
        fs::read(&self.found[place]).unwrap()
    }

    fn write(&mut self, place: usize, text: &[u8]) {
        // Not cut to nothing first: some file systems then write all of it to the disk at once.
        let file = OpenOptions::new().write(true).open(&self.found[place]).unwrap();
        file.write_all_at(text, 0).and_then(|()| file.set_len(text.len() as u64)).unwrap();
    }

    fn name(&self, place: usize) -> String {
        self.found[place].display().to_string()
    }
}

/// Redis: every field of the lock and of the store's record that tells of the holder.
struct Fields {
    server: Server,
    line: redis::Connection,
    found: Vec<(&'static str, String)>,
}

impl Fields {
    fn new() -> Fields {
        let server = Server::start();
        let line = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        Fields { server, line, found: Vec::new() }
    }
}

impl Places for Fields {
    fn url(&self) -> String {
        format!("{}?fresh=true", self.server.url())
    }

    fn find(&mut self, holder: &Ticket) {
        let own = ["t", "s", "b"].map(|kind| format!("{kind}:{}", holder.id.as_str()));
        let of_lock = ["v", "h", "ledger", "ledger", "ledger"].map(str::to_owned).into_iter().chain(own);
        let of_store = ["epoch", "mark", "settled", "max_ttl_ms", "carried"].map(str::to_owned);
        self.found = of_lock.map(|field| ("vaultlock:{x}", field)).collect();
        self.found.extend(of_store.map(|field| ("vaultlock:store", field)));
    }

    fn count(&self) -> usize {
        self.found.len()
    }

    fn read(&self, place: usize) -> Vec<u8> {
        let (key, field) = &self.found[place];
        self.server.ask(&["HGET", key, field]).into_bytes()
    }

    fn write(&mut self, place: usize, text: &[u8]) {
        let (key, field) = &self.found[place];
        redis::cmd("HSET").arg(key).arg(field).arg(text).exec(&mut self.line).unwrap();
    }

    fn name(&self, place: usize) -> String {
        let (key, field) = &self.found[place];
        format!("{key} {}", field.split(':').next().unwrap_or_default())
    }
}
