//! A [`Refusal`] as it travels: a fixed head and a bounded text.

use thiserror::Error;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Refusal;

/// The longest text of a reason; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 512;
/// The longest encoded reason: head and text.
pub const MAX_REASON_BYTES: u32 = 32 + 512;

/// Bytes that are not a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the other side sent a reason that does not decode")]
pub struct BadReason;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawReason {
    code: U16,
    text_len: U16,
    reserved: [u8; 4],
    numbers: [U64; 3],
}
const _: () = assert!(size_of::<RawReason>() + MAX_TEXT_BYTES == MAX_REASON_BYTES as usize);

const UNKNOWN_KEY: u16 = 1;
const OUT_OF_RANGE: u16 = 2;
const READ_ONLY: u16 = 3;
const FENCED: u16 = 4;
const TICKET: u16 = 5;
const NOT_PERSISTENT: u16 = 6;
const MEDIA: u16 = 7;
const LIMIT: u16 = 8;
const PROTOCOL: u16 = 9;
const SHUTTING_DOWN: u16 = 10;
const WITHDRAWN: u16 = 11;
const REVOKED: u16 = 12;
const UNENCRYPTED: u16 = 13;
const UNREADABLE: u16 = 14;

/// The bytes of `refusal`, at most [`MAX_REASON_BYTES`].
pub fn encode(refusal: &Refusal) -> Vec<u8> {
    let (code, numbers, text) = match refusal {
        Refusal::UnknownKey { key } => (UNKNOWN_KEY, [*key, 0, 0], ""),
        Refusal::OutOfRange { offset, len, limit } => (OUT_OF_RANGE, [*offset, *len, *limit], ""),
        Refusal::ReadOnly => (READ_ONLY, [0; 3], ""),
        Refusal::Fenced { generation } => (FENCED, [*generation, 0, 0], ""),
        Refusal::Ticket => (TICKET, [0; 3], ""),
        Refusal::NotPersistent => (NOT_PERSISTENT, [0; 3], ""),
        Refusal::Media(text) => (MEDIA, [0; 3], text.as_str()),
        Refusal::Limit { what, limit } => (LIMIT, [*limit, 0, 0], what.as_str()),
        Refusal::Protocol(text) => (PROTOCOL, [0; 3], text.as_str()),
        Refusal::ShuttingDown => (SHUTTING_DOWN, [0; 3], ""),
        Refusal::Withdrawn => (WITHDRAWN, [0; 3], ""),
        Refusal::Revoked => (REVOKED, [0; 3], ""),
        Refusal::Unencrypted => (UNENCRYPTED, [0; 3], ""),
        Refusal::Unreadable(text) => (UNREADABLE, [0; 3], text.as_str()),
    };
    let text = &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let head = RawReason {
        code: code.into(),
        text_len: u16::try_from(text.len()).expect("cut to MAX_TEXT_BYTES").into(),
        reserved: [0; 4],
        numbers: numbers.map(U64::new),
    };
    [head.as_bytes(), text].concat()
}

/// The refusal that all of `bytes` is.
///
/// # Errors
/// [`BadReason`] for anything else.
pub fn decode(bytes: &[u8]) -> Result<Refusal, BadReason> {
    let (head, text) = RawReason::ref_from_prefix(bytes).map_err(|_| BadReason)?;
    if text.len() != usize::from(head.text_len.get()) || text.len() > MAX_TEXT_BYTES {
        return Err(BadReason);
    }
    let text = std::str::from_utf8(text).map_err(|_| BadReason)?;
    let [first, second, third] = head.numbers.map(U64::get);
    Ok(match head.code.get() {
        UNKNOWN_KEY => Refusal::UnknownKey { key: first },
        OUT_OF_RANGE => Refusal::OutOfRange {
            offset: first,
            len: second,
            limit: third,
        },
        READ_ONLY => Refusal::ReadOnly,
        FENCED => Refusal::Fenced { generation: first },
        TICKET => Refusal::Ticket,
        NOT_PERSISTENT => Refusal::NotPersistent,
        MEDIA => Refusal::Media(text.to_owned()),
        LIMIT => Refusal::Limit {
            what: text.to_owned(),
            limit: first,
        },
        PROTOCOL => Refusal::Protocol(text.to_owned()),
        SHUTTING_DOWN => Refusal::ShuttingDown,
        WITHDRAWN => Refusal::Withdrawn,
        REVOKED => Refusal::Revoked,
        UNENCRYPTED => Refusal::Unencrypted,
        UNREADABLE => Refusal::Unreadable(text.to_owned()),
        _ => return Err(BadReason),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        let reasons = [
            Refusal::UnknownKey { key: u64::MAX },
            Refusal::OutOfRange {
                offset: 1,
                len: 2,
                limit: 3,
            },
            Refusal::ReadOnly,
            Refusal::Fenced { generation: 9 },
            Refusal::Ticket,
            Refusal::NotPersistent,
            Refusal::Media("flush: I/O error".into()),
            Refusal::Limit {
                what: "connections".into(),
                limit: 64,
            },
            Refusal::Protocol("kind 99".into()),
            Refusal::ShuttingDown,
            Refusal::Withdrawn,
            Refusal::Revoked,
            Refusal::Unencrypted,
            Refusal::Unreadable("uncorrectable memory error".into()),
        ];
        for reason in reasons {
            assert_eq!(decode(&encode(&reason)), Ok(reason));
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let bytes = encode(&Refusal::Media("ä".repeat(400)));
        assert!(bytes.len() <= MAX_REASON_BYTES as usize);
        assert_eq!(decode(&bytes), Ok(Refusal::Media("ä".repeat(256))));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..700), valid in any::<bool>()) {
            if valid && bytes.len() >= 32 {
                bytes[0] %= 16;
                bytes[1] = 0;
                let text_len = u16::try_from(bytes.len() - 32).expect("under 700");
                bytes[2..4].copy_from_slice(&text_len.to_le_bytes());
            }
            if let Ok(reason) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&reason)), Ok(reason));
            }
        }
    }
}
