//! A service of several members, as the torture strikes it: one of them, mostly the leader, or all.

use crate::dice::Dice;
use crate::support::etcd::Etcd;
use crate::support::zookeeper::ZooKeeper;

pub trait Members {
    fn ports(&self) -> Vec<u16>;
    fn seek_leader(&self) -> Option<usize>;
    fn kill_member(&mut self, member: usize);
    fn freeze_member(&self, member: usize);
    /// Those that were killed.
    fn start_again(&mut self);
    fn thaw(&self);
}

/// Whom a fault hits: mostly the leader, then one, then all.
pub fn struck(members: &dyn Members, dice: &mut Dice) -> Vec<usize> {
    let all: Vec<usize> = (0..members.ports().len()).collect();
    match dice.below(6) {
        0 => all,
        1 => vec![dice.below(all.len())],
        _ => vec![members.seek_leader().unwrap_or_else(|| dice.below(all.len()))],
    }
}

macro_rules! members {
    ($($service:ident)*) => {$(
        impl Members for $service {
            fn ports(&self) -> Vec<u16> {
                self.ports()
            }

            fn seek_leader(&self) -> Option<usize> {
                self.seek_leader()
            }

            fn kill_member(&mut self, member: usize) {
                self.kill_member(member);
            }

            fn freeze_member(&self, member: usize) {
                self.freeze_member(member);
            }

            fn start_again(&mut self) {
                self.start_again();
            }

            fn thaw(&self) {
                self.thaw();
            }
        }
    )*};
}

members!(Etcd ZooKeeper);
