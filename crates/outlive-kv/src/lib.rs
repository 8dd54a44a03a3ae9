//! A key-value service that speaks the Redis protocol and outlives its process.

pub mod client;
mod commands;
mod deadline;
mod error;
mod glob;
mod number;
mod reply;
pub mod request;
pub mod server;
mod service;
mod store;
mod value;
mod zset;

pub use error::CommandError;
pub use reply::Reply;
pub use server::{KvOptions, ServeError, Server, serve};
pub use service::Kv;
