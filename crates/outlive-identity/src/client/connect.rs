//! Makes one connection.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::ConnectError;
use super::stream::ClientStream;
use super::tls::ClientTls;

/// Connects to `address` (`host:port`), shows our certificate, checks the server's, and waits until it let us in.
pub(super) async fn connect(
    tls: &ClientTls,
    address: &str,
    timeout: Duration,
) -> Result<ClientStream, ConnectError> {
    match tokio::time::timeout(timeout, attempt(tls, address)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Unreachable(format!(
            "no answer from {address} within {} ms",
            timeout.as_millis()
        ))),
    }
}

async fn attempt(tls: &ClientTls, address: &str) -> Result<ClientStream, ConnectError> {
    let config = tls
        .config()
        .map_err(|error| ConnectError::Credentials(error.to_string()))?;
    let name = tls.name_for(host_of(address)).to_owned();
    let name = ServerName::try_from(name.clone())
        .map_err(|_| ConnectError::Credentials(format!("{name:?} is not a host's name or address")))?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| ConnectError::Unreachable(format!("cannot connect to {address}: {error}")))?;
    // Calls are small: each waits for nothing.
    let _ = stream.set_nodelay(true);
    let failed = |error| ConnectError::from_io(address, &error);
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(failed)?;
    ClientStream::let_in(stream).await.map_err(failed)
}

/// The host of `host:port` or `[v6]:port`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (address, host) in [
            ("unit.example:7780", "unit.example"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:7780", "::1"),
            ("bare", "bare"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
