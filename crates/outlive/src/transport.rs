//! The seam between a session and its networks: how the manager is called, and how units are reached.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use outlive_fabric::tcp::{self, ConnectOptions};
use outlive_fabric::{Endpoint, FabricError, Ticket};
use outlive_identity::{ClientTls, ConnectError, connector};
use tokio::io::{AsyncRead, AsyncWrite};

/// One control connection: bytes in order, both ways.
pub trait ControlStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ControlStream for T {}

/// A control connection in the making.
pub type Connecting =
    Pin<Box<dyn Future<Output = Result<Box<dyn ControlStream>, ConnectError>> + Send + 'static>>;

/// How a session reaches its manager and the units that the manager names: mutual TLS and tcp, unless
/// [`Session::connect_over`](crate::Session::connect_over) is given another one. The simulation of whole systems has one
/// without sockets; a provider of the fabric beside tcp has its place here.
///
/// Asked when a connection is made, never for an operation on it. Used from any thread.
pub trait Transport: Send + Sync + 'static {
    /// Makes a connection to the manager within `timeout`, on which it knows who calls. Called, and polled, inside a tokio
    /// runtime of the session's.
    fn control(&self, timeout: Duration) -> Connecting;

    /// Connects to the unit at `address`, as the manager told it, and uses up the ticket. Blocks, for at most the time-outs
    /// in `options`.
    ///
    /// # Errors
    /// Why there is no connection. [`FabricError::Refused`] is final, but for a ticket's or a unit's that is ending; after the others
    /// the manager is asked for another ticket.
    fn data(
        &self,
        address: &str,
        ticket: &Ticket,
        options: &ConnectOptions,
    ) -> Result<Box<dyn Endpoint>, FabricError>;
}

/// Mutual TLS to the manager, tcp to the units.
pub(crate) struct Sockets {
    tls: ClientTls,
    control: String,
}

impl Sockets {
    pub(crate) fn new(tls: ClientTls, control: &str) -> Self {
        Self {
            tls,
            control: control.to_owned(),
        }
    }
}

impl Transport for Sockets {
    fn control(&self, timeout: Duration) -> Connecting {
        let connector = connector(self.tls.clone(), self.control.as_str(), timeout);
        Box::pin(async move {
            let stream = connector.connect().await?;
            Ok(Box::new(stream) as Box<dyn ControlStream>)
        })
    }

    fn data(
        &self,
        address: &str,
        ticket: &Ticket,
        options: &ConnectOptions,
    ) -> Result<Box<dyn Endpoint>, FabricError> {
        Ok(Box::new(tcp::connect(address, ticket, options)?))
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}
