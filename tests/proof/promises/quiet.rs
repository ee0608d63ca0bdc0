//! A job that says only when it starts and when it ends, with as many daemons as it is told: for what is measured on many
//! at once, where the ticks of all would be most of the load.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use super::resource::Resource;
use crate::job::{Presence, daemon, end, log_path};
use crate::log::{Log, Sign, What};

const LOOK: Duration = Duration::from_millis(1);
/// From one write of a daemon to the next.
const WRITES: Duration = Duration::from_millis(2);
const FOR_EVER: Duration = Duration::from_secs(600);

words! {
    /// What leader and daemons do.
    Deed {
        /// They wait to be killed.
        Stay "stay",
        /// They wait for the leader's file `go-JOB`.
        Wait "wait",
        /// They write to the resource until killed, each time with the fence of their job.
        Write "write",
    }
}

/// What is said on the job's command line.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where log and presences are.
    pub dir: PathBuf,
    pub lock: String,
    pub job: u64,
    pub daemons: usize,
    pub deed: Deed,
}

impl Order {
    /// The words after the program's name.
    pub fn words(&self) -> [String; 6] {
        let Order { dir, lock, job, daemons, deed } = self;
        let dir = dir.display().to_string();
        ["quiet".to_owned(), dir, lock.clone(), job.to_string(), daemons.to_string(), deed.to_string()]
    }

    fn read(words: &[String]) -> Option<Order> {
        let [dir, lock, job, daemons, deed] = words else { return None };
        let (job, daemons, deed) = (job.parse().ok()?, daemons.parse().ok()?, deed.parse().ok()?);
        Some(Order { dir: dir.into(), lock: lock.clone(), job, daemons, deed })
    }
}

/// Lets a waiting job end.
pub fn go(dir: &Path, job: u64) -> io::Result<()> {
    fs::write(dir.join(format!("go-{job}")), "")
}

/// The whole life of a job, by the words after `quiet`.
pub fn main(words: &[String]) -> ! {
    let Some(order) = Order::read(words) else {
        eprintln!("usage: proof quiet DIR LOCK NUMBER DAEMONS DEED");
        exit(64);
    };
    end(order.job, live(&order))
}

fn live(order: &Order) -> io::Result<()> {
    let fence = std::env::var("VAULTLOCK_FENCE").ok().and_then(|fence| fence.parse().ok()).unwrap_or(0);
    let sign = Sign { lock: order.lock.clone(), job: order.job, fence, pid: std::process::id() };
    let resource = Resource::of(&order.dir, &order.lock);
    if order.deed == Deed::Write {
        // Before all else: from its first sign of life on, what is older is refused.
        resource.write(fence)?;
    }
    let log = Log::open(&log_path(&order.dir))?;
    let mut presence = Presence::of(&order.dir, &order.lock)?;
    log.write(What::Start(sign.clone()))?;
    if !presence.is_had()? && presence.is_anothers()? {
        log.write(What::Overlap(sign.clone()))?;
    }
    raise(order, &resource, fence)?;
    // All of it is up.
    log.write(What::Tick(sign.clone()))?;
    let go = order.dir.join(format!("go-{}", order.job));
    while order.deed != Deed::Wait || !go.exists() {
        sleep(if order.deed == Deed::Wait { LOOK } else { FOR_EVER });
    }
    log.write(What::End(sign))
}

/// Starts the daemons, and returns once each of them lives.
fn raise(order: &Order, resource: &Resource, fence: u64) -> io::Result<()> {
    let (up, ready) = io::pipe()?;
    for _ in 0..order.daemons {
        daemon(|| {
            (&ready).write_all(&[1])?;
            loop {
                match order.deed {
                    Deed::Write => {
                        resource.write(fence)?;
                        sleep(WRITES);
                    }
                    Deed::Stay | Deed::Wait => sleep(FOR_EVER),
                }
            }
        })?;
    }
    io::copy(&mut up.take(order.daemons as u64), &mut io::sink()).map(drop)
}
