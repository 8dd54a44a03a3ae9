//! The serving side: mutual TLS 1.3, a client certificate in every handshake, bounds on everything a stranger can hold.

mod accept;
mod connection;
mod listen;
mod open;
mod rejected;
mod tls;
mod unfinished;
mod verifier;

pub use connection::Connection;
pub use listen::{Incoming, ListenEvent, ListenOptions, listen};
pub use rejected::Rejected;
pub use tls::ServerTls;
