//! What one set of a pair's journal says: a batch of requests, or a change of primary.
//!
//! A set is one version byte and a [`Record`] in postcard. Decoding borrows the requests from the
//! set and never panics, whatever the bytes are.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ReplyBounds, SessionId};

/// Version of the encoding; a set of another version is refused.
const VERSION: u8 = 1;

/// Bytes that an entry takes beyond its body, at most: tag, session, number, length.
const ENTRY_OVERHEAD_BYTES: usize = 48;

/// Bytes that a record takes beyond its entries, at most.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// One set of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// A member begins to serve.
    Began {
        /// Its clock, in milliseconds since 1970.
        at_ms: u64,
        /// Its generation.
        generation: u64,
        /// Bounds on replies from here on: journalled, so that members whose options differ still
        /// evict the same sessions.
        bounds: Bounds,
    },
    /// Requests in the order in which they were carried out.
    Requests {
        /// The moment that all of them see, in milliseconds since 1970.
        at_ms: u64,
        /// The requests; none in a set that only journals the time.
        #[serde(borrow)]
        entries: Vec<Entry<'a>>,
    },
    /// The primary hands over: nothing of its generation follows.
    Ended {
        /// Its clock, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// One journalled request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry<'a> {
    /// Without a session.
    Plain(#[serde(borrow)] Body<'a>),
    /// The next of its session.
    Numbered {
        /// The session.
        session: SessionId,
        /// Its number.
        number: u64,
        /// What the service gets.
        #[serde(borrow)]
        body: Body<'a>,
    },
    /// A new session.
    Open(SessionId),
}

impl Entry<'_> {
    /// Bytes that this entry takes in a set, at most.
    pub fn bound_bytes(&self) -> usize {
        let body = match self {
            Self::Plain(body) | Self::Numbered { body, .. } => body.0.len(),
            Self::Open(_) => 0,
        };
        body.saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}

/// Bytes that a set with entries of `entry_bytes` in all takes, at most.
pub fn set_bound_bytes(entry_bytes: usize) -> usize {
    entry_bytes.saturating_add(RECORD_OVERHEAD_BYTES)
}

/// A request's bytes, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a>(pub &'a [u8]);

impl Serialize for Body<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Body)
    }
}

/// [`ReplyBounds`] as they are journalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    sessions: u64,
    replies_per_session: u64,
    bytes: u64,
}

impl From<ReplyBounds> for Bounds {
    fn from(bounds: ReplyBounds) -> Self {
        Self {
            sessions: bounds.sessions as u64,
            replies_per_session: bounds.replies_per_session as u64,
            bytes: bounds.bytes as u64,
        }
    }
}

impl From<Bounds> for ReplyBounds {
    fn from(bounds: Bounds) -> Self {
        let at_least_one = |value| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        Self {
            sessions: at_least_one(bounds.sessions),
            replies_per_session: at_least_one(bounds.replies_per_session),
            bytes: at_least_one(bounds.bytes),
        }
    }
}

/// The bytes of a set.
pub fn encode(record: &Record<'_>) -> Vec<u8> {
    postcard::to_extend(record, vec![VERSION]).expect("encoding into memory does not fail")
}

/// Reads a set back.
///
/// # Errors
/// [`BatchError`] where the bytes are not a whole record of this version.
pub fn decode(set: &[u8]) -> Result<Record<'_>, BatchError> {
    let (&version, rest) = set.split_first().ok_or(BatchError::Empty)?;
    if version != VERSION {
        return Err(BatchError::Version(version));
    }
    let (record, rest) = postcard::take_from_bytes(rest).map_err(BatchError::Malformed)?;
    if !rest.is_empty() {
        return Err(BatchError::Trailing(rest.len()));
    }
    Ok(record)
}

/// A set of the journal is not one that a pair wrote.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// It has no bytes.
    #[error("an empty set")]
    Empty,
    /// It is of a version that this program does not know.
    #[error("a set of version {0}, which this program does not know")]
    Version(u8),
    /// It does not decode.
    #[error("a set that is not a batch")]
    Malformed(#[source] postcard::Error),
    /// Bytes are left over.
    #[error("a set with {0} bytes left over")]
    Trailing(usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requests<'a>(bodies: &'a [Vec<u8>], number: u64) -> Record<'a> {
        let entries = bodies
            .iter()
            .enumerate()
            .map(|(i, body)| match i % 3 {
                0 => Entry::Plain(Body(body)),
                1 => Entry::Numbered {
                    session: SessionId(u128::MAX),
                    number,
                    body: Body(body),
                },
                _ => Entry::Open(SessionId(u128::from(number))),
            })
            .collect();
        Record::Requests {
            at_ms: number,
            entries,
        }
    }

    proptest! {
        #[test]
        fn a_batch_survives_its_encoding_within_its_bound(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
            number in any::<u64>(),
        ) {
            let record = requests(&bodies, number);
            let set = encode(&record);
            prop_assert_eq!(decode(&set).expect("decodes"), record.clone());
            let Record::Requests { entries, .. } = &record else { unreachable!() };
            prop_assert!(set.len() <= set_bound_bytes(entries.iter().map(Entry::bound_bytes).sum()));
            if let Some(cut) = set.len().checked_sub(1) {
                prop_assert!(decode(&set[..cut]).is_err());
            }
        }

        #[test]
        fn hostile_bytes_are_refused_and_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
            let mut set = vec![VERSION];
            set.extend_from_slice(&bytes);
            let _ = decode(&set);
        }
    }

    #[test]
    fn other_versions_and_left_over_bytes_are_named() {
        let mut set = encode(&Record::Ended { at_ms: 5 });
        set.push(0);
        assert!(matches!(decode(&set), Err(BatchError::Trailing(1))));
        set[0] = 9;
        assert!(matches!(decode(&set), Err(BatchError::Version(9))));
        assert!(matches!(decode(&[]), Err(BatchError::Empty)));
    }
}
