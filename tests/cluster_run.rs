//! The built binary on a Redis Cluster: a slot that moves while its lock is held, and a primary that is killed or frozen.

pub mod support;

#[path = "served/crowds.rs"]
mod crowds;
#[path = "redis_run/log.rs"]
pub mod log;
#[path = "cluster_run/moves.rs"]
mod moves;
#[path = "cluster_run/scene.rs"]
mod scene;
#[path = "served/several.rs"]
mod several;
#[path = "redis_run/stage.rs"]
pub mod stage;
#[path = "cluster_run/words.rs"]
mod words;
