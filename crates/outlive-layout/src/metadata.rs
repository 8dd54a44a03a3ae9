//! A region's metadata page: what its users may know of it, in 4 KiB before its data.
//!
//! Written by the unit at the manager's request, granted read-only along with the region. It names
//! virtual ranges only: no physical address and nobody else's region stand in it.

use crate::catalog::{MAX_EXTENTS, MAX_NAME_BYTES, MAX_OWNER_BYTES};
use crate::checksum::Checksum;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::{RegionId, RegionKind};

/// Length of the page, and the most that it may hold.
pub const METADATA_PAGE_BYTES: usize = 4096;
/// First bytes of a metadata page.
pub const METADATA_MAGIC: [u8; 8] = *b"OutlvMTA";
/// Version of the page's encoding.
pub const METADATA_VERSION: u16 = 1;
/// Entries of the access description; with the other bounds the page cannot overflow.
pub const MAX_ACCESS_ENTRIES: usize = 16;
/// Longest identity in the access description, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 64;

/// The page, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPage {
    /// The region.
    pub region: RegionId,
    /// Its name.
    pub name: String,
    /// What its bytes mean.
    pub kind: RegionKind,
    /// Bytes of its data.
    pub size: u64,
    /// Snapshot slots; 0 for a raw region.
    pub slots: u32,
    /// Largest snapshot in bytes; 0 for a raw region.
    pub max_snapshot: u64,
    /// Generation of ownership.
    pub generation: u64,
    /// Advertised address or label of the owner; empty while nobody owns it.
    pub owner: String,
    /// When it was created: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Virtual ranges of its data, `(offset, bytes)`, one for each piece of memory behind it.
    pub ranges: Vec<(u64, u64)>,
    /// Who may do what: what each requestor's access information is derived from.
    pub access: Vec<AccessEntry>,
}

/// One identity's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// Who.
    pub identity: String,
    /// Whether as primary (reads and writes) or as backup (reads).
    pub writable: bool,
}

impl MetadataPage {
    /// The page's bytes, [`METADATA_PAGE_BYTES`] of them.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] naming a field that is beyond its bound.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.check()?;
        let mut body = Encoder::new();
        body.text(&self.name)
            .u8(self.kind.code())
            .u64(self.size)
            .u32(self.slots)
            .u64(self.max_snapshot)
            .u64(self.generation)
            .text(&self.owner)
            .u64(self.created_ms)
            .count(self.ranges.len());
        for (offset, len) in &self.ranges {
            body.u64(*offset).u64(*len);
        }
        body.count(self.access.len());
        for entry in &self.access {
            body.text(&entry.identity).u8(u8::from(entry.writable));
        }
        let body = body.finish();
        let crc = Checksum::seeded(self.region, 0, 0).with(&body).value();
        let mut page = Encoder::new();
        page.bytes(&METADATA_MAGIC)
            .u16(METADATA_VERSION)
            .u16(u16::try_from(body.len()).expect("the bounds keep it within the page"))
            .u32(crc)
            .bytes(&self.region.0)
            .bytes(&body);
        let mut page = page.finish();
        page.resize(METADATA_PAGE_BYTES, 0);
        Ok(page)
    }

    /// Reads a page.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(page: &[u8]) -> Result<Self, DecodeError> {
        let mut head = Decoder::new(page);
        if head.array("magic")? != METADATA_MAGIC {
            return Err(DecodeError::Invalid("magic"));
        }
        let version = head.u16("version")?;
        if version != METADATA_VERSION {
            return Err(DecodeError::Version(version));
        }
        let len = usize::from(head.u16("length")?);
        let crc = head.u32("checksum")?;
        let region = RegionId(head.array("region")?);
        let bytes = head.bytes(len, "body")?;
        if Checksum::seeded(region, 0, 0).with(bytes).value() != crc {
            return Err(DecodeError::Checksum);
        }
        let page = Self::decode_body(region, bytes)?;
        page.check()?;
        Ok(page)
    }

    fn decode_body(region: RegionId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut body = Decoder::new(bytes);
        let name = body.text(MAX_NAME_BYTES, "name")?;
        let kind = RegionKind::from_code(body.u8("kind")?).ok_or(DecodeError::Invalid("kind"))?;
        let (size, slots, max_snapshot) = (
            body.u64("size")?,
            body.u32("slots")?,
            body.u64("largest snapshot")?,
        );
        let generation = body.u64("generation")?;
        let owner = body.text(MAX_OWNER_BYTES, "owner")?;
        let created_ms = body.u64("time of creation")?;
        let ranges = (0..body.count(16, "ranges")?)
            .map(|_| Ok((body.u64("range")?, body.u64("range")?)))
            .collect::<Result<_, DecodeError>>()?;
        let access = (0..body.count(3, "access")?)
            .map(|_| {
                let identity = body.text(MAX_IDENTITY_BYTES, "identity")?;
                Ok(AccessEntry {
                    identity,
                    writable: body.u8("rights")? != 0,
                })
            })
            .collect::<Result<_, DecodeError>>()?;
        body.end()?;
        Ok(Self {
            region,
            name,
            kind,
            size,
            slots,
            max_snapshot,
            generation,
            owner,
            created_ms,
            ranges,
            access,
        })
    }

    fn check(&self) -> Result<(), DecodeError> {
        let bounds = [
            (self.name.len() <= MAX_NAME_BYTES, "name"),
            (self.owner.len() <= MAX_OWNER_BYTES, "owner"),
            (self.ranges.len() <= MAX_EXTENTS, "ranges"),
            (self.access.len() <= MAX_ACCESS_ENTRIES, "access"),
            (
                self.access
                    .iter()
                    .all(|entry| entry.identity.len() <= MAX_IDENTITY_BYTES),
                "identity",
            ),
        ];
        bounds
            .iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, what)| Err(DecodeError::Invalid(what)))
    }
}

const _: () = assert!(
    32 + 2
        + MAX_NAME_BYTES
        + 1
        + 8
        + 4
        + 8
        + 8
        + 2
        + MAX_OWNER_BYTES
        + 8
        + 4
        + 16 * MAX_EXTENTS
        + 4
        + MAX_ACCESS_ENTRIES * (3 + MAX_IDENTITY_BYTES)
        <= METADATA_PAGE_BYTES
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fullest() -> MetadataPage {
        MetadataPage {
            region: RegionId([9; 16]),
            name: "n".repeat(MAX_NAME_BYTES),
            kind: RegionKind::Checkpoint,
            size: 1 << 30,
            slots: 2,
            max_snapshot: 1 << 20,
            generation: 4,
            owner: "o".repeat(MAX_OWNER_BYTES),
            created_ms: 5,
            ranges: vec![(0, 4096); MAX_EXTENTS],
            access: vec![
                AccessEntry {
                    identity: "i".repeat(MAX_IDENTITY_BYTES),
                    writable: true
                };
                MAX_ACCESS_ENTRIES
            ],
        }
    }

    #[test]
    fn the_fullest_page_fits_and_comes_back() {
        let page = fullest().encode().expect("within all bounds");
        assert_eq!(page.len(), METADATA_PAGE_BYTES);
        assert_eq!(MetadataPage::decode(&page), Ok(fullest()));
    }

    #[test]
    fn what_is_beyond_a_bound_is_named() {
        let long = MetadataPage {
            owner: "o".repeat(MAX_OWNER_BYTES + 1),
            ..fullest()
        };
        assert_eq!(long.encode(), Err(DecodeError::Invalid("owner")));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..3000, flip in 1u8..) {
            let mut page = fullest().encode().expect("within all bounds");
            let used = 32 + usize::from(u16::from_le_bytes([page[10], page[11]]));
            page[at % used] ^= flip;
            prop_assert!(MetadataPage::decode(&page).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = MetadataPage::decode(&bytes);
            let mut sealed = METADATA_MAGIC.to_vec();
            sealed.extend_from_slice(&METADATA_VERSION.to_le_bytes());
            sealed.extend_from_slice(&u16::try_from(bytes.len()).expect("short").to_le_bytes());
            let crc = Checksum::seeded(RegionId([0; 16]), 0, 0).with(&bytes).value();
            sealed.extend_from_slice(&crc.to_le_bytes());
            sealed.extend_from_slice(&[0; 16]);
            sealed.extend_from_slice(&bytes);
            let _ = MetadataPage::decode(&sealed);
        }
    }
}
