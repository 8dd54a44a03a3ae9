//! The handshake's messages: pure encoding and decoding, no socket.
//!
//! The initiator sends a [`Hello`] of fixed length, the target answers with a reply head of fixed
//! length and a body: the access information, or the reason of a refusal. Both heads keep room
//! for the nonces and proofs of a keyed handshake; version 1 sends zeros there.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::{method_code, method_of};
use super::reason;
use crate::{AccessInfo, ExposedPart, Refusal, RegionId, RemoteKey, Rights, SessionInfo, TicketId};

/// Version of the data protocol that this code speaks.
pub const VERSION: u16 = 1;
/// Bytes of a hello.
pub const HELLO_BYTES: usize = HELLO_LEN as usize;
const HELLO_LEN: u32 = 128;
/// Bytes of a reply's head.
pub const REPLY_HEAD_BYTES: usize = 128;
/// Ranges that one connection may be given; bounds what an initiator allocates for a welcome.
pub const MAX_ACCESS_INFOS: usize = 256;

const HELLO_MAGIC: [u8; 8] = *b"OUTLIVE>";
const REPLY_MAGIC: [u8; 8] = *b"OUTLIVE<";
const ACCESS_BYTES: usize = size_of::<RawAccess>();

/// How an initiator introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The ticket it uses up.
    pub ticket: TicketId,
}

/// What a target answers, its body still to be decoded.
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
}

/// A target's whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
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
    /// A field holds what version 1 does not allow.
    #[error("a handshake field holds what version {VERSION} does not allow")]
    Field,
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
    proof: [u8; 32],
    reserved: [u8; 32],
}
const _: () = assert!(size_of::<RawHello>() == HELLO_BYTES);

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
    reserved: [u8; 36],
    nonce: [u8; 32],
    proof: [u8; 32],
}
const _: () = assert!(size_of::<RawReply>() == REPLY_HEAD_BYTES);

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

impl Hello {
    /// The message's bytes.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let raw = RawHello {
            magic: HELLO_MAGIC,
            version: VERSION.into(),
            flags: 0.into(),
            len: HELLO_LEN.into(),
            ticket: self.ticket.0,
            nonce: [0; 32],
            proof: [0; 32],
            reserved: [0; 32],
        };
        zerocopy::transmute!(raw)
    }

    /// The message at the start of `bytes`, or `None` until all of it is there. Wrong magic is
    /// noticed as soon as it can be.
    ///
    /// # Errors
    /// [`HelloError`]: refuse and close.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        let known = bytes.len().min(HELLO_MAGIC.len());
        if bytes[..known] != HELLO_MAGIC[..known] {
            return Err(HelloError::Magic);
        }
        let Ok((raw, _)) = RawHello::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        if raw.version.get() != VERSION {
            return Err(HelloError::Version(raw.version.get()));
        }
        if raw.flags.get() != 0 || raw.len.get() as usize != HELLO_BYTES {
            return Err(HelloError::Field);
        }
        Ok(Some(Self {
            ticket: TicketId(raw.ticket),
        }))
    }
}

impl Reply {
    /// Head and body. Gives at most [`MAX_ACCESS_INFOS`] ranges.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, incarnation, persist, max_op_bytes, body) = match self {
            Self::Welcome {
                session,
                max_op_bytes,
            } => {
                let infos = session.access.iter().take(MAX_ACCESS_INFOS);
                let body: Vec<u8> = infos.flat_map(encode_access).collect();
                let persist = session.persist.map_or(0, method_code);
                (WELCOME, session.incarnation, persist, *max_op_bytes, body)
            }
            Self::Refused(refusal) => (REFUSED, 0, 0, 0, reason::encode(refusal)),
        };
        let head = RawReply {
            magic: REPLY_MAGIC,
            version: VERSION.into(),
            kind,
            persist,
            body_len: u32::try_from(body.len()).expect("both bodies are bounded").into(),
            incarnation: incarnation.into(),
            max_op_bytes: max_op_bytes.into(),
            reserved: [0; 36],
            nonce: [0; 32],
            proof: [0; 32],
        };
        [head.as_bytes(), &body].concat()
    }
}

impl ReplyHead {
    /// The head at the start of `bytes`, or `None` until all of it is there.
    ///
    /// # Errors
    /// [`HelloError`], also for a body longer than any that version 1 sends.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        let known = bytes.len().min(REPLY_MAGIC.len());
        if bytes[..known] != REPLY_MAGIC[..known] {
            return Err(HelloError::Magic);
        }
        let Ok((raw, _)) = RawReply::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        if raw.version.get() != VERSION {
            return Err(HelloError::Version(raw.version.get()));
        }
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
        fn hello_and_welcome_survive_the_wire(ticket in any::<[u8; 16]>(), session in session(), max_op_bytes in any::<u32>()) {
            let hello = Hello { ticket: TicketId(ticket) };
            let bytes = hello.encode();
            prop_assert_eq!(Hello::decode(&bytes), Ok(Some(hello)));
            prop_assert_eq!(Hello::decode(&bytes[..127]), Ok(None));
            let welcome = Reply::Welcome { session, max_op_bytes };
            let bytes = welcome.encode();
            prop_assert_eq!(whole(&bytes), Ok(welcome));
            prop_assert_eq!(ReplyHead::decode(&bytes[..127]), Ok(None));
        }

        #[test]
        fn hostile_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), valid in 0..3u8) {
            if valid > 0 && bytes.len() >= 128 {
                bytes[..8].copy_from_slice(if valid == 1 { &HELLO_MAGIC } else { &REPLY_MAGIC });
                bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
                bytes[10] %= 3;
                let body = u32::try_from(bytes.len() - 128).expect("under 400");
                bytes[12..16].copy_from_slice(&body.to_le_bytes());
            }
            let _ = Hello::decode(&bytes);
            let _ = whole(&bytes);
        }
    }

    #[test]
    fn a_refusal_survives_and_garbage_is_named() {
        let refused = Reply::Refused(Refusal::Ticket);
        assert_eq!(whole(&refused.encode()), Ok(refused));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(HelloError::Magic));
        let mut newer = Hello {
            ticket: TicketId([1; 16]),
        }
        .encode();
        newer[8] = 2;
        assert_eq!(Hello::decode(&newer), Err(HelloError::Version(2)));
    }
}
