//! What a region is to be.

use std::fmt;

use outlive_proto::v1;

/// What a region's bytes mean; fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Sealed sets: snapshot slots and a journal.
    Checkpoint,
    /// Whatever its owner writes.
    Raw,
}

/// How durable a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Visible in the unit's memory: survives the clients and, on file media, the unit's process.
    Placed,
    /// Survives loss of power.
    Persistent,
}

/// A region to create.
///
/// ```
/// use outlive::RegionSpec;
/// let spec = RegionSpec::checkpoint(64 << 20).slots(3).max_snapshot(16 << 20).owner("orders").reader("standby");
/// assert_eq!(spec.size, 64 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionSpec {
    /// What its bytes mean.
    pub kind: RegionKind,
    /// Bytes, rounded up to 4 KiB.
    pub size: u64,
    /// Snapshot slots, two or more: one is always verified, the others are the earlier ones kept. 0: the default, 2.
    pub slots: u32,
    /// Largest snapshot in bytes. 0: the default, a quarter of the size.
    pub max_snapshot: u64,
    /// Identities that may become primary; none: whoever creates it.
    pub owners: Vec<String>,
    /// Identities that may become backup; owners may, too.
    pub readers: Vec<String>,
}

impl RegionSpec {
    /// A checkpoint region of `size` bytes with the default layout.
    pub fn checkpoint(size: u64) -> Self {
        Self {
            kind: RegionKind::Checkpoint,
            size,
            slots: 0,
            max_snapshot: 0,
            owners: Vec::new(),
            readers: Vec::new(),
        }
    }

    /// A raw region of `size` bytes.
    pub fn raw(size: u64) -> Self {
        Self {
            kind: RegionKind::Raw,
            size,
            slots: 0,
            max_snapshot: 0,
            owners: Vec::new(),
            readers: Vec::new(),
        }
    }

    /// Keeps this many snapshots (two or more).
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Lets one more identity become primary. The creator does not stand in the list unless it is named, too.
    #[must_use]
    pub fn owner(mut self, identity: impl Into<String>) -> Self {
        self.owners.push(identity.into());
        self
    }

    /// Lets one more identity become backup.
    #[must_use]
    pub fn reader(mut self, identity: impl Into<String>) -> Self {
        self.readers.push(identity.into());
        self
    }

    /// Allows snapshots up to this many bytes.
    #[must_use]
    pub fn max_snapshot(mut self, bytes: u64) -> Self {
        self.max_snapshot = bytes;
        self
    }
}

impl RegionKind {
    pub(crate) fn from_proto(kind: v1::RegionKind) -> Self {
        match kind {
            v1::RegionKind::Raw => Self::Raw,
            v1::RegionKind::Checkpoint | v1::RegionKind::Unspecified => Self::Checkpoint,
        }
    }

    pub(crate) fn from_layout(kind: outlive_layout::RegionKind) -> Self {
        match kind {
            outlive_layout::RegionKind::Raw => Self::Raw,
            outlive_layout::RegionKind::Checkpoint => Self::Checkpoint,
        }
    }

    pub(crate) fn to_proto(self) -> v1::RegionKind {
        match self {
            Self::Checkpoint => v1::RegionKind::Checkpoint,
            Self::Raw => v1::RegionKind::Raw,
        }
    }
}

impl Level {
    pub(crate) fn from_proto(level: v1::Level) -> Self {
        match level {
            v1::Level::Persistent => Self::Persistent,
            v1::Level::Placed | v1::Level::Unspecified => Self::Placed,
        }
    }
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "checkpoint",
            Self::Raw => "raw",
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placed => "placed",
            Self::Persistent => "persistent",
        })
    }
}
