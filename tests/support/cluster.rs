//! A Redis Cluster of one's own: three primaries, each with a replica that takes its place within a few seconds.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::redis::{Server, free_port};
use super::until;

/// Six running nodes; they end when this is dropped.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::with(&[])
    }

    /// With further options of the nodes.
    pub fn with(options: &[&str]) -> Cluster {
        let node = || {
            // The bus is 10,000 ports above, where nothing says otherwise.
            let bus = free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", &bus];
            Server::with(&[&own[..], options].concat())
        };
        let cluster = Cluster { nodes: (0..6).map(|_| node()).collect() };
        let hosts: Vec<String> = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(hosts.iter().map(String::as_str));
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        cli(&words);
        cluster.wait_until_well();
        until("each primary has a replica that follows", || {
            let follows = |node: &&Server| node.ask(&["INFO", "replication"]).contains("master_link_status:up");
            cluster.nodes.iter().filter(follows).count() == 3
        });
        cluster
    }

    /// The store URL.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// One of the primaries that take writes now, by any of their numbers.
    pub fn some_primary(&self, number: usize) -> usize {
        let is = |node: &usize| self.nodes[*node].ask(&["INFO", "replication"]).contains("role:master");
        let all: Vec<usize> = (0..self.nodes.len()).filter(is).collect();
        all.get(number % all.len().max(1)).copied().unwrap_or(number)
    }

    /// Waits until all that live agree that all slots have a home.
    pub fn wait_until_well(&self) {
        until("the cluster is well", || {
            let ok = |node: &Server| node.lives() && node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            self.nodes.iter().filter(|node| node.lives()).all(|node| ok(node) && self.owner_by(node, 0).is_some())
        });
    }

    /// The node that keeps this slot, in the words of the others.
    pub fn owner(&self, slot: u16) -> usize {
        let mut owner = None;
        until("the nodes agree on a slot's home", || {
            let said: Vec<Option<usize>> =
                self.nodes.iter().filter(|node| node.lives()).map(|node| self.owner_by(node, slot)).collect();
            owner = said.first().copied().flatten();
            said.iter().all(|one| one.is_some() && *one == owner)
        });
        owner.unwrap()
    }

    /// The node that keeps this slot in the words of another than this one; that one while nobody knows better.
    pub fn owner_but(&self, slot: u16, but: usize) -> usize {
        let other = self.nodes.iter().enumerate().find(|(number, node)| *number != but && node.lives());
        other.and_then(|(_, node)| self.owner_by(node, slot)).unwrap_or(but)
    }

    fn owner_by(&self, node: &Server, slot: u16) -> Option<usize> {
        let nodes = node.ask(&["CLUSTER", "NODES"]);
        let has = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<u16>().is_ok_and(|first| first <= slot) && last.parse::<u16>().is_ok_and(|last| slot <= last)
        };
        let line = nodes.lines().find(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words.get(2).is_some_and(|flags| flags.contains("master") && !flags.contains("fail"))
                && words.iter().skip(8).any(|range| has(range))
        })?;
        let port = line.split([':', '@']).nth(1)?;
        self.nodes.iter().position(|node| node.port.to_string() == port)
    }

    /// What a node is called by the others.
    pub fn id(&self, node: usize) -> String {
        self.nodes[node].ask(&["CLUSTER", "MYID"])
    }

    /// The slot of a lock.
    pub fn slot(&self, lock: &str) -> u16 {
        let answer = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", &format!("vaultlock:{{{lock}}}")]);
        answer.parse().unwrap_or_else(|_| panic!("{answer}"))
    }

    /// A lock's name whose slot this node keeps.
    pub fn name_at(&self, node: usize) -> String {
        (0..).map(|number| format!("n{number}")).find(|name| self.owner(self.slot(name)) == node).unwrap()
    }

    /// Opens the move of a slot, as redis-cli does: nothing has gone over yet.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (from_id, to_id, slot) = (self.id(from), self.id(to), slot.to_string());
        assert_eq!(self.nodes[to].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(self.nodes[from].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
    }

    /// Takes its keys over and closes the move.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (to_id, slot) = (self.id(to), slot.to_string());
        let keys = self.nodes[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        let port = self.nodes[to].port.to_string();
        if !keys.is_empty() {
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.split(' '));
            assert_eq!(self.nodes[from].ask(&words), "OK");
        }
        for node in [to, from].into_iter().chain((0..self.nodes.len()).filter(|node| ![to, from].contains(node))) {
            // Replicas hear of it from their primaries.
            self.nodes[node].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
}

/// A prefix of one's own in a cluster that the tests which run at once share: for those that harm no node.
pub struct Quarter {
    pub cluster: Arc<Cluster>,
    pub prefix: String,
}

impl Quarter {
    pub fn take() -> Quarter {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cluster = shared.upgrade().unwrap_or_else(|| Arc::new(Cluster::start()));
        *shared = Arc::downgrade(&cluster);
        Quarter { cluster, prefix: format!("p{}", COUNT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The store URL.
    pub fn url(&self) -> String {
        format!("{}?prefix={}&fresh=true", self.cluster.url(), self.prefix)
    }
}

/// `redis-cli WORDS`, which must succeed.
fn cli(words: &[&str]) {
    until("redis-cli makes a cluster", || {
        let told = Command::new("redis-cli").args(words).stdin(Stdio::null()).output().expect("this needs redis-cli: tests/all");
        told.status.success()
    });
}
