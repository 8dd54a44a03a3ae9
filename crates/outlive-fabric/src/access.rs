//! Access information: what a connection may reach, and how.

use std::fmt;

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
