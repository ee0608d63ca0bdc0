//! What the jobs really did, by one log that all of them append to, and the checker over it.

use std::time::Duration;

use vaultlock::time::Clock;
use vaultlock::timing;

/// The job: logs its start, a tick every 20 ms, and its end once `$F/go` is there, or after `for N` ticks. It also says
/// when the job before it still lives. Times are seconds since boot, to a hundredth, read without starting anything.
pub const JOB: &str = r#"
[ "$1" = stubborn ] && { trap '' TERM; shift; }
left=-1
[ "$1" = for ] && left=$2
say() { read up rest < /proc/uptime; echo "$1 $$ $up $2" >> "$F/log"; }
say start "$VAULTLOCK_FENCE"
before=$(cat "$F/pid" 2> /dev/null)
if [ "$before" ] && grep -qs '^State:.[^ZX]' "/proc/$before/status"; then say overlap "$before"; fi
echo $$ > "$F/pid"
while [ $left -ne 0 ] && [ ! -e "$F/go" ]; do
  sleep 0.02
  say tick
  left=$((left - 1))
done
say end
"#;

/// The log, read.
#[derive(Debug)]
pub struct Log {
    /// In the order of their starts.
    pub jobs: Vec<Job>,
    wrong: Vec<String>,
}

/// One job as it showed itself.
#[derive(Debug)]
pub struct Job {
    pid: i32,
    pub fence: u64,
    pub start: f64,
    /// Its last sign of life.
    pub last: f64,
    pub ended: bool,
}

impl Log {
    pub fn read(text: &str) -> Log {
        let mut log = Log { jobs: Vec::new(), wrong: Vec::new() };
        // A line that is being written is read the next time.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            log.line(line.trim_end());
        }
        log
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let (pid, at) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let fence = words.get(3).and_then(|fence| fence.parse().ok()).unwrap_or(0);
        match words[0] {
            "start" => {
                if self.jobs.last().is_some_and(|before| fence <= before.fence) {
                    self.wrong.push(format!("the fence does not rise: {line}"));
                }
                self.jobs.push(Job { pid, fence, start: at, last: at, ended: false });
            }
            "overlap" => self.wrong.push(format!("the job before it lives: {line}")),
            word => match self.jobs.last_mut() {
                Some(job) if job.pid == pid && !job.ended => (job.last, job.ended) = (at, word == "end"),
                _ => self.wrong.push(format!("a job lives when it should be dead: {line}")),
            },
        }
    }

    /// So many jobs ran, no two of them at once, and the fences rose.
    #[track_caller]
    pub fn check(&self, jobs: usize) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert_eq!(self.jobs.len(), jobs);
    }

    /// The n-th job was dead when its lease allowed nothing more, its last acknowledged beat being no later than `cut`.
    #[track_caller]
    pub fn dead_in_time(&self, n: usize, cut: f64, ttl: Duration) {
        let job = &self.jobs[n];
        let left = cut + ttl.as_secs_f64() * 0.99 - job.last;
        println!("    last sign of life {:+.2} s from the cut, {left:.2} s before it had to be", job.last - cut);
        assert!(!job.ended && left >= 0.0, "{job:?} should have been dead {left} s ago");
    }
}

#[test]
fn the_checker_sees_overlaps_and_falling_fences() {
    let good = "start 1 10.00 5\ntick 1 10.02\nend 1 10.05\nstart 2 10.05 6\n";
    assert!(Log::read(good).wrong.is_empty());
    for bad in [
        "start 1 10.00 5\nstart 2 10.05 6\ntick 1 10.06\n",
        "start 1 10.00 5\nend 1 10.02\nstart 2 10.05 5\n",
        "start 1 10.00 5\nstart 2 10.05 6\noverlap 2 10.05 1\n",
        "start 1 10.00 5\nend 1 10.02\ntick 1 10.03\n",
    ] {
        assert_eq!(Log::read(bad).wrong.len(), 1, "{bad}");
    }
}

/// Seconds since boot, as the jobs read them.
pub fn now() -> f64 {
    Clock::Boottime.now().0 as f64 / 1e9
}

/// When a waiter may start at the earliest and should have at the latest, in seconds after the holder's last beat.
pub fn lapse(ttl: Duration) -> f64 {
    timing::lapse(ttl).as_secs_f64()
}
