//! The built binary on Redis, from the outside: what users type and get, and that two jobs never overlap whatever is
//! killed, frozen, cut off, wiped or restarted.

pub mod support;

#[path = "redis_run/basics.rs"]
mod basics;
#[path = "redis_run/blind.rs"]
mod blind;
#[path = "redis_run/breaking.rs"]
mod breaking;
#[path = "redis_run/clocks.rs"]
mod clocks;
#[path = "redis_run/cost.rs"]
mod cost;
#[path = "redis_run/crowds.rs"]
mod crowds;
#[path = "redis_run/deaths.rs"]
mod deaths;
#[path = "redis_run/doctor.rs"]
mod doctor;
#[path = "redis_run/engine.rs"]
mod engine;
#[path = "served/keeper.rs"]
mod keeper;
#[path = "redis_run/keepers.rs"]
mod keepers;
#[path = "redis_run/lines.rs"]
mod lines;
#[path = "redis_run/log.rs"]
mod log;
#[path = "redis_run/passing.rs"]
mod passing;
#[path = "served/policies.rs"]
mod policies;
#[path = "redis_run/refusals.rs"]
mod refusals;
#[path = "redis_run/scene.rs"]
mod scene;
#[path = "redis_run/secrets.rs"]
mod secrets;
#[path = "served/several.rs"]
mod several;
#[path = "redis_run/stage.rs"]
mod stage;
#[path = "redis_run/ways_in.rs"]
mod ways_in;
