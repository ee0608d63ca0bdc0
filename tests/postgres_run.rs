//! The built binary on PostgreSQL, from the outside: what users type and get, and that two jobs never overlap whatever is
//! killed, frozen, cut off, promoted or restarted.

pub mod support;

#[path = "postgres_run/basics.rs"]
mod basics;
#[path = "postgres_run/deaths.rs"]
mod deaths;
#[path = "postgres_run/doctor.rs"]
mod doctor;
#[path = "postgres_run/engine.rs"]
mod engine;
#[path = "served/keeper.rs"]
mod keeper;
#[path = "redis_run/log.rs"]
pub mod log;
#[path = "served/policies.rs"]
mod policies;
#[path = "postgres_run/refusals.rs"]
mod refusals;
#[path = "postgres_run/scene.rs"]
mod scene;
#[path = "served/several.rs"]
mod several;
#[path = "redis_run/stage.rs"]
pub mod stage;
