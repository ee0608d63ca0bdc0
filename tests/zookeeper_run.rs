//! ZooKeeper beside the suite of all engines: the built binary on it, from the outside, and what it does to a store whose
//! members die, freeze and forget.

pub mod support;

#[path = "zookeeper_run/basics.rs"]
mod basics;
#[path = "served/crowds.rs"]
mod crowds;
#[path = "zookeeper_run/deaths.rs"]
mod deaths;
#[path = "zookeeper_run/engine.rs"]
mod engine;
#[path = "served/keeper.rs"]
mod keeper;
#[path = "redis_run/log.rs"]
pub mod log;
#[path = "zookeeper_run/members.rs"]
mod members;
#[path = "served/policies.rs"]
mod policies;
#[path = "zookeeper_run/scene.rs"]
mod scene;
#[path = "served/several.rs"]
mod several;
#[path = "redis_run/stage.rs"]
pub mod stage;
