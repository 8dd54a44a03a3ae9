//! A key-value service that speaks the Redis protocol and outlives its process.

pub mod commands;
mod deadline;
mod error;
mod glob;
mod number;
mod reply;
pub mod request;
mod service;
mod store;
mod value;
mod zset;

pub use error::CommandError;
pub use reply::Reply;
pub use service::Kv;
