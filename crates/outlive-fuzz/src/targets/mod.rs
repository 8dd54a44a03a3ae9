//! The targets, a file for each way in.

pub(crate) mod admin;
pub(crate) mod answers;
pub(crate) mod audit;
pub(crate) mod batches;
pub(crate) mod catalog;
pub(crate) mod certificates;
pub(crate) mod connection;
pub(crate) mod control;
mod folder;
mod frames;
pub(crate) mod greetings;
mod grpc;
pub(crate) mod initiator;
pub(crate) mod kv_commands;
pub(crate) mod kv_snapshot;
pub(crate) mod medium;
pub(crate) mod metadata;
pub(crate) mod operations;
mod region;
pub(crate) mod region_bytes;
pub(crate) mod region_damage;
pub(crate) mod replica;
pub(crate) mod resp_replies;
pub(crate) mod resp_requests;
pub(crate) mod settings;
mod splits;
