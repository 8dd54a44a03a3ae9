//! A unit in another process, over mutual TLS.

use std::time::Duration;

use outlive_identity::{ClientTls, ConnectError, connector};
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use tonic::transport::{Channel, Endpoint};

/// How long making the connection, with its handshake, may take before the unit counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A unit whose host vanished without a word is noticed within twice this time.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Never looked up: the connector knows the address.
const NAME: &str = "http://unit.invalid";

/// The admin service of the unit at `address` (`host:port`), for [`ManagerOptions`](crate::ManagerOptions). The manager
/// shows the certificate of `tls` and should expect the unit's own
/// ([`expecting`](ClientTls::expecting)): any server of the same authority could answer otherwise. It connects when it is
/// first used, and again by itself when it has to; each time with the certificates that are there then. Call it inside a tokio
/// runtime.
#[must_use]
pub fn unit_at(tls: ClientTls, address: &str) -> UnitAdminClient<Channel> {
    let endpoint = Endpoint::from_static(NAME)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let connector = connector(tls, address, CONNECT_TIMEOUT);
    UnitAdminClient::new(endpoint.connect_with_connector_lazy(connector))
}

/// Makes one connection to the unit at `address` and ends it: says before anything else is tried who cannot be
/// trusted, or does not trust us.
///
/// # Errors
/// Why no connection came about.
pub async fn try_unit(tls: ClientTls, address: &str) -> Result<(), ConnectError> {
    connector(tls, address, CONNECT_TIMEOUT).connect().await.map(drop)
}
