//! A Sentinel set of one's own: a primary, two replicas, and three sentinels that promote one of them within two seconds
//! or three. With less patience than a second they do it again and again on a busy machine.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::Value;
use tempfile::TempDir;

use super::redis::{Server, free_port};
use super::until;

/// A running set; it ends when this is dropped.
pub struct Sentinels {
    pub servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
    dir: TempDir,
    /// The sentinels' own.
    password: Option<String>,
    /// The primary when it was last asked for.
    last: AtomicUsize,
}

struct Sentinel {
    port: u16,
    child: Child,
}

impl Sentinels {
    pub fn start() -> Sentinels {
        Sentinels::with(&[], &[])
    }

    /// With further options of the servers, and further lines of the sentinels' configuration.
    pub fn with(options: &[&str], lines: &[&str]) -> Sentinels {
        let first = Server::with(options);
        let port = first.port.to_string();
        let replica = || {
            let server = Server::with(options);
            assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", &port]), "OK");
            assert_eq!(server.ask(&["CONFIG", "REWRITE"]), "OK");
            server
        };
        let servers = vec![replica(), replica()];
        let dir = tempfile::Builder::new().prefix("vl-sentinel-").tempdir().unwrap();
        let sentinels = (0..3).map(|number| launch(&dir, number, first.port, lines)).collect();
        let servers = std::iter::once(first).chain(servers).collect();
        let password = lines.iter().find_map(|line| Some(line.strip_prefix("requirepass ")?.to_owned()));
        let set = Sentinels { servers, sentinels, dir, password, last: AtomicUsize::new(0) };
        until("the sentinels know each other and two replicas", || {
            set.sentinels.iter().all(|sentinel| {
                let said = flat(set.tell(sentinel.port, &["SENTINEL", "MASTER", "main"]));
                let is = |field: &str, value: &str| said.windows(2).any(|pair| pair[0] == field && pair[1] == value);
                is("num-slaves", "2") && is("num-other-sentinels", "2") && is("flags", "master")
            })
        });
        until("the replicas follow", || set.servers[0].ask(&["INFO", "replication"]).matches("state=online").count() == 2);
        set
    }

    /// The store URL.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/main", self.hosts())
    }

    pub fn hosts(&self) -> String {
        self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// The sentinels' ports.
    pub fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    /// Which of the servers the sentinels name as the primary; the one before where none answers.
    pub fn primary(&self) -> usize {
        let named = self.sentinels.iter().rev().find_map(|sentinel| {
            let said = flat(self.tell(sentinel.port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]));
            let port: u16 = said.get(1)?.parse().ok()?;
            self.servers.iter().position(|server| server.port == port)
        });
        let last = named.unwrap_or(self.last.load(Ordering::Relaxed));
        self.last.store(last, Ordering::Relaxed);
        last
    }

    /// Waits until the server that the sentinels name is a primary.
    pub fn wait_until_well(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.servers[self.primary()].ask(&["INFO", "replication"]).contains("role:master") {
            assert!(Instant::now() < end, "the sentinels name no primary");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until all sentinels name another primary than this one; returns it.
    pub fn wait_for_other_than(&self, server: usize) -> usize {
        let mut next = server;
        until("the sentinels have promoted another server", || {
            let named: Vec<Vec<String>> = (self.sentinels.iter())
                .map(|sentinel| flat(self.tell(sentinel.port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"])))
                .collect();
            let port = named[0].get(1).and_then(|port| port.parse().ok()).unwrap_or(0);
            next = self.servers.iter().position(|server| server.port == port).unwrap_or(server);
            next != server && named.iter().all(|said| *said == named[0])
        });
        next
    }

    /// SIGSTOP to one sentinel.
    pub fn freeze_sentinel(&self, number: usize) {
        kill(Pid::from_raw(self.sentinels[number].child.id() as i32), Signal::SIGSTOP).unwrap();
    }

    /// SIGCONT.
    pub fn thaw_sentinel(&self, number: usize) {
        kill(Pid::from_raw(self.sentinels[number].child.id() as i32), Signal::SIGCONT).unwrap();
    }

    /// SIGKILL to one sentinel.
    pub fn kill_sentinel(&mut self, number: usize) {
        let _ = self.sentinels[number].child.kill();
        let _ = self.sentinels[number].child.wait();
    }

    /// Starts it again with what it wrote down.
    pub fn start_sentinel_again(&mut self, number: usize) {
        let port = self.sentinels[number].port;
        self.sentinels[number].child = run(&self.dir, number);
        until("the sentinel answers", || !flat(self.tell(port, &["PING"])).is_empty());
    }

    fn tell(&self, port: u16, words: &[&str]) -> Option<Value> {
        let secret = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{secret}127.0.0.1:{port}/")).unwrap();
        let mut line = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        line.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut line).ok()
    }

    /// A command to one sentinel.
    pub fn tell_sentinel(&self, number: usize, words: &[&str]) -> Vec<String> {
        flat(self.tell(self.sentinels[number].port, words))
    }
}

/// A prefix of one's own in a set that the tests which run at once share: for those that harm no server.
pub struct Corner {
    pub set: Arc<Sentinels>,
    pub prefix: String,
}

impl Corner {
    pub fn take() -> Corner {
        static SHARED: Mutex<Weak<Sentinels>> = Mutex::new(Weak::new());
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let set = shared.upgrade().unwrap_or_else(|| Arc::new(Sentinels::start()));
        *shared = Arc::downgrade(&set);
        Corner { set, prefix: format!("p{}", COUNT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The store URL.
    pub fn url(&self) -> String {
        format!("{}?prefix={}&fresh=true", self.set.url(), self.prefix)
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        // First those who would take it for a fault.
        (0..self.sentinels.len()).for_each(|number| self.kill_sentinel(number));
    }
}

fn launch(dir: &TempDir, number: usize, primary: u16, lines: &[&str]) -> Sentinel {
    // A port can be taken between the choice and the start.
    for _ in 0..20 {
        let port = free_port();
        let place = dir.path().display();
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {place}\nlogfile {place}/sentinel{number}.log\n\
             sentinel monitor main 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds main 1000\n\
             sentinel failover-timeout main 3000\n{}\n",
            lines.join("\n")
        );
        std::fs::write(dir.path().join(format!("sentinel{number}.conf")), config).unwrap();
        let mut child = run(dir, number);
        let mut over = false;
        until("a sentinel listens or ends", || {
            over = child.try_wait().unwrap().is_some();
            over || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        if !over {
            return Sentinel { port, child };
        }
    }
    panic!("redis-sentinel does not start");
}

fn run(dir: &TempDir, number: usize) -> Child {
    Command::new("redis-sentinel")
        .arg(dir.path().join(format!("sentinel{number}.conf")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this needs redis-sentinel: tests/all installs it")
}

fn flat(value: Option<Value>) -> Vec<String> {
    match value {
        Some(Value::Array(_)) => value.and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default(),
        Some(value) => redis::from_redis_value(value).into_iter().collect(),
        None => Vec::new(),
    }
}
