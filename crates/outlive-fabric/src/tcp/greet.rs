//! The target's side of the handshake.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::connection::TcpConnection;
use super::hello::{Challenge, HELLO_BYTES, Hello, HelloError, RESPONSE_BYTES, Reply, Response, VERSION};
use super::socket::{self, Interest, Received};
use crate::proof::{Nonce, Transcript, UNBOUND};
use crate::{Admission, Connection, Refusal, Ticket};

/// How long a connection that was refused or stopped is kept to let its initiator read why: closing
/// with unread bytes in the queue would reset it.
const LINGER: Duration = Duration::from_millis(200);

/// Why a handshake came to nothing.
pub(super) enum Unproven {
    /// Worth an answer.
    Refused(Refusal),
    /// The other side went away, or the target is stopping.
    Gone,
}

/// One handshake on the target's side. One deadline bounds all of it, however its bytes dribble.
pub(super) struct Greeter<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) connection: &'a TcpConnection,
    pub(super) admission: &'a dyn Admission,
    pub(super) deadline: Instant,
}

/// A connection whose initiator has seen our proof and owes us its own. From here on every refusal
/// is sealed, so that nobody else can put one in its place.
pub(super) struct Challenged {
    pub(super) ticket: Ticket,
    client_nonce: Nonce,
    unit_nonce: Nonce,
}

impl Greeter<'_> {
    /// Receives the hello and answers it with a challenge.
    pub(super) fn challenge(&self) -> Result<Challenged, Unproven> {
        let hello = self.receive::<_, HELLO_BYTES>(Hello::decode)?;
        let ticket = self.admission.challenge(hello.ticket, self.connection);
        let mut challenged = Challenged {
            ticket: ticket.map_err(Unproven::Refused)?,
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
    pub(super) fn await_proof(&self, challenged: &Challenged) -> Result<(), Unproven> {
        let response = self.receive::<_, RESPONSE_BYTES>(Response::decode)?;
        if self.transcript(challenged).accepts_client(&response.proof) {
            return Ok(());
        }
        self.admission.failed(challenged.ticket.id, self.connection);
        Err(Unproven::Refused(Refusal::Ticket))
    }

    /// Sends the last word of a handshake that came as far as a challenge.
    pub(super) fn conclude(&self, challenged: &Challenged, reply: &Reply) -> Result<(), Unproven> {
        let transcript = self.transcript(challenged);
        self.send(&reply.encode_sealed(|parts| transcript.reply_proof(parts)))
    }

    /// Refuses before there was a challenge.
    pub(super) fn refuse(&self, refusal: Refusal) -> Result<(), Unproven> {
        self.send(&Reply::Refused(refusal).encode())
    }

    fn transcript<'a>(&self, challenged: &'a Challenged) -> Transcript<'a> {
        Transcript {
            version: VERSION,
            ticket: &challenged.ticket,
            client_nonce: challenged.client_nonce,
            unit_nonce: challenged.unit_nonce,
            connection: self.connection.id(),
            binding: UNBOUND,
        }
    }

    /// Receives one message of at most `N` bytes, and not a byte of what is behind it.
    fn receive<T, const N: usize>(
        &self,
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
            match socket::receive(self.stream, &mut bytes[len..]) {
                Ok(Received::Bytes(count)) => len += count,
                Ok(Received::End) | Err(_) => return Err(Unproven::Gone),
                Ok(Received::Nothing) => self.await_ready(Interest::Input)?,
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Unproven> {
        let mut left = bytes;
        while !left.is_empty() {
            match socket::send(self.stream, &[IoSlice::new(left)]) {
                Ok(0) => self.await_ready(Interest::Output)?,
                Ok(count) => left = &left[count..],
                Err(_) => return Err(Unproven::Gone),
            }
        }
        Ok(())
    }

    fn await_ready(&self, interest: Interest) -> Result<(), Unproven> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let wake = Some(self.connection.wake());
        let ready: io::Result<bool> = socket::await_ready(self.stream, interest, wake, Some(left));
        if self.connection.is_stopping() {
            return Err(Unproven::Gone);
        }
        match ready {
            // A byte now and then must not carry it past the deadline.
            Ok(true) if !left.is_zero() => Ok(()),
            Ok(_) => Err(Unproven::Refused(Refusal::Protocol(
                "the handshake took too long".into(),
            ))),
            Err(_) => Err(Unproven::Gone),
        }
    }
}

/// Ends our direction and drops what still comes in, for a bounded time, so that the other side can
/// read what was said last. Ends early where `give_way` is told to stop.
pub(super) fn linger(stream: &TcpStream, give_way: Option<&TcpConnection>) {
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
                let wake = give_way.map(TcpConnection::wake);
                let ready = socket::await_ready(stream, Interest::Input, wake, Some(left));
                if !matches!(ready, Ok(true)) || give_way.is_some_and(TcpConnection::is_stopping) {
                    return;
                }
            }
        }
    }
}
