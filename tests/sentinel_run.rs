//! The built binary on a Redis that sentinels watch over: a fail-over while a lock is held and waited for, and what it loses.

pub mod support;

#[path = "served/crowds.rs"]
mod crowds;
#[path = "sentinel_run/failover.rs"]
mod failover;
#[path = "redis_run/log.rs"]
pub mod log;
#[path = "sentinel_run/scene.rs"]
mod scene;
#[path = "served/several.rs"]
mod several;
#[path = "redis_run/stage.rs"]
pub mod stage;
#[path = "sentinel_run/words.rs"]
mod words;
