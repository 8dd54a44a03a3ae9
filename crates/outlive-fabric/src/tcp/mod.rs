//! One-sided access over plain TCP: ours, memory-safe, and nothing but sockets underneath.
//!
//! The wire format and its rules are in `docs/protocol.md`. [`connect`] gives an initiator's
//! [`TcpEndpoint`]; a [`Listener`] serves a target's exposures, one thread for each connection.

mod endpoint;
pub mod frame;
pub mod hello;
mod listener;
mod options;
pub mod reason;

pub use endpoint::{TcpEndpoint, connect};
pub use listener::Listener;
pub use options::{ConnectOptions, Limits, MAX_OP_BYTES};
