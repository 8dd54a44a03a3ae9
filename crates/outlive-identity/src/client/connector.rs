//! What tonic's channels connect with.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::Uri;
use tower::Service;

use super::connect::connect;
use super::error::ConnectError;
use super::stream::ClientStream;
use super::tls::ClientTls;

/// Connects a tonic channel: give it to `Endpoint::connect_with_connector_lazy`. The address is the one that it was
/// made with, whatever the endpoint's URI says.
#[derive(Clone)]
pub struct Connector {
    tls: ClientTls,
    address: String,
    timeout: Duration,
}

/// A connector to `address` (`host:port`); each attempt, with the handshake, may take `timeout`.
#[must_use]
pub fn connector(tls: ClientTls, address: impl Into<String>, timeout: Duration) -> Connector {
    Connector {
        tls,
        address: address.into(),
        timeout,
    }
}

impl Connector {
    /// Makes one connection.
    ///
    /// # Errors
    /// Why none came about.
    pub async fn connect(&self) -> Result<ClientStream, ConnectError> {
        connect(&self.tls, &self.address, self.timeout).await
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<ClientStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
