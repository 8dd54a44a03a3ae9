//! A region as the catalog has it, and what others are told of it.

use std::ops::Deref;

use outlive_fabric::RegionId;
use outlive_layout::MetadataPage;
use outlive_layout::catalog::{Extent, RegionEntry};
use outlive_proto::v1;

/// A copy of a region's entry.
#[derive(Clone, Debug)]
pub(crate) struct RegionRecord {
    pub(crate) id: RegionId,
    entry: RegionEntry,
}

impl Deref for RegionRecord {
    type Target = RegionEntry;

    fn deref(&self) -> &RegionEntry {
        &self.entry
    }
}

impl From<&RegionEntry> for RegionRecord {
    fn from(entry: &RegionEntry) -> Self {
        Self {
            id: RegionId(entry.region.0),
            entry: entry.clone(),
        }
    }
}

impl RegionRecord {
    /// Whether a primary has it open, alive or not.
    pub(crate) fn is_open(&self) -> bool {
        self.entry.owner.is_some()
    }

    /// The owner's address or label; empty when the region is closed.
    pub(crate) fn owner_label(&self) -> &str {
        self.entry.owner.as_ref().map_or("", |owner| &owner.label)
    }

    /// The owner's identity; empty when the region is closed.
    pub(crate) fn owner_identity(&self) -> &str {
        self.entry.owner.as_ref().map_or("", |owner| &owner.identity)
    }

    /// Where it lies, for the unit.
    pub(crate) fn unit_extents(&self) -> Vec<v1::Extent> {
        unit_extents(&self.entry.extents)
    }

    /// Its metadata page.
    pub(crate) fn page(&self) -> Vec<u8> {
        let page = MetadataPage {
            region: self.entry.region,
            name: self.entry.name.clone(),
            kind: self.entry.kind,
            size: self.entry.size,
            slots: self.entry.slots,
            max_snapshot: self.entry.max_snapshot,
            generation: self.entry.generation,
            owner: self.owner_label().to_owned(),
            created_ms: self.entry.created_ms,
            ranges: self.virtual_ranges(),
            access: self.entry.access.entries(),
        };
        page.encode()
            .expect("the catalog keeps names, owners, access lists and extents within the page's bounds")
    }

    /// What of its data is mapped: `(offset, bytes)` for each extent behind it.
    pub(crate) fn virtual_ranges(&self) -> Vec<(u64, u64)> {
        let mut physical = 0;
        let page = outlive_layout::metadata::METADATA_PAGE_BYTES as u64;
        let ranges = self.entry.extents.iter().filter_map(|extent| {
            let (start, end) = (physical, physical + extent.len);
            physical = end;
            let (start, end) = (start.saturating_sub(page), end.saturating_sub(page));
            (end > start).then_some((start, end - start))
        });
        ranges.collect()
    }

    /// Everything that the catalog knows of it; the rest is for whoever knows what is live.
    pub(crate) fn to_region(&self) -> v1::Region {
        let kind = match self.entry.kind {
            outlive_layout::RegionKind::Checkpoint => v1::RegionKind::Checkpoint,
            outlive_layout::RegionKind::Raw => v1::RegionKind::Raw,
        };
        v1::Region {
            name: self.entry.name.clone(),
            id: self.id.0.to_vec(),
            kind: kind.into(),
            size: self.entry.size,
            slots: self.entry.slots,
            max_snapshot: self.entry.max_snapshot,
            generation: self.entry.generation,
            owner: self.owner_label().to_owned(),
            owner_alive: false,
            extents: u32::try_from(self.entry.extents.len()).unwrap_or(u32::MAX),
            readers: 0,
            created_unix_ms: self.entry.created_ms,
            may_own: self.entry.access.owners().map(str::to_owned).collect(),
            may_read: self.entry.access.readers().map(str::to_owned).collect(),
            owner_identity: self.owner_identity().to_owned(),
        }
    }
}

pub(crate) fn layout_id(region: RegionId) -> outlive_layout::RegionId {
    outlive_layout::RegionId(region.0)
}

pub(crate) fn unit_extents(extents: &[Extent]) -> Vec<v1::Extent> {
    extents
        .iter()
        .map(|extent| v1::Extent {
            start: extent.start,
            len: extent.len,
        })
        .collect()
}
