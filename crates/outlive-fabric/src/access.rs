//! Access information: what a connection may reach, and how.

use std::fmt;
use std::ops::Range;

use crate::Refusal;

/// Identity of a region: 16 random bytes, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub [u8; 16]);

/// Names one exposed range inside one connection's table; meaningless on any other connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteKey(pub u64);

/// Identifies a single-use ticket: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketId(pub [u8; 16]);

/// What may be done with an exposed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Reads only: what a backup gets.
    Read,
    /// Reads, writes and persists: what a primary gets.
    ReadWrite,
}

impl Rights {
    /// Whether writes and persists are let through.
    pub fn allows_write(self) -> bool {
        self == Self::ReadWrite
    }
}

/// Which part of a region a key exposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposedPart {
    /// The region's data, from its offset 0.
    Data,
    /// The region's metadata page, always read-only.
    Metadata,
}

/// What a client is told, over the connection it is bound to, about one range it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessInfo {
    /// Region the range belongs to.
    pub region: RegionId,
    /// Which part of it.
    pub part: ExposedPart,
    /// Key to name in operations.
    pub key: RemoteKey,
    /// Length in bytes; offsets run from 0 to `len`.
    pub len: u64,
    /// Rights of this connection.
    pub rights: Rights,
    /// Generation of ownership under which it was granted.
    pub generation: u64,
}

/// How persistence was reached; stands in every receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PersistMethod {
    /// The target itself flushed its medium on request and confirmed.
    TargetFlush,
}

/// What the target tells an initiator once it is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The unit's incarnation: made persistent, and raised, at every start before it serves.
    pub incarnation: u64,
    /// Ranges this connection may use.
    pub access: Vec<AccessInfo>,
    /// How this target persists, or `None` where its medium cannot promise it.
    pub persist: Option<PersistMethod>,
}

/// The one rule that turns an offset and a length from the wire into a bounded range of what a key
/// exposes: nothing else may index memory with them. A length of 0 is in range up to `limit` itself.
///
/// ```
/// use outlive_fabric::{Refusal, access::check_range};
/// assert_eq!(check_range(4090, 6, 4096), Ok(4090..4096));
/// assert!(matches!(check_range(u64::MAX, 2, 4096), Err(Refusal::OutOfRange { .. })));
/// ```
///
/// # Errors
/// [`Refusal::OutOfRange`], also where offset and length overflow.
pub fn check_range(offset: u64, len: u64, limit: u64) -> Result<Range<u64>, Refusal> {
    match offset.checked_add(len) {
        Some(end) if end <= limit => Ok(offset..end),
        _ => Err(Refusal::OutOfRange { offset, len, limit }),
    }
}

/// The whole check of one access: rights first, then [`check_range`]. Writes and persists want
/// `write` set.
///
/// # Errors
/// [`Refusal::ReadOnly`] or [`Refusal::OutOfRange`].
pub fn check_access(
    rights: Rights,
    write: bool,
    offset: u64,
    len: u64,
    limit: u64,
) -> Result<Range<u64>, Refusal> {
    if write && !rights.allows_write() {
        return Err(Refusal::ReadOnly);
    }
    check_range(offset, len, limit)
}

fn hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for TicketId {
    /// Never the whole id: who knows it may connect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket {:02x}{:02x}…", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hostile() -> impl Strategy<Value = u64> {
        prop_oneof![0..=64u64, any::<u64>(), (u64::MAX - 64)..=u64::MAX]
    }

    proptest! {
        #[test]
        fn a_range_lies_inside_or_is_refused(offset in hostile(), len in hostile(), limit in hostile()) {
            let inside = u128::from(offset) + u128::from(len) <= u128::from(limit);
            match check_range(offset, len, limit) {
                Ok(range) => {
                    prop_assert!(inside);
                    prop_assert_eq!(range, offset..offset + len);
                }
                Err(refusal) => {
                    prop_assert!(!inside);
                    prop_assert_eq!(refusal, Refusal::OutOfRange { offset, len, limit });
                }
            }
        }
    }

    #[test]
    fn only_writers_write() {
        assert_eq!(check_access(Rights::Read, true, 0, 1, 8), Err(Refusal::ReadOnly));
        assert_eq!(check_access(Rights::Read, false, 0, 1, 8), Ok(0..1));
        assert_eq!(check_access(Rights::ReadWrite, true, 7, 1, 8), Ok(7..8));
    }
}
