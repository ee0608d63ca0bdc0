//! The log of a proof: what the jobs really did and what was done to them, in the order in which it happened.
//!
//! One file that everybody opens with O_APPEND; one line an event, written by one write(2). Times are CLOCK_BOOTTIME in
//! nanoseconds, read before the write: the order is that of the lines, and a time is never too late.

use std::fmt::{self, Display};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

use vaultlock::time::{Clock, Tick};

/// Every line is padded to a multiple of this. A process killed while it writes stops at the end of a page, so that no
/// line of a job is ever torn.
const LINE: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Tick,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// By the job's leader, before anything else.
    Start(Sign),
    /// By any process of a job, every few milliseconds.
    Tick(Sign),
    /// In place of a tick while another job's process has this lock's presence.
    Overlap(Sign),
    /// By the leader, at its own end; others of the job may live on.
    End(Sign),
    /// A run was started.
    Asked(Asked),
    /// That run ended, with this code (minus the signal's number if a signal ended it).
    Gone { job: u64, code: i32 },
    /// A fault is about to be done.
    Fault(Fault),
    /// The fault of this number has been done.
    Struck(u64),
    /// All processes that the fault killed are gone.
    Cleared(u64),
    /// The fault is about to be undone.
    Cure(u64),
    /// There are no faults any more.
    Calm,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    pub lock: String,
    pub job: u64,
    /// Zero where the tool has none.
    pub fence: u64,
    /// As the process itself knows it: another one in a namespace.
    pub pid: u32,
}

/// What the driver knows of a run. Its job has the same number.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub lock: String,
    pub job: u64,
    pub ttl: Duration,
    /// `None` for ever.
    pub wait: Option<Duration>,
    /// The job's processes may outlive sentry and worker where both are hit at once: daemons outside a namespace.
    pub loose: bool,
    /// Where the run has several locks, each is asked for under a number of its own: this is the first one's.
    pub run: Option<u64>,
}

impl Asked {
    /// Whether it stands for the whole run.
    pub fn is_first(&self) -> bool {
        self.run.is_none_or(|first| first == self.job)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub number: u64,
    pub kind: Kind,
    pub whom: Whom,
    /// `None` where it hits all locks.
    pub lock: Option<String>,
    pub job: Option<u64>,
    pub pids: Vec<i32>,
}

/// An enum whose values are one word each.
macro_rules! words {
    ($(#[$what:meta])* $name:ident { $($(#[$which:meta])* $value:ident $word:literal,)* }) => {
        $(#[$what])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$which])* $value,)* }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.pad(match self { $($name::$value => $word,)* })
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<$name, String> {
                match word {
                    $($word => Ok($name::$value),)*
                    _ => Err(format!("{word:?} is no {}", stringify!($name))),
                }
            }
        }
    };
}

words! {
    /// What is done.
    Kind {
        Kill "kill",
        Freeze "freeze",
        Restart "restart",
        Wipe "wipe",
        Flush "flush",
        Cut "cut",
        HalfClose "half-close",
        Swallow "swallow",
        Hold "hold",
        Delay "delay",
        Jump "jump",
        Skew "skew",
        Fill "fill",
    }
}

words! {
    /// To whom.
    Whom {
        /// All of a tool that is one process.
        Client "client",
        Sentry "sentry",
        Worker "worker",
        Both "both",
        Job "job",
        All "all",
        Server "server",
        Pooler "pooler",
        Line "line",
        Clock "clock",
        Callers "callers",
        Disk "disk",
    }
}

impl Whom {
    pub fn has_sentry(self) -> bool {
        matches!(self, Whom::Client | Whom::Sentry | Whom::Both | Whom::All)
    }

    pub fn has_worker(self) -> bool {
        matches!(self, Whom::Worker | Whom::Both | Whom::All)
    }

    /// A fault to it is one to every run.
    pub fn is_everyones(self) -> bool {
        matches!(self, Whom::Server | Whom::Pooler)
    }
}

/// The file, open for appending.
pub struct Log(File);

impl Log {
    pub fn open(path: &Path) -> io::Result<Log> {
        OpenOptions::new().append(true).create(true).open(path).map(Log)
    }

    /// Writes that it happens now.
    pub fn write(&self, what: What) -> io::Result<()> {
        self.write_event(&Event { at: Clock::Boottime.now(), what })
    }

    pub fn write_event(&self, event: &Event) -> io::Result<()> {
        let text = event.to_string();
        let width = (text.len() + 1).next_multiple_of(LINE) - 1;
        (&self.0).write_all(format!("{text:width$}\n").as_bytes())
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let at = self.at.0;
        match &self.what {
            What::Start(sign) => write!(f, "start {at} {sign}"),
            What::Tick(sign) => write!(f, "tick {at} {sign}"),
            What::Overlap(sign) => write!(f, "overlap {at} {sign}"),
            What::End(sign) => write!(f, "end {at} {sign}"),
            What::Asked(asked) => {
                let (ttl, wait) = (asked.ttl.as_millis(), word(asked.wait.map(|wait| wait.as_millis())));
                let hold = if asked.loose { "loose" } else { "firm" };
                write!(f, "asked {at} {} {} {ttl} {wait} {hold}", asked.lock, asked.job)?;
                asked.run.map_or(Ok(()), |first| write!(f, " {first}"))
            }
            What::Gone { job, code } => write!(f, "gone {at} {job} {code}"),
            What::Fault(fault) => {
                let (lock, job) = (word(fault.lock.as_ref()), word(fault.job));
                write!(f, "fault {at} {} {} {} {lock} {job}", fault.number, fault.kind, fault.whom)?;
                fault.pids.iter().try_for_each(|pid| write!(f, " {pid}"))
            }
            What::Struck(number) => write!(f, "struck {at} {number}"),
            What::Cleared(number) => write!(f, "cleared {at} {number}"),
            What::Cure(number) => write!(f, "cure {at} {number}"),
            What::Calm => write!(f, "calm {at}"),
        }
    }
}

impl Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {} {}", self.lock, self.job, self.fence, self.pid)
    }
}

fn word<T: Display>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

impl FromStr for Event {
    type Err = String;

    fn from_str(line: &str) -> Result<Event, String> {
        parse(&mut line.split_ascii_whitespace()).map_err(|error| format!("{error} in {:?}", line.trim_end()))
    }
}

fn parse(words: &mut SplitAsciiWhitespace) -> Result<Event, String> {
    let kind: String = next(words)?;
    let at = Tick(next(words)?);
    let what = match kind.as_str() {
        "start" => What::Start(sign(words)?),
        "tick" => What::Tick(sign(words)?),
        "overlap" => What::Overlap(sign(words)?),
        "end" => What::End(sign(words)?),
        "asked" => What::Asked(Asked {
            lock: next(words)?,
            job: next(words)?,
            ttl: Duration::from_millis(next(words)?),
            wait: next_or_none(words)?.map(Duration::from_millis),
            loose: next::<String>(words)? == "loose",
            run: words.next().map(read).transpose()?,
        }),
        "gone" => What::Gone { job: next(words)?, code: next(words)? },
        "fault" => What::Fault(Fault {
            number: next(words)?,
            kind: next(words)?,
            whom: next(words)?,
            lock: next_or_none(words)?,
            job: next_or_none(words)?,
            pids: words.by_ref().map(read).collect::<Result<_, _>>()?,
        }),
        "struck" => What::Struck(next(words)?),
        "cleared" => What::Cleared(next(words)?),
        "cure" => What::Cure(next(words)?),
        "calm" => What::Calm,
        _ => return Err(format!("{kind:?} is no event")),
    };
    match words.next() {
        None => Ok(Event { at, what }),
        Some(word) => Err(format!("{word:?} is too much")),
    }
}

fn sign(words: &mut SplitAsciiWhitespace) -> Result<Sign, String> {
    Ok(Sign { lock: next(words)?, job: next(words)?, fence: next(words)?, pid: next(words)? })
}

fn next<T: FromStr>(words: &mut SplitAsciiWhitespace) -> Result<T, String> {
    read(words.next().ok_or("a word is missing")?)
}

fn next_or_none<T: FromStr>(words: &mut SplitAsciiWhitespace) -> Result<Option<T>, String> {
    match words.next().ok_or("a word is missing")? {
        "-" => Ok(None),
        word => read(word).map(Some),
    }
}

fn read<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word:?} is not understood"))
}

/// Reads a log. A line that is still being written is left for the next time; also returns how many bytes were read.
pub fn read_all(text: &str) -> Result<(Vec<Event>, usize), String> {
    let whole = text.rfind('\n').map_or(0, |last| last + 1);
    let events = text[..whole].lines().map(str::parse).collect::<Result<_, _>>()?;
    Ok((events, whole))
}
