//! The initiator's side of the handshake.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::hello::{Hello, HelloError, REPLY_HEAD_BYTES, Reply, ReplyHead};
use super::socket::{self, Interest, Received};
use crate::{FabricError, SessionInfo, TicketId};

/// A connection that was let in.
pub(super) struct Greeted {
    pub(super) stream: TcpStream,
    pub(super) session: SessionInfo,
    pub(super) max_op_bytes: u32,
}

pub(super) fn connect(address: &str, ticket: TicketId, timeout: Duration) -> Result<Greeted, FabricError> {
    let failed = |source| FabricError::Connect {
        address: address.to_owned(),
        source,
    };
    let deadline = Instant::now() + timeout;
    let candidates: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    let stream = reach(&candidates, deadline).map_err(failed)?;
    socket::prepare(&stream).map_err(failed)?;
    let hello = Hello { ticket }.encode();
    // 128 bytes fit into any socket's buffer; a target that has already refused may not take them.
    let said = socket::send(&stream, &[IoSlice::new(&hello)]);
    let reply = match receive_reply(&stream, deadline) {
        Ok(reply) => reply.map_err(|error| FabricError::Protocol(error.to_string()))?,
        Err(received) => return Err(failed(said.err().unwrap_or(received))),
    };
    match reply {
        Reply::Refused(refusal) => Err(FabricError::Refused(refusal)),
        Reply::Welcome {
            session,
            max_op_bytes,
        } => Ok(Greeted {
            stream,
            session,
            max_op_bytes,
        }),
    }
}

fn reach(candidates: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(candidate, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn receive_reply(stream: &TcpStream, deadline: Instant) -> io::Result<Result<Reply, HelloError>> {
    let mut bytes = vec![0; REPLY_HEAD_BYTES];
    receive_exactly(stream, &mut bytes, deadline)?;
    let head = match ReplyHead::decode(&bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(Err(HelloError::Field)),
        Err(error) => return Ok(Err(error)),
    };
    let mut body = vec![0; head.body_len];
    receive_exactly(stream, &mut body, deadline)?;
    Ok(head.with_body(&body))
}

fn receive_exactly(stream: &TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        match socket::receive(stream, &mut into[filled..])? {
            Received::Bytes(count) => filled += count,
            Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Received::Nothing => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || !socket::await_ready(stream, Interest::Input, None, Some(left))? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
    Ok(())
}
