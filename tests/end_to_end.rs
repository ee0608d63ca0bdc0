//! The built binary on the file store, from the outside: what users type and get, and what happens when things go wrong.

#[path = "support/disk.rs"]
mod disk;
#[path = "support/running.rs"]
pub mod running;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/vault.rs"]
mod vault;

#[path = "end_to_end/breaking.rs"]
mod breaking;
#[path = "end_to_end/coming_from.rs"]
mod coming_from;
#[path = "end_to_end/completions.rs"]
mod completions;
#[path = "end_to_end/config.rs"]
mod config;
#[path = "end_to_end/contention.rs"]
mod contention;
#[path = "end_to_end/cycles.rs"]
mod cycles;
#[path = "end_to_end/damage.rs"]
mod damage;
#[path = "end_to_end/deaths.rs"]
mod deaths;
#[path = "end_to_end/doctor.rs"]
mod doctor;
#[path = "end_to_end/extend.rs"]
mod extend;
#[path = "end_to_end/fencing.rs"]
mod fencing;
#[path = "end_to_end/foreign_text.rs"]
mod foreign_text;
#[path = "end_to_end/full_disk.rs"]
mod full_disk;
#[path = "end_to_end/job_sees.rs"]
mod job_sees;
#[path = "end_to_end/keeper.rs"]
mod keeper;
#[path = "redis_run/log.rs"]
pub mod log;
#[path = "end_to_end/policies.rs"]
mod policies;
#[path = "end_to_end/run.rs"]
mod run;
#[path = "end_to_end/several.rs"]
mod several;
#[path = "end_to_end/status.rs"]
mod status;
#[path = "end_to_end/store_file.rs"]
mod store_file;
#[path = "end_to_end/watch.rs"]
mod watch;
#[path = "end_to_end/words.rs"]
mod words;
