//! The targets, a file for each way in.

pub(crate) mod answers;
pub(crate) mod batches;
pub(crate) mod greetings;
pub(crate) mod kv_commands;
pub(crate) mod kv_snapshot;
pub(crate) mod metadata;
pub(crate) mod operations;
mod region;
pub(crate) mod region_bytes;
pub(crate) mod region_damage;
pub(crate) mod replica;
pub(crate) mod resp_requests;
mod splits;
