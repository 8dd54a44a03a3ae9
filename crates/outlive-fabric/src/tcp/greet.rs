//! The target's side of the handshake.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::connection::TcpConnection;
use super::hello::{HELLO_BYTES, Hello, Reply};
use super::socket::{self, Interest, Received};
use crate::{Refusal, TicketId};

/// How long a connection that was refused or stopped is kept to let its initiator read why: closing
/// with unread bytes in the queue would reset it.
const LINGER: Duration = Duration::from_millis(200);

/// Why there was no ticket.
pub(super) enum NoHello {
    /// Worth an answer.
    Refused(Refusal),
    /// The other side went away, or the target is stopping.
    Gone,
}

/// Receives the hello, however slowly it dribbles, until `deadline`.
pub(super) fn receive_hello(
    stream: &TcpStream,
    connection: &TcpConnection,
    deadline: Instant,
) -> Result<TicketId, NoHello> {
    let mut bytes = [0; HELLO_BYTES];
    let mut len = 0;
    loop {
        match Hello::decode(&bytes[..len]) {
            Ok(Some(hello)) => return Ok(hello.ticket),
            Ok(None) => {}
            Err(error) => return Err(NoHello::Refused(Refusal::Protocol(error.to_string()))),
        }
        match socket::receive(stream, &mut bytes[len..]) {
            Ok(Received::Bytes(count)) => len += count,
            Ok(Received::End) | Err(_) => return Err(NoHello::Gone),
            Ok(Received::Nothing) => await_until(stream, connection, Interest::Input, deadline)?,
        }
    }
}

/// Sends a reply until `deadline`.
///
/// # Errors
/// [`NoHello::Gone`] when the other side did not take it.
pub(super) fn send_reply(
    stream: &TcpStream,
    connection: &TcpConnection,
    reply: &Reply,
    deadline: Instant,
) -> Result<(), NoHello> {
    let bytes = reply.encode();
    let mut left = bytes.as_slice();
    while !left.is_empty() {
        match socket::send(stream, &[IoSlice::new(left)]) {
            Ok(0) => await_until(stream, connection, Interest::Output, deadline)?,
            Ok(count) => left = &left[count..],
            Err(_) => return Err(NoHello::Gone),
        }
    }
    Ok(())
}

/// Ends our direction and drops what still comes in, for a bounded time, so that the other side can
/// read what was said last.
pub(super) fn linger(stream: &TcpStream) {
    let deadline = Instant::now() + LINGER;
    if stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut dropped = vec![0; 64 << 10];
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match socket::receive(stream, &mut dropped) {
            Ok(Received::Bytes(_)) => {}
            Ok(Received::End) | Err(_) => return,
            Ok(Received::Nothing) => {
                let ready = socket::await_ready(stream, Interest::Input, None, Some(left));
                if !matches!(ready, Ok(true)) {
                    return;
                }
            }
        }
    }
}

fn await_until(
    stream: &TcpStream,
    connection: &TcpConnection,
    interest: Interest,
    deadline: Instant,
) -> Result<(), NoHello> {
    let left = deadline.saturating_duration_since(Instant::now());
    let ready: io::Result<bool> = socket::await_ready(stream, interest, Some(connection.wake()), Some(left));
    if connection.is_stopping() {
        return Err(NoHello::Gone);
    }
    match ready {
        Ok(true) => Ok(()),
        Ok(false) => Err(NoHello::Refused(Refusal::Protocol(
            "the handshake took too long".into(),
        ))),
        Err(_) => Err(NoHello::Gone),
    }
}
