//! The control listener: the manager's service behind mutual TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use outlive_audit::{Act, Audit, Entry};
use outlive_identity::{ListenEvent, ListenOptions, Rejected, ServerTls, listen};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::exit::Exit;
use crate::failure::Failure;

/// A client that vanished without a word is noticed within twice this time.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Calls in progress over one connection; a client that wants more waits.
const CALLS_PER_CONNECTION: usize = 256;
/// Streams over one connection, those included whose request has not come in whole: each holds memory before anybody
/// knows what it asks. Above what a session's watches need; a client that wants more waits.
const STREAMS_PER_CONNECTION: u32 = 1_024;

/// Connections that the system holds until they are accepted. When there are more, it drops a newcomer's first packet, and
/// the newcomer tries again only after a second: too long behind a flood that is gone in milliseconds.
const BACKLOG: u32 = 4096;

/// How the service ended.
pub(crate) type Served = JoinHandle<Result<(), tonic::transport::Error>>;

/// Binds the listener; clients that come now wait. Call it inside a tokio runtime.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    listen_at(address)
        .map_err(|error| Failure::listening("control connections", address, &error, "--control"))
}

/// A listener whose queue is long enough for a flood. Call it inside a tokio runtime.
pub(super) fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted server takes its address again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `routes` to whoever shows a certificate that `tls` trusts, until `stopped`.
pub(crate) fn serve(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    audit: Audit,
    stopped: oneshot::Receiver<()>,
) -> Result<Served, Failure> {
    // Who was let in shows with what is asked for; connections alone could be made by the thousand to fill the log.
    let tell = move |event: ListenEvent<'_>| {
        if let ListenEvent::Rejected(rejected) = event {
            audit.record(&refusal(rejected));
        }
    };
    let incoming = listen(listener, tls, ListenOptions::default(), tell).map_err(|error| {
        let message = format!("cannot listen for control connections: {error}");
        Failure::new(Exit::Failure, message)
    })?;
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async {
            // A dropped sender is a stop, too.
            let _ = stopped.await;
        });
    Ok(tokio::spawn(server))
}

fn refusal(rejected: &Rejected) -> Entry {
    let mut entry = Entry::refused(Act::Connect, &rejected.reason).from(rejected.source);
    if let Some(name) = &rejected.claimed {
        entry = entry.by(name.as_str());
    }
    if rejected.untold > 0 {
        entry = entry.count(rejected.untold);
    }
    entry
}
