//! One-sided access over plain TCP: ours, memory-safe, and nothing but sockets underneath.
//!
//! The wire format and its rules are in `docs/protocol.md`. [`connect`] gives an initiator's
//! [`TcpEndpoint`]; a [`Listener`] serves a target's exposures, one thread for each connection.
//!
//! What it is not: encrypted or authenticated beyond the ticket. Both come with the keyed handshake,
//! for which the first messages keep room.

mod answers;
mod batch;
mod buffers;
mod connection;
mod endpoint;
pub mod frame;
mod greet;
mod greeting;
pub mod hello;
mod listener;
mod options;
pub mod reason;
mod serve;
mod socket;
mod spin;

pub use endpoint::{TcpEndpoint, connect};
pub use listener::Listener;
pub use options::{ConnectOptions, Limits, MAX_OP_BYTES};
