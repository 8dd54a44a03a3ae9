//! Frames of the data plane: pure encoding and decoding, no socket.
//!
//! An initiator sends 32-byte operation headers, a write's payload behind its header. A target
//! answers with 16-byte headers, in the order of the operations. Byte diagrams: `docs/protocol.md`.
//! Decoders take whatever came off the wire: they answer `None` until a whole header is there, and
//! a [`FrameError`] for anything that is not the protocol. They never allocate.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{PersistMethod, RemoteKey};

/// Bytes of an operation's header.
pub const OP_HEADER_BYTES: usize = 32;
/// Bytes of an answer's header.
pub const ANSWER_HEADER_BYTES: usize = 16;
/// The longest payload behind one answer header: read replies come in parts no longer than this.
pub const MAX_ANSWER_PAYLOAD_BYTES: u32 = 128 << 10;

const OP_MAGIC: u16 = u16::from_le_bytes(*b"OL");
const ANSWER_MAGIC: u16 = u16::from_le_bytes(*b"LO");
const FLAG_LAST: u8 = 1;

/// What an initiator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Place the `len` bytes that follow the header.
    Write {
        /// Into which range.
        key: RemoteKey,
        /// Where in it.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Send `len` bytes back.
    Read {
        /// Of which range.
        key: RemoteKey,
        /// From where in it.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Make persistent what was placed.
    Persist {
        /// In which range.
        key: RemoteKey,
        /// From where in it.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// A write longer than the target takes: only its number and length are sent, so that its
    /// refusal keeps its place in the order.
    Oversize {
        /// How many bytes it would have been.
        len: u64,
    },
    /// The initiator is done: answer what is outstanding and close. Has no answer of its own.
    Close,
}

/// An operation's header: what is asked, and the low 32 bits of its number. Numbers count from 1
/// without a gap, so a tag that does not continue them shows a stream out of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpFrame {
    /// Low 32 bits of the operation's number.
    pub tag: u32,
    /// The operation.
    pub op: Op,
}

/// What a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every operation not yet answered up to and including `through` is a write that was placed.
    Placed {
        /// The last one's number.
        through: u64,
    },
    /// The next part of a read; `len` bytes follow.
    ReadPart {
        /// The read's number.
        op: u64,
        /// Bytes that follow the header.
        len: u32,
        /// Whether the read is complete with it.
        last: bool,
    },
    /// A persist was carried out.
    Persistent {
        /// Its number.
        op: u64,
        /// How.
        method: PersistMethod,
    },
    /// An operation was refused; a [`reason`](super::reason) of `len` bytes follows.
    Refused {
        /// Its number.
        op: u64,
        /// Bytes that follow the header.
        len: u32,
    },
    /// The target stops the connection; a [`reason`](super::reason) of `len` bytes follows, and nothing after.
    Stopped {
        /// Bytes that follow the header.
        len: u32,
    },
}

/// Bytes that are not the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header does not begin with the magic.
    #[error("a frame begins with {0:#06x}, not with the protocol's magic")]
    Magic(u16),
    /// Nothing has this kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Flags, or fields that this kind does not use, are set.
    #[error("a frame of kind {0} sets what that kind leaves zero")]
    Reserved(u8),
    /// More bytes than a frame of this kind may carry.
    #[error("a frame of kind {kind} announces {len} bytes")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// Bytes announced.
        len: u32,
    },
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawOp {
    magic: U16,
    kind: u8,
    flags: u8,
    tag: U32,
    key: U64,
    offset: U64,
    len: U64,
}
const _: () = assert!(size_of::<RawOp>() == OP_HEADER_BYTES);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawAnswer {
    magic: U16,
    kind: u8,
    flags: u8,
    len: U32,
    op: U64,
}
const _: () = assert!(size_of::<RawAnswer>() == ANSWER_HEADER_BYTES);

const WRITE: u8 = 1;
const READ: u8 = 2;
const PERSIST: u8 = 3;
const OVERSIZE: u8 = 4;
const CLOSE: u8 = 5;

const PLACED: u8 = 1;
const READ_PART: u8 = 2;
const PERSISTENT: u8 = 3;
const REFUSED: u8 = 4;
const STOPPED: u8 = 5;

impl OpFrame {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; OP_HEADER_BYTES] {
        let (kind, key, offset, len) = match self.op {
            Op::Write { key, offset, len } => (WRITE, key.0, offset, len),
            Op::Read { key, offset, len } => (READ, key.0, offset, len),
            Op::Persist { key, offset, len } => (PERSIST, key.0, offset, len),
            Op::Oversize { len } => (OVERSIZE, 0, 0, len),
            Op::Close => (CLOSE, 0, 0, 0),
        };
        let raw = RawOp {
            magic: OP_MAGIC.into(),
            kind,
            flags: 0,
            tag: self.tag.into(),
            key: key.into(),
            offset: offset.into(),
            len: len.into(),
        };
        zerocopy::transmute!(raw)
    }

    /// The header at the start of `bytes`, or `None` until all of it is there.
    ///
    /// # Errors
    /// [`FrameError`]: the connection cannot go on.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Ok((raw, _)) = RawOp::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        if raw.magic.get() != OP_MAGIC {
            return Err(FrameError::Magic(raw.magic.get()));
        }
        let (key, offset, len) = (RemoteKey(raw.key.get()), raw.offset.get(), raw.len.get());
        let op = match raw.kind {
            WRITE => Op::Write { key, offset, len },
            READ => Op::Read { key, offset, len },
            PERSIST => Op::Persist { key, offset, len },
            OVERSIZE if key.0 == 0 && offset == 0 => Op::Oversize { len },
            CLOSE if key.0 == 0 && offset == 0 && len == 0 => Op::Close,
            OVERSIZE | CLOSE => return Err(FrameError::Reserved(raw.kind)),
            kind => return Err(FrameError::Kind(kind)),
        };
        if raw.flags != 0 {
            return Err(FrameError::Reserved(raw.kind));
        }
        Ok(Some(Self {
            tag: raw.tag.get(),
            op,
        }))
    }
}

impl Answer {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; ANSWER_HEADER_BYTES] {
        let (kind, flags, len, op) = match *self {
            Self::Placed { through } => (PLACED, 0, 0, through),
            Self::ReadPart { op, len, last } => (READ_PART, u8::from(last) * FLAG_LAST, len, op),
            Self::Persistent { op, method } => (PERSISTENT, method_code(method), 0, op),
            Self::Refused { op, len } => (REFUSED, 0, len, op),
            Self::Stopped { len } => (STOPPED, 0, len, 0),
        };
        let raw = RawAnswer {
            magic: ANSWER_MAGIC.into(),
            kind,
            flags,
            len: len.into(),
            op: op.into(),
        };
        zerocopy::transmute!(raw)
    }

    /// The header at the start of `bytes`, or `None` until all of it is there.
    ///
    /// # Errors
    /// [`FrameError`]: the connection cannot go on.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Ok((raw, _)) = RawAnswer::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        if raw.magic.get() != ANSWER_MAGIC {
            return Err(FrameError::Magic(raw.magic.get()));
        }
        let (kind, len, op) = (raw.kind, raw.len.get(), raw.op.get());
        let (answer, flags, max_len) = match kind {
            PLACED => (Self::Placed { through: op }, 0, 0),
            READ_PART => {
                let last = raw.flags & FLAG_LAST != 0;
                (
                    Self::ReadPart { op, len, last },
                    FLAG_LAST,
                    MAX_ANSWER_PAYLOAD_BYTES,
                )
            }
            PERSISTENT => {
                let method = method_of(raw.flags).ok_or(FrameError::Reserved(kind))?;
                (Self::Persistent { op, method }, u8::MAX, 0)
            }
            REFUSED => (Self::Refused { op, len }, 0, super::reason::MAX_REASON_BYTES),
            STOPPED if op == 0 => (Self::Stopped { len }, 0, super::reason::MAX_REASON_BYTES),
            STOPPED => return Err(FrameError::Reserved(kind)),
            kind => return Err(FrameError::Kind(kind)),
        };
        if raw.flags & !flags != 0 {
            return Err(FrameError::Reserved(kind));
        }
        if len > max_len {
            return Err(FrameError::Length { kind, len });
        }
        Ok(Some(answer))
    }
}

/// A persist method's number on the wire; 0 stands for none.
pub(super) fn method_code(method: PersistMethod) -> u8 {
    match method {
        PersistMethod::TargetFlush => 1,
    }
}

pub(super) fn method_of(code: u8) -> Option<PersistMethod> {
    (code == 1).then_some(PersistMethod::TargetFlush)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn op() -> impl Strategy<Value = Op> {
        let range = || (any::<u64>(), any::<u64>(), any::<u64>());
        prop_oneof![
            range().prop_map(|(key, offset, len)| Op::Write {
                key: RemoteKey(key),
                offset,
                len
            }),
            range().prop_map(|(key, offset, len)| Op::Read {
                key: RemoteKey(key),
                offset,
                len
            }),
            range().prop_map(|(key, offset, len)| Op::Persist {
                key: RemoteKey(key),
                offset,
                len
            }),
            any::<u64>().prop_map(|len| Op::Oversize { len }),
            Just(Op::Close),
        ]
    }

    fn answer() -> impl Strategy<Value = Answer> {
        let reason = 0..=super::super::reason::MAX_REASON_BYTES;
        prop_oneof![
            any::<u64>().prop_map(|through| Answer::Placed { through }),
            (any::<u64>(), 0..=MAX_ANSWER_PAYLOAD_BYTES, any::<bool>())
                .prop_map(|(op, len, last)| Answer::ReadPart { op, len, last }),
            any::<u64>().prop_map(|op| Answer::Persistent {
                op,
                method: PersistMethod::TargetFlush
            }),
            (any::<u64>(), reason.clone()).prop_map(|(op, len)| Answer::Refused { op, len }),
            reason.prop_map(|len| Answer::Stopped { len }),
        ]
    }

    proptest! {
        #[test]
        fn operations_survive_the_wire(tag in any::<u32>(), op in op()) {
            let frame = OpFrame { tag, op };
            let bytes = frame.encode();
            prop_assert_eq!(OpFrame::decode(&bytes), Ok(Some(frame)));
            prop_assert_eq!(OpFrame::decode(&bytes[..31]), Ok(None));
        }

        #[test]
        fn answers_survive_the_wire(answer in answer()) {
            let bytes = answer.encode();
            prop_assert_eq!(Answer::decode(&bytes), Ok(Some(answer)));
            prop_assert_eq!(Answer::decode(&bytes[..15]), Ok(None));
        }

        #[test]
        fn an_end_that_names_an_operation_is_not_the_protocol(op in 1u64..) {
            let mut bytes = Answer::Stopped { len: 32 }.encode();
            bytes[8..].copy_from_slice(&op.to_le_bytes());
            prop_assert_eq!(Answer::decode(&bytes), Err(FrameError::Reserved(STOPPED)));
        }

        #[test]
        fn what_decodes_is_what_encodes(mut bytes in prop::collection::vec(any::<u8>(), 0..48), magic in any::<bool>()) {
            if magic && bytes.len() > 3 {
                bytes[..2].copy_from_slice(b"OL");
                bytes[2] %= 8;
                bytes[3] = 0;
            }
            if let Ok(Some(frame)) = OpFrame::decode(&bytes) {
                prop_assert_eq!(&frame.encode()[..], &bytes[..OP_HEADER_BYTES]);
            }
            if magic && bytes.len() > 3 {
                bytes[..2].copy_from_slice(b"LO");
            }
            let _ = Answer::decode(&bytes);
        }
    }
}
