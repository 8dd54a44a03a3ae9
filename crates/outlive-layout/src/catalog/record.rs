//! What changes a catalog.

use super::{AccessList, AccessRight, IdentityEntry};
use crate::{RegionId, RegionKind};

/// Physical bytes of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// First byte, from the start of the medium.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A manager attached.
    ManagerGeneration {
        /// Its generation, above all before.
        generation: u64,
    },
    /// A region was made.
    RegionCreated {
        /// Its identity.
        region: RegionId,
        /// Its name.
        name: String,
        /// What its bytes mean.
        kind: RegionKind,
        /// Bytes of its data.
        size: u64,
        /// Snapshot slots; 0 for a raw region.
        slots: u32,
        /// Largest snapshot in bytes; 0 for a raw region.
        max_snapshot: u64,
        /// Where it lies, side by side; the first begins with the metadata page.
        extents: Vec<Extent>,
        /// When: milliseconds since the Unix epoch.
        created_ms: u64,
        /// Who may use it.
        access: AccessList,
    },
    /// A primary opened or took over a region: its new generation.
    Opened {
        /// The region.
        region: RegionId,
        /// Generation, above all before.
        generation: u64,
        /// Advertised address or label of the owner.
        owner: String,
        /// The owner's identity.
        identity: String,
    },
    /// The primary of this generation gave the region up.
    Closed {
        /// The region.
        region: RegionId,
        /// The generation that ends; the current one.
        generation: u64,
    },
    /// A region grew.
    Resized {
        /// The region.
        region: RegionId,
        /// Bytes of its data now.
        size: u64,
        /// All of its extents now; what it had before stays in front.
        extents: Vec<Extent>,
    },
    /// A region is gone and its extents are free.
    Deleted {
        /// The region.
        region: RegionId,
    },
    /// What is known of an identity from now on.
    IdentitySet {
        /// All of it.
        identity: IdentityEntry,
    },
    /// An identity was put into one of a region's lists, or taken out. Changes nothing where it is so already.
    AccessChanged {
        /// The region.
        region: RegionId,
        /// Who.
        identity: String,
        /// Which list.
        right: AccessRight,
        /// Into it, or out of it.
        allowed: bool,
    },
}

impl Extent {
    /// The byte behind the last one; `None` when there is no such number.
    pub fn end(&self) -> Option<u64> {
        self.start.checked_add(self.len)
    }
}
