//! Both sides of the handshake by hand over a blocking stream, for tests that then do what no well-behaved
//! side does.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};

use crate::proof::{ChannelBinding, Nonce, Transcript, UNBOUND};
use crate::tcp::PinnedCertificate;
use crate::tcp::hello::{
    Challenge, HELLO_BYTES, Hello, REPLY_HEAD_BYTES, RESPONSE_BYTES, Reply, ReplyHead, Response, VERSION,
};
use crate::tcp::tls;
use crate::{ConnectionId, Refusal, SessionInfo, Ticket, TicketId};

/// The nonce that an initiator made by hand uses.
pub const NONCE: Nonce = [0x6e; 32];

/// Greets with `ticket` and gives its proof whatever the target's is. What the target said last.
///
/// # Errors
/// The stream's, and bytes that are not the handshake.
pub fn greet(stream: &mut (impl Read + Write), ticket: &Ticket) -> io::Result<Reply> {
    greet_bound(stream, ticket, UNBOUND)
}

/// As [`greet`], with proofs bound to an encrypted connection.
///
/// # Errors
/// As for [`greet`].
pub fn greet_bound(
    stream: &mut (impl Read + Write),
    ticket: &Ticket,
    binding: ChannelBinding,
) -> io::Result<Reply> {
    match say_hello(stream, ticket.id)? {
        Reply::Challenge(challenge) => respond(stream, &client_proof(ticket, &challenge, binding)),
        other => Ok(other),
    }
}

/// Encrypts a connection to a target with this certificate. What proofs over it are bound to comes with it.
///
/// # Errors
/// The stream's, and what TLS says.
pub fn encrypt(
    mut stream: TcpStream,
    pinned: &PinnedCertificate,
) -> io::Result<(StreamOwned<ClientConnection, TcpStream>, ChannelBinding)> {
    let mut session = pinned.connect().map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    let mut binding = UNBOUND;
    session
        .export_keying_material(&mut binding, tls::EXPORTER_LABEL, None)
        .map_err(io::Error::other)?;
    Ok((StreamOwned::new(session, stream), binding))
}

/// Says hello with [`NONCE`] and reads what the target says to it.
///
/// # Errors
/// As for [`greet`].
pub fn say_hello(stream: &mut (impl Read + Write), ticket: TicketId) -> io::Result<Reply> {
    let hello = Hello { ticket, nonce: NONCE };
    stream.write_all(&hello.encode())?;
    read_reply(stream)
}

/// Answers a challenge and reads what the target says to it.
///
/// # Errors
/// As for [`greet`].
pub fn respond(stream: &mut (impl Read + Write), response: &Response) -> io::Result<Reply> {
    stream.write_all(&response.encode())?;
    read_reply(stream)
}

/// The right answer to a challenge that came after a hello with [`NONCE`].
pub fn client_proof(ticket: &Ticket, challenge: &Challenge, binding: ChannelBinding) -> Response {
    let transcript = Transcript {
        version: VERSION,
        ticket,
        client_nonce: NONCE,
        unit_nonce: challenge.nonce,
        connection: challenge.connection,
        binding,
    };
    Response {
        proof: transcript.client_proof(),
    }
}

/// Reads one message of a target's.
///
/// # Errors
/// As for [`greet`].
pub fn read_reply(stream: &mut impl Read) -> io::Result<Reply> {
    let mut head = [0; REPLY_HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let head = ReplyHead::decode(&head).map_err(io::Error::other)?;
    let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut body = vec![0; head.body_len];
    stream.read_exact(&mut body)?;
    head.with_body(&body).map_err(io::Error::other)
}

/// Plays a target that knows `ticket` for one connection: challenges, takes any answer, and lets in.
///
/// # Errors
/// As for [`greet`].
pub fn welcome(
    stream: &mut (impl Read + Write),
    ticket: &Ticket,
    session: SessionInfo,
    max_op_bytes: u32,
) -> io::Result<()> {
    conclude(
        stream,
        ticket,
        &Reply::Welcome {
            session,
            max_op_bytes,
        },
    )
}

/// Plays a target that knows `ticket` for one connection: challenges, takes any answer, and refuses.
///
/// # Errors
/// As for [`greet`].
pub fn refuse(stream: &mut (impl Read + Write), ticket: &Ticket, refusal: Refusal) -> io::Result<()> {
    conclude(stream, ticket, &Reply::Refused(refusal))
}

fn conclude(stream: &mut (impl Read + Write), ticket: &Ticket, reply: &Reply) -> io::Result<()> {
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello)?;
    let hello = Hello::decode(&hello).map_err(io::Error::other)?;
    let transcript = Transcript {
        version: VERSION,
        ticket,
        client_nonce: hello.ok_or(io::ErrorKind::UnexpectedEof)?.nonce,
        unit_nonce: [0x75; 32],
        connection: ConnectionId(1),
        binding: UNBOUND,
    };
    let challenge = Challenge {
        nonce: transcript.unit_nonce,
        connection: transcript.connection,
        incarnation: ticket.terms.incarnation,
        proof: transcript.unit_proof(),
    };
    stream.write_all(&Reply::Challenge(challenge).encode())?;
    stream.read_exact(&mut [0; RESPONSE_BYTES])?;
    stream.write_all(&reply.encode_sealed(|parts| transcript.reply_proof(parts)))
}
