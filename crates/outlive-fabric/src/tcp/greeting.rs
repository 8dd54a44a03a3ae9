//! The initiator's side of the handshake.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::hello::{
    Challenge, Hello, HelloError, REPLY_HEAD_BYTES, Reply, ReplyHead, Response, VERSION, sealed_parts,
};
use super::socket::{self, Interest, Received};
use crate::proof::{Nonce, Transcript, UNBOUND};
use crate::{FabricError, Refusal, SessionInfo, Ticket};

/// A connection that was let in.
pub(super) struct Greeted {
    pub(super) stream: TcpStream,
    pub(super) session: SessionInfo,
    pub(super) max_op_bytes: u32,
}

/// Connects, has the target prove that it knows the ticket's secret, and only then proves it to the target.
pub(super) fn connect(address: &str, ticket: &Ticket, timeout: Duration) -> Result<Greeted, FabricError> {
    let failed = |source| FabricError::Connect {
        address: address.to_owned(),
        source,
    };
    let deadline = Instant::now() + timeout;
    let candidates: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    let stream = reach(&candidates, deadline).map_err(failed)?;
    socket::prepare(&stream).map_err(failed)?;
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| failed(io::Error::other(error)))?;
    let greeting = Greeting {
        address,
        stream: &stream,
        deadline,
        ticket,
        nonce,
    };
    let challenge = greeting.challenge()?;
    let transcript = greeting.transcript(&challenge);
    if challenge.incarnation != ticket.terms.incarnation || !transcript.accepts_unit(&challenge.proof) {
        return Err(greeting.impostor());
    }
    let proof = transcript.client_proof();
    match greeting.exchange(&Response { proof }.encode(), Some(&transcript))? {
        Reply::Welcome {
            session,
            max_op_bytes,
        } => Ok(Greeted {
            session,
            max_op_bytes,
            stream,
        }),
        Reply::Refused(refusal) => Err(FabricError::Refused(refusal)),
        Reply::Challenge(_) => Err(broken(HelloError::OutOfTurn)),
    }
}

/// One handshake on the initiator's side.
struct Greeting<'a> {
    address: &'a str,
    stream: &'a TcpStream,
    deadline: Instant,
    ticket: &'a Ticket,
    nonce: Nonce,
}

impl Greeting<'_> {
    fn challenge(&self) -> Result<Challenge, FabricError> {
        let hello = Hello {
            ticket: self.ticket.id,
            nonce: self.nonce,
        };
        match self.exchange(&hello.encode(), None)? {
            Reply::Challenge(challenge) => Ok(challenge),
            Reply::Refused(refusal) if may_come_first(&refusal) => Err(FabricError::Refused(refusal)),
            Reply::Refused(_) => Err(self.impostor()),
            Reply::Welcome { .. } => Err(broken(HelloError::OutOfTurn)),
        }
    }

    fn transcript(&self, challenge: &Challenge) -> Transcript<'_> {
        Transcript {
            version: VERSION,
            ticket: self.ticket,
            client_nonce: self.nonce,
            unit_nonce: challenge.nonce,
            connection: challenge.connection,
            binding: UNBOUND,
        }
    }

    /// Sends one message and receives what the target says to it, sealed where there is a transcript.
    fn exchange(&self, message: &[u8], sealed: Option<&Transcript<'_>>) -> Result<Reply, FabricError> {
        let failed = |source| FabricError::Connect {
            address: self.address.to_owned(),
            source,
        };
        // So few bytes fit into any socket's buffer; a target that has already refused may not take them.
        let said = socket::send(self.stream, &[IoSlice::new(message)]);
        let mut bytes = [0; REPLY_HEAD_BYTES];
        let received = receive_exactly(self.stream, &mut bytes, self.deadline);
        received.map_err(|error| failed(said.err().unwrap_or(error)))?;
        let head = ReplyHead::decode(&bytes).map_err(broken)?;
        let head = head.ok_or_else(|| broken(HelloError::Field))?;
        let mut body = vec![0; head.body_len];
        receive_exactly(self.stream, &mut body, self.deadline).map_err(failed)?;
        if let Some(transcript) = sealed {
            let (parts, proof) = sealed_parts(&bytes, &body);
            if !transcript.accepts_reply(parts, &proof) {
                return Err(self.impostor());
            }
        }
        head.with_body(&body).map_err(broken)
    }

    fn impostor(&self) -> FabricError {
        FabricError::Impostor {
            address: self.address.to_owned(),
        }
    }
}

/// What a target may say before it has proven who it is. Anything that it can only know once the
/// ticket is used (a fence, a failed medium) would be believed, and comes sealed or from an impostor.
fn may_come_first(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Ticket | Refusal::Limit { .. } | Refusal::ShuttingDown | Refusal::Protocol(_)
    )
}

fn broken(error: HelloError) -> FabricError {
    FabricError::Protocol(error.to_string())
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
