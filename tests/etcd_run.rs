//! The built binary on etcd, from the outside: what users type and get, and that two jobs never overlap whatever is killed,
//! frozen or cut off.

pub mod support;

#[path = "etcd_run/basics.rs"]
mod basics;
#[path = "etcd_run/cost.rs"]
mod cost;
#[path = "served/crowds.rs"]
mod crowds;
#[path = "etcd_run/deaths.rs"]
mod deaths;
#[path = "etcd_run/doctor.rs"]
mod doctor;
#[path = "served/keeper.rs"]
mod keeper;
#[path = "redis_run/log.rs"]
pub mod log;
#[path = "etcd_run/members.rs"]
mod members;
#[path = "served/policies.rs"]
mod policies;
#[path = "etcd_run/scene.rs"]
mod scene;
#[path = "served/several.rs"]
mod several;
#[path = "redis_run/stage.rs"]
pub mod stage;
