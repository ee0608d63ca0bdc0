//! A ZooKeeper of one's own: one member or three on free ports, with their data in a directory that goes away with them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vaultlock::store::zookeeper::Address;
use vaultlock::store::{self, Server as _, Store, Terms};

use super::claims::{done, enter, lock, ticket};
use super::proxy::{Proxy, Way};
use super::redis::free_port;

/// A Java machine takes seconds to start, and more where many do.
const PATIENCE: Duration = Duration::from_secs(60);
/// In milliseconds; a session lasts twenty of them at the most.
const TICK: u32 = 500;

/// A running ensemble; it ends when this is dropped.
pub struct ZooKeeper {
    members: Vec<Member>,
    /// Where members reach each other by these: from which, to which.
    lines: Vec<(usize, usize, Proxy)>,
    dir: TempDir,
}

struct Member {
    port: u16,
    child: Child,
}

impl ZooKeeper {
    /// One member.
    pub fn start() -> ZooKeeper {
        ZooKeeper::with(1, false)
    }

    /// An ensemble of three.
    pub fn three() -> ZooKeeper {
        ZooKeeper::with(3, false)
    }

    /// An ensemble of three, of which [`ZooKeeper::cut_off`] can cut one off from the others.
    pub fn three_apart() -> ZooKeeper {
        ZooKeeper::with(3, true)
    }

    /// One member that all tests share which run at the same time; each has a node of its own there.
    pub fn shared() -> Arc<ZooKeeper> {
        static SHARED: Mutex<Weak<ZooKeeper>> = Mutex::new(Weak::new());
        // A test that failed while it started one leaves nothing behind.
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(ZooKeeper::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn with(count: usize, apart: bool) -> ZooKeeper {
        // A port can be taken between the choice and the start.
        for _ in 0..5 {
            let dir = tempfile::Builder::new().prefix("vl-zk-").tempdir().unwrap();
            // Where each is for clients, and where it talks to the others and elects with them.
            let ports: Vec<(u16, (u16, u16))> = (0..count).map(|_| (free_port(), (free_port(), free_port()))).collect();
            let mut lines = Vec::new();
            let launched = ports.iter().enumerate().map(|(number, &(port, _))| {
                let mut seen = ports.clone();
                for (other, (_, (peers, elect))) in seen.iter_mut().enumerate().filter(|(other, _)| apart && *other != number) {
                    for port in [peers, elect] {
                        let line = Proxy::before(*port);
                        *port = line.port;
                        lines.push((number, other, line));
                    }
                }
                write_config(&dir, number, &seen);
                Member { port, child: launch(&dir, number) }
            });
            let members = launched.collect();
            let mut server = ZooKeeper { members, lines, dir };
            if server.comes_up() {
                return server;
            }
        }
        panic!("ZooKeeper does not start");
    }

    /// A store URL with all members, below a node that nobody else uses.
    pub fn url(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let hosts: Vec<String> = self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("zk://{}/locks/{}", hosts.join(","), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// The store URL with this max_ttl, once nobody can hold a lock in it from before: otherwise its first user waits for that.
    pub fn settled(&self, max_ttl: Duration) -> String {
        let url = self.url();
        settle(&url, max_ttl);
        format!("{url}?max_ttl={}ms", max_ttl.as_millis())
    }

    /// ZooKeeper's own command line on its first member, which must succeed.
    pub fn tell(&self, words: &[&str]) {
        let mut command = Command::new("java");
        command.args(["-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg("/usr/share/java/slf4j-nop.jar:/usr/share/java/zookeeper.jar:/usr/share/java/commons-cli.jar");
        command.args(["org.apache.zookeeper.ZooKeeperMain", "-server", &format!("127.0.0.1:{}", self.members[0].port)]);
        let told = command.args(words).stdin(Stdio::null()).output().expect("this needs java: tests/all installs it");
        assert!(told.status.success(), "{words:?}: {told:?}");
    }

    /// What its first member answers to one of its words of four letters.
    pub fn tell_four(&self, word: &str) -> String {
        ask(self.members[0].port, word).unwrap_or_default()
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        patiently("ZooKeeper has a leader", || {
            leader = self.seek_leader();
            leader.is_some()
        });
        leader.unwrap()
    }

    /// The same, if one says so now.
    pub fn seek_leader(&self) -> Option<usize> {
        let leads = |member: &Member| matches!(mode(member.port).as_deref(), Some("leader" | "standalone"));
        self.members.iter().position(leads)
    }

    /// SIGKILL to all.
    pub fn kill(&mut self) {
        (0..self.members.len()).for_each(|member| self.kill_member(member));
    }

    pub fn kill_member(&mut self, member: usize) {
        let child = &mut self.members[member].child;
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts those again that were killed, on the same ports and data.
    pub fn start_again(&mut self) {
        for number in 0..self.members.len() {
            if self.members[number].child.try_wait().unwrap().is_some() {
                self.members[number].child = launch(&self.dir, number);
            }
        }
        assert!(self.comes_up(), "a member ended");
    }

    /// Nothing that a member and the others say to each other arrives any more; its clients reach it as before.
    pub fn cut_off(&self, member: usize) {
        assert!(!self.lines.is_empty(), "they are not apart");
        for (_, _, line) in self.lines.iter().filter(|(from, to, _)| *from == member || *to == member) {
            line.to_server(Way::Swallow);
            line.to_client(Way::Swallow);
        }
    }

    /// Stops it as a power cut would and starts it again without its data.
    pub fn wipe(&mut self) {
        self.kill();
        for number in 0..self.members.len() {
            fs::remove_dir_all(self.dir.path().join(format!("m{number}/version-2"))).unwrap();
        }
        self.start_again();
    }

    /// SIGSTOP to all.
    pub fn freeze(&self) {
        (0..self.members.len()).for_each(|member| self.freeze_member(member));
    }

    pub fn freeze_member(&self, member: usize) {
        kill(self.pid(member), Signal::SIGSTOP).unwrap();
    }

    /// SIGCONT to all.
    pub fn thaw(&self) {
        (0..self.members.len()).for_each(|member| kill(self.pid(member), Signal::SIGCONT).unwrap());
    }

    fn pid(&self, member: usize) -> Pid {
        Pid::from_raw(self.members[member].child.id() as i32)
    }

    /// Waits until all serve; false if one ends first.
    fn comes_up(&mut self) -> bool {
        let mut up = false;
        patiently("ZooKeeper serves or ends", || {
            up = self.members.iter().all(|member| mode(member.port).is_some());
            up || self.members.iter_mut().any(|member| member.child.try_wait().unwrap().is_some())
        });
        up
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A store there.
pub fn open_store(url: &str, terms: &Terms) -> Box<dyn Store> {
    Address::parse(url, &[]).unwrap().open(terms)
}

/// Sees to it that nobody can hold a lock in it from before.
pub fn settle(url: &str, max_ttl: Duration) {
    let mut store = Box::new(store::zookeeper::ZooKeeper::open(
        Address::parse(url, &[]).unwrap(),
        &Terms { request: Duration::from_secs(5), max_ttl },
    ));
    let (name, mut me) = (lock("settled"), ticket("settles"));
    me.ttl_ms = max_ttl.as_millis() as u64;
    let view = store.take(&name, &me).unwrap();
    let view = done(store.commit(&name, &me.id, &enter(&view, &me)).unwrap());
    let leave = vaultlock::ledger::commit::release(&view, &me.id).unwrap();
    done(store.commit(&name, &me.id, &leave).unwrap());
}

fn patiently(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a member says it is, if it serves.
fn mode(port: u16) -> Option<String> {
    Some(ask(port, "srvr")?.lines().find_map(|line| line.strip_prefix("Mode: "))?.to_owned())
}

fn ask(port: u16, word: &str) -> Option<String> {
    let mut line = TcpStream::connect(("127.0.0.1", port)).ok()?;
    line.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    line.write_all(word.as_bytes()).ok()?;
    let mut text = String::new();
    line.read_to_string(&mut text).ok()?;
    Some(text)
}

fn write_config(dir: &TempDir, number: usize, ports: &[(u16, (u16, u16))]) {
    let data = dir.path().join(format!("m{number}"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("myid"), format!("{}\n", number + 1)).unwrap();
    let mut text = format!(
        "tickTime={TICK}\ninitLimit=40\nsyncLimit=10\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
         admin.enableServer=false\n4lw.commands.whitelist=srvr,cons\n",
        data.display(),
        ports[number].0
    );
    if ports.len() > 1 {
        for (other, (_, (peers, elect))) in ports.iter().enumerate() {
            text.push_str(&format!("server.{}=127.0.0.1:{peers}:{elect}\n", other + 1));
        }
    }
    fs::write(dir.path().join(format!("m{number}.cfg")), text).unwrap();
}

fn launch(dir: &TempDir, number: usize) -> Child {
    let mut command = Command::new("java");
    command.current_dir(dir.path()).args(["-Xmx64m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    // Nothing here cuts the power, so the kernel keeps what was written.
    command.args(["-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=512"]);
    command.args(["-cp", "/usr/share/java/slf4j-nop.jar:/usr/share/java/zookeeper.jar"]);
    command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", &format!("m{number}.cfg")]);
    let log = fs::File::create(dir.path().join(format!("m{number}.log"))).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("this needs java and ZooKeeper: tests/all installs them")
}
