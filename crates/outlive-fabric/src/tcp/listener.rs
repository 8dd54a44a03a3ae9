//! The target's side: accepting connections.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::Limits;
use crate::Admission;

/// Accepts connections for one target, each served by a thread of its own. Dropping it shuts it down.
pub struct Listener {
    address: SocketAddr,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says, when the address cannot be bound.
    pub fn bind(
        _address: impl ToSocketAddrs,
        _admission: Arc<dyn Admission>,
        _limits: Limits,
    ) -> io::Result<Self> {
        unimplemented!()
    }

    /// The address it listens at, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections admitted and not yet ended.
    pub fn connections(&self) -> usize {
        unimplemented!()
    }

    /// Stops accepting, stops every connection, and returns when their threads have ended. Idempotent.
    pub fn shutdown(&self) {
        unimplemented!()
    }
}
