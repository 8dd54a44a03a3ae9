//! Bytes of records and of the whole catalog.

use super::{
    Catalog, CatalogError, Extent, MAX_EXTENTS, MAX_NAME_BYTES, MAX_OWNER_BYTES, Record, RegionEntry,
};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::{RegionId, RegionKind};

/// Version of both encodings.
const VERSION: u16 = 1;
const EXTENT_BYTES: usize = 16;
/// The shortest record: its tag and one number.
const LEAST_RECORD: usize = 9;
/// The shortest region in a snapshot.
const LEAST_ENTRY: usize = 16 + 2 + 1 + 8 + 4 + 8 + 4 + 8 + 8 + 1;

impl Record {
    /// The payload of one update: records that take effect together.
    pub fn encode_all(records: &[Self]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u16(VERSION).count(records.len());
        records.iter().for_each(|record| record.encode(&mut encoder));
        encoder.finish()
    }

    /// Reads the payload of one update.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode_all(payload: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut decoder = versioned(payload)?;
        let count = decoder.count(LEAST_RECORD, "records")?;
        let records = (0..count)
            .map(|_| Self::decode(&mut decoder))
            .collect::<Result<_, _>>()?;
        decoder.end()?;
        Ok(records)
    }

    fn encode(&self, to: &mut Encoder) {
        match self {
            Self::ManagerGeneration { generation } => {
                to.u8(1).u64(*generation);
            }
            Self::RegionCreated {
                region,
                name,
                kind,
                size,
                slots,
                max_snapshot,
                extents,
                created_ms,
            } => {
                to.u8(2)
                    .bytes(&region.0)
                    .text(name)
                    .u8(kind.code())
                    .u64(*size)
                    .u32(*slots)
                    .u64(*max_snapshot);
                encode_extents(to, extents);
                to.u64(*created_ms);
            }
            Self::Opened {
                region,
                generation,
                owner,
            } => {
                to.u8(3).bytes(&region.0).u64(*generation).text(owner);
            }
            Self::Closed { region, generation } => {
                to.u8(4).bytes(&region.0).u64(*generation);
            }
            Self::Resized {
                region,
                size,
                extents,
            } => {
                to.u8(5).bytes(&region.0).u64(*size);
                encode_extents(to, extents);
            }
            Self::Deleted { region } => {
                to.u8(6).bytes(&region.0);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8("record")? {
            1 => Self::ManagerGeneration {
                generation: from.u64("generation")?,
            },
            2 => Self::RegionCreated {
                region: region(from)?,
                name: from.text(MAX_NAME_BYTES, "name")?,
                kind: kind(from)?,
                size: from.u64("size")?,
                slots: from.u32("slots")?,
                max_snapshot: from.u64("largest snapshot")?,
                extents: extents(from)?,
                created_ms: from.u64("time of creation")?,
            },
            3 => Self::Opened {
                region: region(from)?,
                generation: from.u64("generation")?,
                owner: from.text(MAX_OWNER_BYTES, "owner")?,
            },
            4 => Self::Closed {
                region: region(from)?,
                generation: from.u64("generation")?,
            },
            5 => Self::Resized {
                region: region(from)?,
                size: from.u64("size")?,
                extents: extents(from)?,
            },
            6 => Self::Deleted {
                region: region(from)?,
            },
            _ => return Err(DecodeError::Invalid("record")),
        })
    }
}

impl Catalog {
    /// The payload of a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::new();
        to.u16(VERSION)
            .u64(self.manager_generation())
            .count(self.regions().len());
        for entry in self.regions() {
            to.bytes(&entry.region.0)
                .text(&entry.name)
                .u8(entry.kind.code())
                .u64(entry.size)
                .u32(entry.slots)
                .u64(entry.max_snapshot);
            encode_extents(&mut to, &entry.extents);
            to.u64(entry.created_ms).u64(entry.generation);
            match &entry.owner {
                None => to.u8(0),
                Some(owner) => to.u8(1).text(owner),
            };
        }
        to.finish()
    }

    /// Reads a snapshot's payload, for the allocatable bytes of the medium at hand.
    ///
    /// # Errors
    /// What is wrong with it, be it the bytes or a rule that they break.
    pub fn decode(payload: &[u8], allocatable: Extent) -> Result<Self, CatalogDecodeError> {
        let mut from = versioned(payload)?;
        let mut catalog = Self::new(allocatable);
        catalog.set_manager_generation(from.u64("manager generation")?);
        for _ in 0..from.count(LEAST_ENTRY, "regions")? {
            catalog.insert(entry(&mut from)?)?;
        }
        from.end()?;
        Ok(catalog)
    }
}

/// Why a catalog's snapshot could not be taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogDecodeError {
    /// The bytes are not a catalog.
    #[error("the catalog's bytes: {0}")]
    Bytes(#[from] DecodeError),
    /// They are one that breaks a rule.
    #[error("the catalog breaks a rule: {0}")]
    Rule(#[from] CatalogError),
}

fn versioned(payload: &[u8]) -> Result<Decoder<'_>, DecodeError> {
    let mut decoder = Decoder::new(payload);
    match decoder.u16("version")? {
        VERSION => Ok(decoder),
        other => Err(DecodeError::Version(other)),
    }
}

fn entry(from: &mut Decoder<'_>) -> Result<RegionEntry, DecodeError> {
    Ok(RegionEntry {
        region: region(from)?,
        name: from.text(MAX_NAME_BYTES, "name")?,
        kind: kind(from)?,
        size: from.u64("size")?,
        slots: from.u32("slots")?,
        max_snapshot: from.u64("largest snapshot")?,
        extents: extents(from)?,
        created_ms: from.u64("time of creation")?,
        generation: from.u64("generation")?,
        owner: match from.u8("owner")? {
            0 => None,
            1 => Some(from.text(MAX_OWNER_BYTES, "owner")?),
            _ => return Err(DecodeError::Invalid("owner")),
        },
    })
}

fn region(from: &mut Decoder<'_>) -> Result<RegionId, DecodeError> {
    from.array("region").map(RegionId)
}

fn kind(from: &mut Decoder<'_>) -> Result<RegionKind, DecodeError> {
    RegionKind::from_code(from.u8("kind")?).ok_or(DecodeError::Invalid("kind"))
}

fn encode_extents(to: &mut Encoder, extents: &[Extent]) {
    to.count(extents.len());
    for extent in extents {
        to.u64(extent.start).u64(extent.len);
    }
}

fn extents(from: &mut Decoder<'_>) -> Result<Vec<Extent>, DecodeError> {
    let count = from.count(EXTENT_BYTES, "extents")?;
    if count > MAX_EXTENTS {
        return Err(DecodeError::Invalid("extents"));
    }
    (0..count)
        .map(|_| {
            Ok(Extent {
                start: from.u64("extent")?,
                len: from.u64("extent")?,
            })
        })
        .collect()
}
