//! The handshake's messages: pure encoding and decoding, no socket.
//!
//! The initiator sends a [`Hello`], the target answers with a [`Challenge`] that proves it, the initiator
//! with a [`Response`] that proves it, the target with a sealed [`Reply`]: the access information or the
//! reason of a refusal. A refusal may come instead of the challenge, not sealed; [`ReplyHead`] tells
//! which of the target's messages has come.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::{method_code, method_of};
use super::reason;
use crate::proof::{Nonce, Proof};
use crate::{
    AccessInfo, ConnectionId, ExposedPart, Refusal, RegionId, RemoteKey, Rights, SessionInfo, TicketId,
};

/// Version of the data protocol that this code speaks.
pub const VERSION: u16 = 2;
/// Bytes of a hello.
pub const HELLO_BYTES: usize = HELLO_LEN as usize;
const HELLO_LEN: u32 = 128;
/// Bytes of a response.
pub const RESPONSE_BYTES: usize = RESPONSE_LEN as usize;
const RESPONSE_LEN: u32 = 64;
/// Bytes of a reply's head, and of a challenge.
pub const REPLY_HEAD_BYTES: usize = 128;
/// Ranges that one connection may be given; bounds what an initiator allocates for a welcome.
pub const MAX_ACCESS_INFOS: usize = 256;

const HELLO_MAGIC: [u8; 8] = *b"OUTLIVE>";
const RESPONSE_MAGIC: [u8; 8] = *b"OUTLIVE=";
const REPLY_MAGIC: [u8; 8] = *b"OUTLIVE<";
const ACCESS_BYTES: usize = size_of::<RawAccess>();

/// How an initiator introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The ticket it uses up, if it can prove that it knows its secret.
    pub ticket: TicketId,
    /// Random, for this connection only.
    pub nonce: Nonce,
}

/// How a target shows that it knows the ticket's secret, and asks the initiator to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Random, for this connection only.
    pub nonce: Nonce,
    /// The connection's number at the target.
    pub connection: ConnectionId,
    /// The target's incarnation.
    pub incarnation: u64,
    /// That it knows the secret.
    pub proof: Proof,
}

/// How an initiator shows that it knows the ticket's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// That it does.
    pub proof: Proof,
}

/// What a target says, its body still to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// Bytes of body that follow.
    pub body_len: usize,
    kind: ReplyKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyKind {
    Welcome {
        incarnation: u64,
        persist: u8,
        max_op_bytes: u32,
    },
    Refused,
    Challenge(Challenge),
}

/// What a target says, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Prove that you know the secret, as I do.
    Challenge(Challenge),
    /// Let in.
    Welcome {
        /// What to know.
        session: SessionInfo,
        /// Longest single operation in bytes.
        max_op_bytes: u32,
    },
    /// Not let in.
    Refused(Refusal),
}

/// Bytes that are not the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The first bytes are not the magic.
    #[error("the first bytes are not Outlive's data protocol")]
    Magic,
    /// Another version.
    #[error("the other side speaks version {0} of the data protocol, this one speaks version {VERSION}")]
    Version(u16),
    /// A field holds what this version does not allow.
    #[error("a handshake field holds what version {VERSION} does not allow")]
    Field,
    /// A message that does not belong here.
    #[error("a handshake message came out of turn")]
    OutOfTurn,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHello {
    magic: [u8; 8],
    version: U16,
    flags: U16,
    len: U32,
    ticket: [u8; 16],
    nonce: [u8; 32],
    reserved: [u8; 64],
}
const _: () = assert!(size_of::<RawHello>() == HELLO_BYTES);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawResponse {
    magic: [u8; 8],
    version: U16,
    flags: U16,
    len: U32,
    reserved: [u8; 16],
    proof: [u8; 32],
}
const _: () = assert!(size_of::<RawResponse>() == RESPONSE_BYTES);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawReply {
    magic: [u8; 8],
    version: U16,
    kind: u8,
    persist: u8,
    body_len: U32,
    incarnation: U64,
    max_op_bytes: U32,
    reserved: [u8; 28],
    connection: U64,
    nonce: [u8; 32],
    proof: [u8; 32],
}
const _: () = assert!(size_of::<RawReply>() == REPLY_HEAD_BYTES);
/// The seal covers the head up to here, and the body.
const PROOF_AT: usize = REPLY_HEAD_BYTES - size_of::<Proof>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawAccess {
    region: [u8; 16],
    key: U64,
    len: U64,
    generation: U64,
    part: u8,
    rights: u8,
    reserved: [u8; 6],
}
const _: () = assert!(ACCESS_BYTES == 48);

const WELCOME: u8 = 1;
const REFUSED: u8 = 2;
const CHALLENGE: u8 = 3;

impl Hello {
    /// The message's bytes.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let raw = RawHello {
            magic: HELLO_MAGIC,
            version: VERSION.into(),
            flags: 0.into(),
            len: HELLO_LEN.into(),
            ticket: self.ticket.0,
            nonce: self.nonce,
            reserved: [0; 64],
        };
        zerocopy::transmute!(raw)
    }

    /// The message at the start of `bytes`, or `None` until all of it is there. Wrong magic is
    /// noticed as soon as it can be.
    ///
    /// # Errors
    /// [`HelloError`]: refuse and close.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        check_magic(bytes, HELLO_MAGIC)?;
        let Ok((raw, _)) = RawHello::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        check_version(raw.version)?;
        if raw.flags.get() != 0 || raw.len.get() != HELLO_LEN || raw.reserved != [0; 64] {
            return Err(HelloError::Field);
        }
        Ok(Some(Self {
            ticket: TicketId(raw.ticket),
            nonce: raw.nonce,
        }))
    }
}

impl Response {
    /// The message's bytes.
    pub fn encode(&self) -> [u8; RESPONSE_BYTES] {
        let raw = RawResponse {
            magic: RESPONSE_MAGIC,
            version: VERSION.into(),
            flags: 0.into(),
            len: RESPONSE_LEN.into(),
            reserved: [0; 16],
            proof: self.proof,
        };
        zerocopy::transmute!(raw)
    }

    /// The message at the start of `bytes`, or `None` until all of it is there.
    ///
    /// # Errors
    /// [`HelloError`]: refuse and close.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        check_magic(bytes, RESPONSE_MAGIC)?;
        let Ok((raw, _)) = RawResponse::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        check_version(raw.version)?;
        if raw.flags.get() != 0 || raw.len.get() != RESPONSE_LEN || raw.reserved != [0; 16] {
            return Err(HelloError::Field);
        }
        Ok(Some(Self { proof: raw.proof }))
    }
}

impl Reply {
    /// Head and body, not sealed. Gives at most [`MAX_ACCESS_INFOS`] ranges.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = RawReply {
            magic: REPLY_MAGIC,
            version: VERSION.into(),
            kind: REFUSED,
            persist: 0,
            body_len: 0.into(),
            incarnation: 0.into(),
            max_op_bytes: 0.into(),
            reserved: [0; 28],
            connection: 0.into(),
            nonce: [0; 32],
            proof: [0; 32],
        };
        let body = match self {
            Self::Challenge(challenge) => {
                head.kind = CHALLENGE;
                head.incarnation = challenge.incarnation.into();
                head.connection = challenge.connection.0.into();
                (head.nonce, head.proof) = (challenge.nonce, challenge.proof);
                Vec::new()
            }
            Self::Welcome {
                session,
                max_op_bytes,
            } => {
                head.kind = WELCOME;
                head.persist = session.persist.map_or(0, method_code);
                head.incarnation = session.incarnation.into();
                head.max_op_bytes = (*max_op_bytes).into();
                let infos = session.access.iter().take(MAX_ACCESS_INFOS);
                infos.flat_map(encode_access).collect()
            }
            Self::Refused(refusal) => reason::encode(refusal),
        };
        head.body_len = u32::try_from(body.len()).expect("both bodies are bounded").into();
        [head.as_bytes(), &body].concat()
    }

    /// As [`encode`](Self::encode), sealed with what `prove` makes of the [sealed parts](sealed_parts).
    pub fn encode_sealed(&self, prove: impl FnOnce([&[u8]; 2]) -> Proof) -> Vec<u8> {
        let mut bytes = self.encode();
        let (head, body) = bytes.split_at(REPLY_HEAD_BYTES);
        let proof = prove([&head[..PROOF_AT], body]);
        bytes[PROOF_AT..REPLY_HEAD_BYTES].copy_from_slice(&proof);
        bytes
    }
}

/// What the seal of a reply covers, and the seal.
pub fn sealed_parts<'a>(head: &'a [u8; REPLY_HEAD_BYTES], body: &'a [u8]) -> ([&'a [u8]; 2], Proof) {
    let mut proof = Proof::default();
    proof.copy_from_slice(&head[PROOF_AT..]);
    ([&head[..PROOF_AT], body], proof)
}

impl ReplyHead {
    /// The head at the start of `bytes`, or `None` until all of it is there.
    ///
    /// # Errors
    /// [`HelloError`], also for a body longer than any that this version sends.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        check_magic(bytes, REPLY_MAGIC)?;
        let Ok((raw, _)) = RawReply::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        check_version(raw.version)?;
        let body_len = raw.body_len.get() as usize;
        let (kind, bound) = match raw.kind {
            WELCOME => {
                let (incarnation, persist) = (raw.incarnation.get(), raw.persist);
                let max_op_bytes = raw.max_op_bytes.get();
                (
                    ReplyKind::Welcome {
                        incarnation,
                        persist,
                        max_op_bytes,
                    },
                    MAX_ACCESS_INFOS * ACCESS_BYTES,
                )
            }
            REFUSED => (ReplyKind::Refused, reason::MAX_REASON_BYTES as usize),
            CHALLENGE => {
                let challenge = Challenge {
                    nonce: raw.nonce,
                    connection: ConnectionId(raw.connection.get()),
                    incarnation: raw.incarnation.get(),
                    proof: raw.proof,
                };
                (ReplyKind::Challenge(challenge), 0)
            }
            _ => return Err(HelloError::Field),
        };
        if body_len > bound {
            return Err(HelloError::Field);
        }
        Ok(Some(Self { body_len, kind }))
    }

    /// The whole answer, given exactly the [`body_len`](Self::body_len) bytes behind the head.
    ///
    /// # Errors
    /// [`HelloError::Field`] when the body is not what the head announces.
    pub fn with_body(self, body: &[u8]) -> Result<Reply, HelloError> {
        if body.len() != self.body_len {
            return Err(HelloError::Field);
        }
        match self.kind {
            ReplyKind::Challenge(challenge) => Ok(Reply::Challenge(challenge)),
            ReplyKind::Refused => reason::decode(body)
                .map(Reply::Refused)
                .map_err(|_| HelloError::Field),
            ReplyKind::Welcome {
                incarnation,
                persist,
                max_op_bytes,
            } => {
                let raw = <[RawAccess]>::ref_from_bytes(body).map_err(|_| HelloError::Field)?;
                let access = raw.iter().map(decode_access).collect::<Result<Vec<_>, _>>()?;
                let persist = match persist {
                    0 => None,
                    code => Some(method_of(code).ok_or(HelloError::Field)?),
                };
                let session = SessionInfo {
                    incarnation,
                    access,
                    persist,
                };
                Ok(Reply::Welcome {
                    session,
                    max_op_bytes,
                })
            }
        }
    }
}

/// Wrong magic is noticed as soon as it can be.
fn check_magic(bytes: &[u8], magic: [u8; 8]) -> Result<(), HelloError> {
    let known = bytes.len().min(magic.len());
    if bytes[..known] == magic[..known] {
        Ok(())
    } else {
        Err(HelloError::Magic)
    }
}

fn check_version(version: U16) -> Result<(), HelloError> {
    match version.get() {
        VERSION => Ok(()),
        other => Err(HelloError::Version(other)),
    }
}

fn encode_access(info: &AccessInfo) -> [u8; ACCESS_BYTES] {
    let raw = RawAccess {
        region: info.region.0,
        key: info.key.0.into(),
        len: info.len.into(),
        generation: info.generation.into(),
        part: match info.part {
            ExposedPart::Data => 1,
            ExposedPart::Metadata => 2,
        },
        rights: match info.rights {
            Rights::Read => 1,
            Rights::ReadWrite => 2,
        },
        reserved: [0; 6],
    };
    zerocopy::transmute!(raw)
}

fn decode_access(raw: &RawAccess) -> Result<AccessInfo, HelloError> {
    Ok(AccessInfo {
        region: RegionId(raw.region),
        part: match raw.part {
            1 => ExposedPart::Data,
            2 => ExposedPart::Metadata,
            _ => return Err(HelloError::Field),
        },
        key: RemoteKey(raw.key.get()),
        len: raw.len.get(),
        rights: match raw.rights {
            1 => Rights::Read,
            2 => Rights::ReadWrite,
            _ => return Err(HelloError::Field),
        },
        generation: raw.generation.get(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::PersistMethod;

    fn session() -> impl Strategy<Value = SessionInfo> {
        let info = (any::<[u8; 16]>(), any::<[u64; 3]>(), any::<[bool; 2]>()).prop_map(
            |(region, [key, len, generation], [data, write])| AccessInfo {
                region: RegionId(region),
                part: if data {
                    ExposedPart::Data
                } else {
                    ExposedPart::Metadata
                },
                key: RemoteKey(key),
                len,
                rights: if write { Rights::ReadWrite } else { Rights::Read },
                generation,
            },
        );
        (any::<u64>(), prop::collection::vec(info, 0..5), any::<bool>()).prop_map(
            |(incarnation, access, persistent)| SessionInfo {
                incarnation,
                access,
                persist: persistent.then_some(PersistMethod::TargetFlush),
            },
        )
    }

    fn whole(bytes: &[u8]) -> Result<Reply, HelloError> {
        let head = ReplyHead::decode(bytes)?.ok_or(HelloError::Field)?;
        head.with_body(&bytes[REPLY_HEAD_BYTES..])
    }

    proptest! {
        #[test]
        fn hello_and_response_survive_the_wire(ticket in any::<[u8; 16]>(), nonce in any::<[u8; 32]>()) {
            let hello = Hello { ticket: TicketId(ticket), nonce };
            let bytes = hello.encode();
            prop_assert_eq!(Hello::decode(&bytes), Ok(Some(hello)));
            prop_assert_eq!(Hello::decode(&bytes[..HELLO_BYTES - 1]), Ok(None));
            let response = Response { proof: nonce };
            let bytes = response.encode();
            prop_assert_eq!(Response::decode(&bytes), Ok(Some(response)));
            prop_assert_eq!(Response::decode(&bytes[..RESPONSE_BYTES - 1]), Ok(None));
        }

        #[test]
        fn challenge_and_welcome_survive_the_wire(
            nonce in any::<[u8; 32]>(), proof in any::<[u8; 32]>(), numbers in any::<[u64; 2]>(),
            session in session(), max_op_bytes in any::<u32>(),
        ) {
            let [connection, incarnation] = numbers;
            let challenge = Challenge { nonce, connection: ConnectionId(connection), incarnation, proof };
            let bytes = Reply::Challenge(challenge).encode();
            prop_assert_eq!(bytes.len(), REPLY_HEAD_BYTES);
            prop_assert_eq!(whole(&bytes), Ok(Reply::Challenge(challenge)));
            let welcome = Reply::Welcome { session, max_op_bytes };
            let bytes = welcome.encode_sealed(|_| proof);
            prop_assert_eq!(ReplyHead::decode(&bytes[..REPLY_HEAD_BYTES - 1]), Ok(None));
            prop_assert_eq!(whole(&bytes), Ok(welcome));
        }

        /// Whatever is changed on the way, seal or what it covers, is a change of what is compared.
        #[test]
        fn a_seal_covers_every_byte(session in session(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let welcome = Reply::Welcome { session, max_op_bytes: 7 };
            let bytes = welcome.encode_sealed(|_| [9; 32]);
            let covered = |bytes: &[u8]| {
                let (head, body) = bytes.split_first_chunk().expect("a head");
                let (parts, proof) = sealed_parts(head, body);
                (parts.concat(), proof)
            };
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] ^= flip;
            prop_assert_ne!(covered(&bytes), covered(&changed));
        }

        #[test]
        fn hostile_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), valid in 0..4u8) {
            if valid > 0 && bytes.len() >= REPLY_HEAD_BYTES {
                let magic = [&REPLY_MAGIC, &HELLO_MAGIC, &RESPONSE_MAGIC][usize::from(valid) - 1];
                bytes[..8].copy_from_slice(magic);
                bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
                bytes[10] %= 4;
                let body = u32::try_from(bytes.len() - REPLY_HEAD_BYTES).expect("under 400");
                bytes[12..16].copy_from_slice(&body.to_le_bytes());
            }
            let _ = Hello::decode(&bytes);
            let _ = Response::decode(&bytes);
            let _ = whole(&bytes);
        }
    }

    #[test]
    fn a_refusal_survives_and_garbage_is_named() {
        let refused = Reply::Refused(Refusal::Ticket);
        assert_eq!(whole(&refused.encode()), Ok(refused));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(HelloError::Magic));
        assert_eq!(Response::decode(b"OUTLIVE>"), Err(HelloError::Magic));
        let hello = Hello {
            ticket: TicketId([1; 16]),
            nonce: [2; 32],
        };
        let mut older = hello.encode();
        older[8] = 1;
        assert_eq!(Hello::decode(&older), Err(HelloError::Version(1)));
        let mut reserved = hello.encode();
        reserved[HELLO_BYTES - 1] = 1;
        assert_eq!(Hello::decode(&reserved), Err(HelloError::Field));
    }
}
