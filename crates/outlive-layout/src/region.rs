//! Identity and kind of a region.

use std::fmt;

/// Identity of a region: 16 random bytes, never reused. Part of the seed of every checksum in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub [u8; 16]);

/// What a region's bytes mean. Fixed at create, so that a raw write cannot damage sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Sealed sets: snapshot slots and a journal.
    Checkpoint,
    /// Whatever its owner writes.
    Raw,
}

impl RegionKind {
    /// The byte that stands for it on media.
    pub fn code(self) -> u8 {
        match self {
            Self::Checkpoint => 1,
            Self::Raw => 2,
        }
    }

    /// The kind that a byte stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Checkpoint),
            2 => Some(Self::Raw),
            _ => None,
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

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
