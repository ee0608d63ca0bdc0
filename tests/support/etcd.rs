//! An etcd of one's own: a single member on free ports, with its data in a directory that goes away with it.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vaultlock::store::etcd::Address;
use vaultlock::store::{self, Store, Terms};

use super::redis::free_port;
use super::until;

/// A running server; it ends when this is dropped.
pub struct Etcd {
    pub port: u16,
    /// Where it would talk to other members.
    peers: u16,
    dir: TempDir,
    child: Child,
}

impl Etcd {
    pub fn start() -> Etcd {
        // A port can be taken between the choice and the start.
        for _ in 0..20 {
            let dir = tempfile::Builder::new().prefix("vl-etcd-").tempdir().unwrap();
            let (port, peers) = (free_port(), free_port());
            let child = launch(&dir, port, peers);
            let mut server = Etcd { port, peers, dir, child };
            if server.comes_up() {
                return server;
            }
        }
        panic!("etcd does not start");
    }

    /// `etcdctl WORDS` on this server.
    pub fn ctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints=127.0.0.1:{}", self.port)).args(words);
        command
    }

    /// The store URL.
    pub fn url(&self) -> String {
        format!("etcd://127.0.0.1:{}", self.port)
    }

    /// A store in it.
    pub fn open_store(&self, terms: &Terms) -> Box<dyn Store> {
        Box::new(store::etcd::Etcd::open(Address::parse(&self.url(), &[]).unwrap(), terms))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after a kill, on the same ports and data.
    pub fn start_again(&mut self) {
        until("etcd is up again", || {
            self.child = launch(&self.dir, self.port, self.peers);
            self.comes_up()
        });
    }

    /// Stops it as a power cut would and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits until it answers; false if it ends first.
    fn comes_up(&mut self) -> bool {
        let mut up = false;
        until("etcd answers or ends", || {
            let mut ask = self.ctl(&["--command-timeout=1s", "--dial-timeout=1s", "endpoint", "health"]);
            up = ask.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("this needs etcdctl: tests/all").success();
            up || self.child.try_wait().unwrap().is_some()
        });
        up
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(dir: &TempDir, port: u16, peers: u16) -> Child {
    let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let mut command = Command::new("etcd");
    command.current_dir(dir.path()).args(["--data-dir", "data", "--logger", "zap", "--log-outputs", "etcd.log"]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("default={peers}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("this needs etcd: tests/all installs it")
}
