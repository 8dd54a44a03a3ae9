//! The initiator's side of the handshake.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Instant;

use super::ConnectOptions;
use super::hello::{
    Challenge, Hello, HelloError, REPLY_HEAD_BYTES, Reply, ReplyHead, Response, VERSION, sealed_parts,
};
use super::socket::{self, Interest, Received};
use super::wire::Wire;
use crate::proof::{ChannelBinding, Nonce, Transcript, UNBOUND};
use crate::{FabricError, Refusal, SessionInfo, Ticket};

/// A connection that was let in.
pub(super) struct Greeted {
    pub(super) wire: Wire,
    pub(super) session: SessionInfo,
    pub(super) max_op_bytes: u32,
}

/// Connects, has the target prove that it knows the ticket's secret, and only then proves it to the target.
pub(super) fn connect(
    address: &str,
    ticket: &Ticket,
    options: &ConnectOptions,
) -> Result<Greeted, FabricError> {
    let failed = |source| failed(address, source);
    let deadline = Instant::now() + options.connect_timeout;
    let candidates: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    let stream = reach(&candidates, deadline).map_err(failed)?;
    socket::prepare(&stream).map_err(failed)?;
    let wire = match &options.tls {
        None => Wire::Plain(stream),
        Some(pinned) => {
            let session = pinned
                .connect()
                .map_err(|error| failed(io::Error::other(error)))?;
            Wire::client(stream, session)
        }
    };
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| failed(io::Error::other(error)))?;
    let mut greeting = Greeting {
        address,
        wire,
        deadline,
        ticket,
        nonce,
        binding: UNBOUND,
    };
    greeting.encrypt()?;
    let challenge = greeting.challenge()?;
    let transcript = greeting.transcript(&challenge);
    if challenge.incarnation != ticket.terms.incarnation || !transcript.accepts_unit(&challenge.proof) {
        return Err(impostor(address));
    }
    let proof = transcript.client_proof();
    match greeting.exchange(&Response { proof }.encode(), Some(&transcript))? {
        Reply::Welcome {
            session,
            max_op_bytes,
        } => Ok(Greeted {
            session,
            max_op_bytes,
            wire: greeting.wire,
        }),
        Reply::Refused(refusal) => Err(FabricError::Refused(refusal)),
        Reply::Challenge(_) => Err(broken(HelloError::OutOfTurn)),
    }
}

/// One handshake on the initiator's side.
struct Greeting<'a> {
    address: &'a str,
    wire: Wire,
    deadline: Instant,
    ticket: &'a Ticket,
    nonce: Nonce,
    binding: ChannelBinding,
}

impl<'a> Greeting<'a> {
    /// Carries out the handshake of TLS, where there is one.
    fn encrypt(&mut self) -> Result<(), FabricError> {
        let deadline = self.deadline;
        let done = self
            .wire
            .handshake(|wire, interest| await_ready(wire, interest, deadline));
        done.and_then(|()| self.wire.binding())
            .map(|binding| self.binding = binding)
            .map_err(
                |error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                    Some(rustls::Error::InvalidCertificate(_)) => impostor(self.address),
                    _ => failed(self.address, error),
                },
            )
    }

    fn challenge(&mut self) -> Result<Challenge, FabricError> {
        let hello = Hello {
            ticket: self.ticket.id,
            nonce: self.nonce,
        };
        match self.exchange(&hello.encode(), None)? {
            Reply::Challenge(challenge) => Ok(challenge),
            Reply::Refused(refusal) if may_come_first(&refusal) => Err(FabricError::Refused(refusal)),
            Reply::Refused(_) => Err(impostor(self.address)),
            Reply::Welcome { .. } => Err(broken(HelloError::OutOfTurn)),
        }
    }

    fn transcript(&self, challenge: &Challenge) -> Transcript<'a> {
        Transcript {
            version: VERSION,
            ticket: self.ticket,
            client_nonce: self.nonce,
            unit_nonce: challenge.nonce,
            connection: challenge.connection,
            binding: self.binding,
        }
    }

    /// Sends one message and receives what the target says to it, sealed where there is a transcript.
    fn exchange(&mut self, message: &[u8], sealed: Option<&Transcript<'_>>) -> Result<Reply, FabricError> {
        let (address, deadline) = (self.address, self.deadline);
        // So few bytes fit into any socket's buffer; a target that has already refused may not take them.
        let said = self.wire.send(&[IoSlice::new(message)]);
        let mut bytes = [0; REPLY_HEAD_BYTES];
        let received = receive_exactly(&mut self.wire, &mut bytes, deadline);
        received.map_err(|error| failed(address, said.err().unwrap_or(error)))?;
        let head = ReplyHead::decode(&bytes).map_err(broken)?;
        let head = head.ok_or_else(|| broken(HelloError::Field))?;
        let mut body = vec![0; head.body_len];
        receive_exactly(&mut self.wire, &mut body, deadline).map_err(|error| failed(address, error))?;
        if let Some(transcript) = sealed {
            let (parts, proof) = sealed_parts(&bytes, &body);
            if !transcript.accepts_reply(parts, &proof) {
                return Err(impostor(address));
            }
        }
        head.with_body(&body).map_err(broken)
    }
}

/// What a target may say before it has proven who it is. Anything that it can only know once the
/// ticket is used (a fence, a failed medium) would be believed, and comes sealed or from an impostor.
fn may_come_first(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Ticket
            | Refusal::Limit { .. }
            | Refusal::ShuttingDown
            | Refusal::Protocol(_)
            | Refusal::Unencrypted
    )
}

fn broken(error: HelloError) -> FabricError {
    FabricError::Protocol(error.to_string())
}

fn impostor(address: &str) -> FabricError {
    FabricError::Impostor {
        address: address.to_owned(),
    }
}

fn failed(address: &str, source: io::Error) -> FabricError {
    FabricError::Connect {
        address: address.to_owned(),
        source,
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

fn receive_exactly(wire: &mut Wire, into: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        match wire.receive(&mut into[filled..])? {
            Received::Bytes(count) => filled += count,
            Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Received::Nothing => await_ready(wire, Interest::Input, deadline)?,
        }
    }
    Ok(())
}

fn await_ready(wire: &mut Wire, interest: Interest, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || !wire.await_ready(interest, None, Some(left))? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}
