//! One-sided access over TCP, plain or under TLS 1.3: ours, memory-safe, and nothing but sockets underneath.
//!
//! The wire format and its rules are in `docs/protocol.md`. [`connect`] gives an initiator's
//! [`TcpEndpoint`]; a [`Listener`] serves a target's exposures, one thread for each connection.
//!
//! Both sides prove that they know the ticket's secret ([`proof`](crate::proof)) before anything is granted.

mod answers;
mod batch;
mod buffers;
mod connection;
mod endpoint;
mod failures;
pub mod frame;
mod greet;
mod greeting;
pub mod hello;
mod listener;
mod lobby;
mod options;
pub mod reason;
mod serve;
mod socket;
mod spin;
pub(crate) mod tls;
mod unfinished;
mod wire;

pub use endpoint::{TcpEndpoint, connect};
pub use listener::Listener;
pub use options::{ConnectOptions, Limits, MAX_OP_BYTES};
pub use tls::{DataCertificate, Encryption, PinnedCertificate, TlsError, TlsPolicy};
