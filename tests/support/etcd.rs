//! An etcd of one's own: one member or three on free ports, with their data in a directory that goes away with them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vaultlock::store::etcd::Address;
use vaultlock::store::{self, Store, Terms};

use super::claims::{done, enter, lock, ticket};
use super::redis::free_port;
use super::until;

/// A running cluster; it ends when this is dropped.
pub struct Etcd {
    /// The first member's.
    pub port: u16,
    members: Vec<Member>,
    more: Vec<String>,
    dir: TempDir,
}

struct Member {
    port: u16,
    /// Where it talks to the others.
    peers: u16,
    child: Child,
}

impl Etcd {
    /// One member.
    pub fn start() -> Etcd {
        Etcd::with(1, &[])
    }

    /// A cluster of three.
    pub fn three() -> Etcd {
        Etcd::with(3, &[])
    }

    /// So many members with further options. In those, `{dir}` is their directory.
    pub fn with(count: usize, more: &[&str]) -> Etcd {
        // A port can be taken between the choice and the start.
        for _ in 0..20 {
            let dir = tempfile::Builder::new().prefix("vl-etcd-").tempdir().unwrap();
            if let Some(etcd) = Etcd::within(dir, count, more) {
                return etcd;
            }
        }
        panic!("etcd does not start");
    }

    /// With its data, and what `more` names, in this directory. `None` if it ends at once.
    pub fn within(dir: TempDir, count: usize, more: &[&str]) -> Option<Etcd> {
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        let place = dir.path().display().to_string();
        let more: Vec<String> = more.iter().map(|word| word.replace("{dir}", &place)).collect();
        let launched = ports.iter().enumerate().map(|(number, &(port, peers))| {
            let child = launch(&dir, number, &ports, &more);
            Member { port, peers, child }
        });
        let members: Vec<Member> = launched.collect();
        let mut etcd = Etcd { port: ports[0].0, members, more, dir };
        etcd.comes_up().then_some(etcd)
    }

    /// The store URL, with all members.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
        format!("etcd://{}", hosts.join(","))
    }

    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// A store in it.
    pub fn open_store(&self, terms: &Terms) -> Box<dyn Store> {
        Box::new(store::etcd::Etcd::open(Address::parse(&self.url(), &[]).unwrap(), terms))
    }

    /// The store URL with this max_ttl, once nobody can hold a lock in it from before: otherwise its first user waits for that.
    pub fn settled(&self, max_ttl: Duration) -> String {
        let mut store = self.open_store(&Terms { request: Duration::from_secs(5), max_ttl });
        let (name, mut me) = (lock("settled"), ticket("settles"));
        me.ttl_ms = max_ttl.as_millis() as u64;
        let view = store.take(&name, &me).unwrap();
        let view = done(store.commit(&name, &me.id, &enter(&view, &me)).unwrap());
        let leave = vaultlock::ledger::commit::release(&view, &me.id).unwrap();
        done(store.commit(&name, &me.id, &leave).unwrap());
        format!("{}?max_ttl={}ms", self.url(), max_ttl.as_millis())
    }

    /// `etcdctl WORDS` on its first member.
    pub fn ctl(&self, words: &[&str]) -> Command {
        self.ctl_on(0, words)
    }

    fn ctl_on(&self, member: usize, words: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        let endpoint = format!("--endpoints=127.0.0.1:{}", self.members[member].port);
        command.env("ETCDCTL_API", "3").arg(endpoint).args(words);
        command
    }

    /// `etcdctl WORDS`, which must succeed; returns what it says.
    pub fn tell(&self, words: &[&str]) -> String {
        let told = self.ctl(words).stderr(Stdio::inherit()).output().expect("this needs etcdctl: tests/all");
        assert!(told.status.success(), "etcdctl {words:?}: {told:?}");
        String::from_utf8(told.stdout).unwrap()
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        until("etcd has a leader", || {
            leader = self.seek_leader();
            leader.is_some()
        });
        leader.unwrap()
    }

    /// The same, if one says so now.
    pub fn seek_leader(&self) -> Option<usize> {
        (0..self.members.len()).find(|member| self.leads(*member))
    }

    fn leads(&self, member: usize) -> bool {
        let words = ["--command-timeout=1s", "--dial-timeout=1s", "endpoint", "status", "--write-out=fields"];
        let told = self.ctl_on(member, &words).stderr(Stdio::null()).output().expect("this needs etcdctl: tests/all");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("\"{name}\"")))?;
            Some(line.rsplit_once(' ')?.1.to_owned())
        };
        field("Leader").is_some_and(|leader| field("MemberID") == Some(leader))
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
        until("etcd is up again", || {
            let ports: Vec<(u16, u16)> = self.members.iter().map(|member| (member.port, member.peers)).collect();
            for number in 0..self.members.len() {
                if self.members[number].child.try_wait().unwrap().is_some() {
                    self.members[number].child = launch(&self.dir, number, &ports, &self.more);
                }
            }
            self.comes_up()
        });
    }

    /// Stops it as a power cut would and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Stops it and starts it again without its data, under the same names: its cluster id is the same.
    pub fn wipe(&mut self) {
        self.kill();
        for number in 0..self.members.len() {
            std::fs::remove_dir_all(self.dir.path().join(format!("m{number}"))).unwrap();
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

    /// Waits until all take connections and the first answers; false if one ends first.
    fn comes_up(&mut self) -> bool {
        let with_tls = self.more.iter().any(|word| word.contains("--cert-file"));
        let mut up = false;
        until("etcd answers or ends", || {
            // TLS is for those to try who test it.
            up = (0..self.members.len()).all(|member| {
                let port = self.members[member].port;
                if with_tls { TcpStream::connect(("127.0.0.1", port)).is_ok() } else { is_healthy(port) }
            });
            up || self.members.iter_mut().any(|member| member.child.try_wait().unwrap().is_some())
        });
        up
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether it has a leader and answers, whoever asks.
fn is_healthy(port: u16) -> bool {
    let Ok(mut line) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut text = String::new();
    let asked =
        line.set_read_timeout(Some(Duration::from_secs(3))).and_then(|()| line.write_all(b"GET /health HTTP/1.0\r\n\r\n"));
    asked.and_then(|()| line.read_to_string(&mut text)).is_ok() && text.contains("\"true\"")
}

fn launch(dir: &TempDir, number: usize, ports: &[(u16, u16)], more: &[String]) -> Child {
    let (port, peers) = ports[number];
    let scheme = if more.iter().any(|word| word.contains("--cert-file")) { "https" } else { "http" };
    let (clients, peers) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let all: Vec<String> =
        ports.iter().enumerate().map(|(number, (_, peers))| format!("m{number}=http://127.0.0.1:{peers}")).collect();
    let (name, log) = (format!("m{number}"), format!("etcd{number}.log"));
    let mut command = Command::new("etcd");
    command.current_dir(dir.path()).args(["--name", &name, "--data-dir", &name, "--logger", "zap", "--log-outputs", &log]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &all.join(",")]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("this needs etcd: tests/all installs it")
}
