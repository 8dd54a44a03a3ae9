//! The target's side of the handshake.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::ServerConnection;

use super::connection::TcpConnection;
use super::hello::{Challenge, HELLO_BYTES, Hello, HelloError, RESPONSE_BYTES, Reply, Response, VERSION};
use super::socket::{self, Interest, Received};
use super::tls::{Encryption, HANDSHAKE_BYTE, TlsPolicy};
use super::wire::Wire;
use crate::proof::{ChannelBinding, Nonce, Transcript, UNBOUND};
use crate::{Admission, Connection, Refusal, Ticket};

/// How long a connection that was refused or stopped is kept to let its initiator read why: closing
/// with unread bytes in the queue would reset it.
const LINGER: Duration = Duration::from_millis(200);

/// Why a handshake came to nothing.
pub(super) enum Unproven {
    /// By us. Worth an answer.
    Refused(Refusal),
    /// By the admission, which knows. Worth an answer.
    Denied(Refusal),
    /// The other side went away, or the target is stopping.
    Gone,
}

impl From<io::Error> for Unproven {
    fn from(error: io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            // What the other side did, and not that it went away.
            Some(problem) => Self::Refused(Refusal::Protocol(format!("TLS: {problem}"))),
            None => Self::Gone,
        }
    }
}

/// One handshake on the target's side. One deadline bounds all of it, however its bytes dribble.
pub(super) struct Greeter<'a> {
    pub(super) wire: Wire,
    binding: ChannelBinding,
    pub(super) connection: &'a TcpConnection,
    admission: &'a dyn Admission,
    deadline: Instant,
}

/// A connection whose initiator has seen our proof and owes us its own. From here on every refusal
/// is sealed, so that nobody else can put one in its place.
pub(super) struct Challenged {
    pub(super) ticket: Ticket,
    client_nonce: Nonce,
    unit_nonce: Nonce,
}

impl<'a> Greeter<'a> {
    /// Begins a handshake, encrypted where the initiator begins so and `encryption` takes it. A greeter that comes
    /// with a reason can only refuse.
    pub(super) fn open(
        stream: TcpStream,
        connection: &'a TcpConnection,
        admission: &'a dyn Admission,
        encryption: Option<&Encryption>,
        deadline: Instant,
    ) -> (Self, Result<(), Unproven>) {
        let session = first_bytes(&stream, connection, encryption, deadline);
        let (wire, outcome) = match session {
            Ok(Some(session)) => (Wire::server(stream, *session), Ok(())),
            Ok(None) => (Wire::Plain(stream), Ok(())),
            Err(unproven) => (Wire::Plain(stream), Err(unproven)),
        };
        let mut greeter = Self {
            wire,
            binding: UNBOUND,
            connection,
            admission,
            deadline,
        };
        let outcome = outcome.and_then(|()| greeter.encrypt());
        (greeter, outcome)
    }

    fn encrypt(&mut self) -> Result<(), Unproven> {
        let (connection, deadline) = (self.connection, self.deadline);
        self.wire
            .handshake(|wire, interest| await_ready(wire, connection, interest, deadline))?;
        self.binding = self.wire.binding()?;
        Ok(())
    }

    /// Receives the hello and answers it with a challenge.
    pub(super) fn challenge(&mut self) -> Result<Challenged, Unproven> {
        let hello = self.receive::<_, HELLO_BYTES>(Hello::decode)?;
        let ticket = self.admission.challenge(hello.ticket, self.connection);
        let mut challenged = Challenged {
            ticket: ticket.map_err(Unproven::Denied)?,
            client_nonce: hello.nonce,
            unit_nonce: Nonce::default(),
        };
        getrandom::fill(&mut challenged.unit_nonce)
            .map_err(|error| Unproven::Refused(Refusal::Media(format!("no random bytes: {error}"))))?;
        let challenge = Challenge {
            nonce: challenged.unit_nonce,
            connection: self.connection.id(),
            incarnation: challenged.ticket.terms.incarnation,
            proof: self.transcript(&challenged).unit_proof(),
        };
        self.send(&Reply::Challenge(challenge).encode())?;
        Ok(challenged)
    }

    /// Receives the initiator's proof.
    pub(super) fn await_proof(&mut self, challenged: &Challenged) -> Result<(), Unproven> {
        let response = self.receive::<_, RESPONSE_BYTES>(Response::decode)?;
        if self.transcript(challenged).accepts_client(&response.proof) {
            return Ok(());
        }
        self.admission.failed(challenged.ticket.id, self.connection);
        Err(Unproven::Denied(Refusal::Ticket))
    }

    /// Sends the last word of a handshake that came as far as a challenge.
    pub(super) fn conclude(&mut self, challenged: &Challenged, reply: &Reply) -> Result<(), Unproven> {
        let transcript = self.transcript(challenged);
        self.send(&reply.encode_sealed(|parts| transcript.reply_proof(parts)))
    }

    /// Refuses before there was a challenge.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Result<(), Unproven> {
        self.send(&Reply::Refused(refusal).encode())
    }

    fn transcript<'c>(&self, challenged: &'c Challenged) -> Transcript<'c> {
        Transcript {
            version: VERSION,
            ticket: &challenged.ticket,
            client_nonce: challenged.client_nonce,
            unit_nonce: challenged.unit_nonce,
            connection: self.connection.id(),
            binding: self.binding,
        }
    }

    /// Receives one message of at most `N` bytes, and not a byte of what is behind it.
    fn receive<T, const N: usize>(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<Option<T>, HelloError>,
    ) -> Result<T, Unproven> {
        let mut bytes = [0; N];
        let mut len = 0;
        loop {
            match decode(&bytes[..len]) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(Unproven::Refused(Refusal::Protocol(error.to_string()))),
            }
            match self.wire.receive(&mut bytes[len..]) {
                Ok(Received::Bytes(count)) => len += count,
                Ok(Received::End) | Err(_) => return Err(Unproven::Gone),
                Ok(Received::Nothing) => self.await_ready(Interest::Input)?,
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Unproven> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.wire.send(&[IoSlice::new(left)]) {
                Ok(0) => self.await_ready(Interest::Output)?,
                Ok(count) => left = &left[count..],
                Err(_) => return Err(Unproven::Gone),
            }
        }
        Ok(())
    }

    fn await_ready(&mut self, interest: Interest) -> Result<(), Unproven> {
        await_ready(&mut self.wire, self.connection, interest, self.deadline)
    }
}

/// Looks at how an initiator begins, and what that calls for.
fn first_bytes(
    stream: &TcpStream,
    connection: &TcpConnection,
    encryption: Option<&Encryption>,
    deadline: Instant,
) -> Result<Option<Box<ServerConnection>>, Unproven> {
    let Some(Encryption { policy, certificate }) = encryption else {
        return Ok(None);
    };
    if *policy == TlsPolicy::Off {
        return Ok(None);
    }
    let first = loop {
        match socket::peek(stream)? {
            Some(first) => break first,
            None => {
                let left = deadline.saturating_duration_since(Instant::now());
                let ready = socket::await_ready(stream, Interest::Input, Some(connection.wake()), Some(left));
                check_time(connection, ready, left)?;
            }
        }
    };
    match (first, policy) {
        (HANDSHAKE_BYTE, _) => {
            let session = certificate.accept().map_err(|_| Unproven::Gone)?;
            Ok(Some(Box::new(session)))
        }
        (_, TlsPolicy::Require) => Err(Unproven::Refused(Refusal::Unencrypted)),
        _ => Ok(None),
    }
}

fn await_ready(
    wire: &mut Wire,
    connection: &TcpConnection,
    interest: Interest,
    deadline: Instant,
) -> Result<(), Unproven> {
    let left = deadline.saturating_duration_since(Instant::now());
    let ready = wire.await_ready(interest, Some(connection.wake()), Some(left));
    check_time(connection, ready, left)
}

fn check_time(connection: &TcpConnection, ready: io::Result<bool>, left: Duration) -> Result<(), Unproven> {
    if connection.is_stopping() {
        return Err(Unproven::Gone);
    }
    // A byte now and then must not carry it past the deadline.
    if ready? && !left.is_zero() {
        return Ok(());
    }
    Err(Unproven::Refused(Refusal::Protocol(
        "the handshake took too long".into(),
    )))
}

/// Ends our direction and drops what still comes in, for a bounded time, so that the other side can
/// read what was said last. Ends early where `give_way` is told to stop.
pub(super) fn linger(wire: &mut Wire, give_way: Option<&TcpConnection>) {
    let deadline = Instant::now() + LINGER;
    if wire.end().is_err() {
        return;
    }
    let stream = wire.stream();
    let mut dropped = vec![0; 64 << 10];
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match socket::receive(stream, &mut dropped) {
            Ok(Received::Bytes(_)) => {}
            Ok(Received::End) | Err(_) => return,
            Ok(Received::Nothing) => {
                let wake = give_way.map(TcpConnection::wake);
                let ready = socket::await_ready(stream, Interest::Input, wake, Some(left));
                if !matches!(ready, Ok(true)) || give_way.is_some_and(TcpConnection::is_stopping) {
                    return;
                }
            }
        }
    }
}
