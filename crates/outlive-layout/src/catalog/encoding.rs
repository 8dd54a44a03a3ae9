//! Bytes of records and of the whole catalog.

use super::{
    AccessList, AccessRight, Catalog, CatalogError, Extent, IdentityEntry, MAX_EXTENTS, MAX_NAME_BYTES,
    MAX_OWNER_BYTES, MAX_SERIAL_BYTES, MAX_SERIALS, Owner, Record, RegionEntry,
};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::metadata::{MAX_ACCESS_ENTRIES, MAX_IDENTITY_BYTES};
use crate::{RegionId, RegionKind};

/// Version of both encodings.
const VERSION: u16 = 2;
const EXTENT_BYTES: usize = 16;
/// The shortest record: its tag and one number.
const LEAST_RECORD: usize = 9;
/// The shortest region in a snapshot.
const LEAST_ENTRY: usize = 16 + 2 + 1 + 8 + 4 + 8 + 4 + 8 + 8 + 1 + 4 + 4;
/// The shortest identity in a snapshot.
const LEAST_IDENTITY: usize = 2 + 1 + 1 + 8 + 8;
const ADMINISTRATOR: u8 = 1;
const REVOKED: u8 = 2;

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
                access,
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
                encode_access(to, access);
            }
            Self::Opened {
                region,
                generation,
                owner,
                identity,
            } => {
                to.u8(3)
                    .bytes(&region.0)
                    .u64(*generation)
                    .text(owner)
                    .text(identity);
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
            Self::IdentitySet { identity } => {
                to.u8(7);
                encode_identity(to, identity);
            }
            Self::AccessChanged {
                region,
                identity,
                right,
                allowed,
            } => {
                to.u8(8)
                    .bytes(&region.0)
                    .text(identity)
                    .u8(match right {
                        AccessRight::Reader => 1,
                        AccessRight::Owner => 2,
                    })
                    .u8(u8::from(*allowed));
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
                access: access(from)?,
            },
            3 => Self::Opened {
                region: region(from)?,
                generation: from.u64("generation")?,
                owner: from.text(MAX_OWNER_BYTES, "owner")?,
                identity: from.text(MAX_IDENTITY_BYTES, "owner's identity")?,
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
            7 => Self::IdentitySet {
                identity: identity(from)?,
            },
            8 => Self::AccessChanged {
                region: region(from)?,
                identity: from.text(MAX_IDENTITY_BYTES, "identity")?,
                right: match from.u8("right")? {
                    1 => AccessRight::Reader,
                    2 => AccessRight::Owner,
                    _ => return Err(DecodeError::Invalid("right")),
                },
                allowed: match from.u8("allowed")? {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::Invalid("allowed")),
                },
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
                Some(owner) => to.u8(1).text(&owner.label).text(&owner.identity),
            };
            encode_access(&mut to, &entry.access);
        }
        to.count(self.identities().len());
        for identity in self.identities() {
            encode_identity(&mut to, identity);
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
        for _ in 0..from.count(LEAST_IDENTITY, "identities")? {
            catalog.insert_identity(identity(&mut from)?)?;
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
            1 => Some(Owner {
                label: from.text(MAX_OWNER_BYTES, "owner")?,
                identity: from.text(MAX_IDENTITY_BYTES, "owner's identity")?,
            }),
            _ => return Err(DecodeError::Invalid("owner")),
        },
        access: access(from)?,
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

fn encode_access(to: &mut Encoder, access: &AccessList) {
    to.count(access.owners().len());
    access.owners().for_each(|identity| {
        to.text(identity);
    });
    to.count(access.readers().len());
    access.readers().for_each(|identity| {
        to.text(identity);
    });
}

fn access(from: &mut Decoder<'_>) -> Result<AccessList, DecodeError> {
    let owners = names(from)?;
    let readers = names(from)?;
    AccessList::new(owners, readers).map_err(|_| DecodeError::Invalid("access list"))
}

fn names(from: &mut Decoder<'_>) -> Result<Vec<String>, DecodeError> {
    let count = from.count(2, "access list")?;
    if count > MAX_ACCESS_ENTRIES {
        return Err(DecodeError::Invalid("access list"));
    }
    (0..count)
        .map(|_| from.text(MAX_IDENTITY_BYTES, "identity"))
        .collect()
}

fn encode_identity(to: &mut Encoder, identity: &IdentityEntry) {
    let roles = if identity.administrator { ADMINISTRATOR } else { 0 };
    let state = if identity.revoked { REVOKED } else { 0 };
    to.text(&identity.name)
        .u8(roles | state)
        .u8(u8::try_from(identity.serials.len()).expect("bounded where it was made"));
    for serial in &identity.serials {
        to.u8(u8::try_from(serial.len()).expect("bounded where it was made"))
            .bytes(serial);
    }
    to.u64(identity.issued_ms).u64(identity.expires_ms);
}

fn identity(from: &mut Decoder<'_>) -> Result<IdentityEntry, DecodeError> {
    let name = from.text(MAX_IDENTITY_BYTES, "identity")?;
    let flags = from.u8("roles")?;
    if flags & !(ADMINISTRATOR | REVOKED) != 0 {
        return Err(DecodeError::Invalid("roles"));
    }
    let count = usize::from(from.u8("serials")?);
    if count > MAX_SERIALS {
        return Err(DecodeError::Invalid("serials"));
    }
    let serials = (0..count)
        .map(|_| {
            let len = usize::from(from.u8("serial")?);
            if len > MAX_SERIAL_BYTES {
                return Err(DecodeError::Invalid("serial"));
            }
            from.bytes(len, "serial").map(<[u8]>::to_vec)
        })
        .collect::<Result<_, _>>()?;
    Ok(IdentityEntry {
        name,
        administrator: flags & ADMINISTRATOR != 0,
        revoked: flags & REVOKED != 0,
        serials,
        issued_ms: from.u64("time of issue")?,
        expires_ms: from.u64("time of expiry")?,
    })
}
