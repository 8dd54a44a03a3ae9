//! Who a medium is, what lies where on it, and how often it was opened.
//!
//! Two copies, in the first two blocks of 4 KiB. An update goes to the older copy and is persistent
//! before anybody relies on it, then to the other one; the newest valid copy wins. See `docs/media-format.md`.

use std::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{MediaError, Medium};

/// Unit of allocation and alignment: extents, catalog and superblock copies are whole blocks.
pub const BLOCK: u64 = BLOCK_BYTES as u64;
/// [`BLOCK`], for arrays.
pub const BLOCK_BYTES: usize = 4096;
/// Room for superblock, the smallest catalog, and some regions.
pub const MIN_MEDIA_LEN: u64 = 8 << 20;
/// Stands in the first block while a medium is being made.
pub const FORMATTING: [u8; 32] = *b"OUTLIVE medium, being formatted\n";

const MAGIC: [u8; 8] = *b"OUTLIVE\x01";
const VERSION: u32 = 1;
/// Highest incarnation, manager generation or sequence that is believed: counted up a million times a second, it takes as long
/// as the format will last (292,000 years), and there is room above it for all that are given out from it.
const MAX_COUNTER: u64 = u64::MAX / 2;
/// Blocks before the catalog; those behind the two copies are kept for later formats.
const CATALOG_START: u64 = 16 * BLOCK;
const MIN_CATALOG_LEN: u64 = 1 << 20;
const MAX_CATALOG_LEN: u64 = 64 << 20;
const CATALOG_FRACTION: u64 = 64;

/// Identity of a unit: 16 random bytes, made when its medium is formatted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitId(pub [u8; 16]);

/// What lies where. Physical, in bytes from the start of the medium; whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Identity of the unit.
    pub unit: UnitId,
    /// Length of the medium.
    pub media_len: u64,
    /// Identity of the catalog's region: 16 random bytes.
    pub catalog_region: [u8; 16],
    /// Start of the catalog's one extent, which begins with a metadata page.
    pub catalog_start: u64,
    /// Length of the catalog's extent, the metadata page included.
    pub catalog_len: u64,
    /// Where regions may be allocated.
    pub allocatable_start: u64,
    /// Bytes that may be allocated.
    pub allocatable_len: u64,
}

impl Geometry {
    /// Lays out a new medium: the catalog's data takes a 64th, at least 1 MiB and at most 64 MiB.
    ///
    /// # Errors
    /// [`MediaError::TooSmall`].
    pub fn lay_out(media_len: u64, unit: UnitId, catalog_region: [u8; 16]) -> Result<Self, MediaError> {
        if media_len < MIN_MEDIA_LEN {
            return Err(MediaError::TooSmall {
                size: media_len,
                minimum: MIN_MEDIA_LEN,
            });
        }
        let data = (media_len / CATALOG_FRACTION).clamp(MIN_CATALOG_LEN, MAX_CATALOG_LEN) / BLOCK * BLOCK;
        let catalog_len = BLOCK + data;
        let allocatable_start = CATALOG_START + catalog_len;
        Ok(Self {
            unit,
            media_len,
            catalog_region,
            catalog_start: CATALOG_START,
            catalog_len,
            allocatable_start,
            allocatable_len: (media_len - allocatable_start) / BLOCK * BLOCK,
        })
    }

    /// Start of the catalog's data, behind its metadata page.
    pub fn catalog_data_start(&self) -> u64 {
        self.catalog_start + BLOCK
    }

    /// Length of the catalog's data.
    pub fn catalog_data_len(&self) -> u64 {
        self.catalog_len - BLOCK
    }

    /// Whether everything lies inside the medium, in order and without overlap.
    fn is_sound(&self) -> bool {
        let parts = [
            self.catalog_start,
            self.catalog_len,
            self.allocatable_start,
            self.allocatable_len,
        ];
        let end = |start: u64, len: u64| start.checked_add(len);
        parts.iter().all(|part| part % BLOCK == 0)
            && self.catalog_start >= 2 * BLOCK
            && self.catalog_len > BLOCK
            && end(self.catalog_start, self.catalog_len).is_some_and(|end| end <= self.allocatable_start)
            && end(self.allocatable_start, self.allocatable_len).is_some_and(|end| end <= self.media_len)
    }
}

/// The superblock's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// What lies where; never changes.
    pub geometry: Geometry,
    /// How often the medium was opened to be served.
    pub incarnation: u64,
    /// How often a manager attached.
    pub manager_generation: u64,
    /// Orders the copies; the newest wins.
    pub sequence: u64,
}

/// What one copy of the superblock holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// A superblock.
    Valid(Superblock),
    /// One of a later version.
    Later {
        /// Its version.
        version: u32,
    },
    /// It bears our mark but does not verify.
    Damaged(&'static str),
    /// It does not bear our mark.
    Foreign,
    /// It cannot be read.
    Unreadable(String),
}

impl Superblock {
    /// Reads both copies, for those who check a medium.
    pub fn read_copies(medium: &Medium) -> [Copy; 2] {
        [0, 1].map(|index| {
            let mut block = [0; BLOCK_BYTES];
            match medium.load(index * BLOCK, &mut block) {
                Ok(()) => decode(&block),
                // Too short for a superblock: nothing of ours.
                Err(_) if medium.len() < (index + 1) * BLOCK => Copy::Foreign,
                Err(error) => Copy::Unreadable(error.to_string()),
            }
        })
    }

    /// The newest valid copy.
    ///
    /// # Errors
    /// [`MediaError::NotOurs`], [`MediaError::Version`], [`MediaError::Superblock`] when both are damaged,
    /// [`MediaError::WrongLength`].
    pub fn read(medium: &Medium) -> Result<Self, MediaError> {
        let copies = Self::read_copies(medium);
        for copy in &copies {
            if let Copy::Later { version } = copy {
                return Err(MediaError::Version {
                    medium: medium.describe(),
                    found: *version,
                    known: VERSION,
                });
            }
        }
        let valid = copies.iter().filter_map(|copy| match copy {
            Copy::Valid(superblock) => Some(*superblock),
            _ => None,
        });
        let Some(newest) = valid.max_by_key(|superblock| superblock.sequence) else {
            let ours = |copy: &Copy| matches!(copy, Copy::Damaged(_) | Copy::Unreadable(_));
            let ours = copies.iter().any(ours);
            let [first, second] = copies;
            return Err(if ours {
                let medium = medium.describe();
                MediaError::Superblock {
                    medium,
                    first: first.to_string(),
                    second: second.to_string(),
                }
            } else {
                MediaError::NotOurs {
                    medium: medium.describe(),
                }
            });
        };
        if newest.geometry.media_len != medium.len() {
            return Err(MediaError::WrongLength {
                medium: medium.describe(),
                found: medium.len(),
                expected: newest.geometry.media_len,
            });
        }
        Ok(newest)
    }

    /// Writes the copy that this sequence belongs to, and makes it as durable as the medium can.
    ///
    /// # Errors
    /// The medium's; then the other copy still is what it was.
    pub fn write(&self, medium: &Medium) -> Result<(), MediaError> {
        let mut block = [0; BLOCK_BYTES];
        let wire = encode(self);
        block[..size_of::<Wire>()].copy_from_slice(wire.as_bytes());
        medium.store(self.sequence % 2 * BLOCK, &block)?;
        #[cfg(feature = "deliberate-bugs")]
        if crate::bugs::Bug::StaleSuperblock.is_made() {
            return Ok(());
        }
        medium.settle()
    }
}

impl Superblock {
    /// Writes both copies, one after the other, so that whichever is lost, the other one knows the same
    /// incarnation and manager generation: neither number is ever used twice.
    ///
    /// # Errors
    /// The medium's; then at least one copy still is what it was, or says what this one says.
    pub(crate) fn renew(&mut self, medium: &Medium) -> Result<(), MediaError> {
        for _ in 0..2 {
            self.sequence += 1;
            self.write(medium)?;
        }
        Ok(())
    }
}

/// On the medium.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Wire {
    magic: [u8; 8],
    version: U32,
    /// Bytes covered by the checksum, counted from the magic.
    header_len: U32,
    /// CRC-32C over the header with this field zero.
    crc: U32,
    reserved: U32,
    unit: [u8; 16],
    catalog_region: [u8; 16],
    media_len: U64,
    catalog_start: U64,
    catalog_len: U64,
    allocatable_start: U64,
    allocatable_len: U64,
    incarnation: U64,
    manager_generation: U64,
    sequence: U64,
}

const WIRE_LEN: u32 = 120;
const _: () = assert!(size_of::<Wire>() == WIRE_LEN as usize);
const CRC_AT: usize = std::mem::offset_of!(Wire, crc);
const _: () = assert!(CRC_AT == 16);

fn encode(superblock: &Superblock) -> Wire {
    let geometry = &superblock.geometry;
    let mut wire = Wire {
        magic: MAGIC,
        version: U32::new(VERSION),
        header_len: U32::new(WIRE_LEN),
        crc: U32::ZERO,
        reserved: U32::ZERO,
        unit: geometry.unit.0,
        catalog_region: geometry.catalog_region,
        media_len: geometry.media_len.into(),
        catalog_start: geometry.catalog_start.into(),
        catalog_len: geometry.catalog_len.into(),
        allocatable_start: geometry.allocatable_start.into(),
        allocatable_len: geometry.allocatable_len.into(),
        incarnation: superblock.incarnation.into(),
        manager_generation: superblock.manager_generation.into(),
        sequence: superblock.sequence.into(),
    };
    wire.crc = checksum(wire.as_bytes()).expect("a whole header").into();
    wire
}

fn decode(block: &[u8; BLOCK_BYTES]) -> Copy {
    let (wire, _) = Wire::read_from_prefix(block).expect("a block is longer");
    if wire.magic != MAGIC {
        return Copy::Foreign;
    }
    // A later version may have a longer header, but its checksum stands at the same place.
    let header = usize::try_from(wire.header_len.get())
        .ok()
        .and_then(|len| block.get(..len));
    if header.is_none_or(|header| checksum(header) != Some(wire.crc.get())) {
        return Copy::Damaged("checksum does not match");
    }
    if wire.version.get() > VERSION {
        return Copy::Later {
            version: wire.version.get(),
        };
    }
    if wire.header_len.get() != WIRE_LEN {
        return Copy::Damaged("header has an unknown length");
    }
    let geometry = Geometry {
        unit: UnitId(wire.unit),
        media_len: wire.media_len.get(),
        catalog_region: wire.catalog_region,
        catalog_start: wire.catalog_start.get(),
        catalog_len: wire.catalog_len.get(),
        allocatable_start: wire.allocatable_start.get(),
        allocatable_len: wire.allocatable_len.get(),
    };
    if !geometry.is_sound() {
        return Copy::Damaged("geometry makes no sense");
    }
    let counters = [
        wire.incarnation.get(),
        wire.manager_generation.get(),
        wire.sequence.get(),
    ];
    if counters.iter().any(|counter| *counter > MAX_COUNTER) {
        return Copy::Damaged("a counter stands where nobody can have counted to");
    }
    Copy::Valid(Superblock {
        geometry,
        incarnation: wire.incarnation.get(),
        manager_generation: wire.manager_generation.get(),
        sequence: wire.sequence.get(),
    })
}

/// CRC-32C of a header, taking its checksum field as zero. `None` where it is too short to have one.
fn checksum(header: &[u8]) -> Option<u32> {
    let (before, rest) = header.split_at_checked(CRC_AT)?;
    let after = rest.get(size_of::<U32>()..)?;
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for part in [before, &[0; size_of::<U32>()], after] {
        digest.update(part);
    }
    Some(u32::try_from(digest.finalize()).expect("a 32-bit checksum"))
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(superblock) => write!(f, "valid, sequence {}", superblock.sequence),
            Self::Later { version } => write!(f, "format version {version}"),
            Self::Damaged(what) => f.write_str(what),
            Self::Foreign => f.write_str("not a superblock"),
            Self::Unreadable(why) => write!(f, "unreadable: {why}"),
        }
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(sequence: u64) -> Superblock {
        let geometry = Geometry::lay_out(1 << 30, UnitId([1; 16]), [2; 16]).unwrap();
        Superblock {
            geometry,
            incarnation: 3,
            manager_generation: 4,
            sequence,
        }
    }

    fn block(wire: &Wire) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..size_of::<Wire>()].copy_from_slice(wire.as_bytes());
        block
    }

    proptest! {
        #[test]
        fn every_layout_is_sound(media_len in MIN_MEDIA_LEN..1 << 45) {
            let geometry = Geometry::lay_out(media_len, UnitId([1; 16]), [2; 16]).unwrap();
            prop_assert!(geometry.is_sound());
            prop_assert!(geometry.allocatable_len > media_len / 2);
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0..size_of::<Wire>() * 8) {
            let mut block = block(&encode(&sample(5)));
            prop_assert_eq!(decode(&block), Copy::Valid(sample(5)));
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(decode(&block), Copy::Damaged(_) | Copy::Foreign));
        }

        /// Their successors are given out, so there must be some.
        #[test]
        fn a_counter_without_successors_is_damage(field in 0..3usize, above in 1..=u64::MAX / 2) {
            let mut superblock = sample(5);
            let counters = [
                &mut superblock.incarnation,
                &mut superblock.manager_generation,
                &mut superblock.sequence,
            ];
            *counters.into_iter().nth(field).expect("one of three") = MAX_COUNTER + above;
            prop_assert!(matches!(decode(&block(&encode(&superblock))), Copy::Damaged(_)));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: [u8; size_of::<Wire>()], ours: bool) {
            let mut block = [0; BLOCK_BYTES];
            block[..bytes.len()].copy_from_slice(&bytes);
            if ours {
                block[..8].copy_from_slice(&MAGIC);
            }
            prop_assert!(!matches!(decode(&block), Copy::Valid(_)));
        }
    }

    #[test]
    fn geometry_that_makes_no_sense_is_refused_even_with_a_good_checksum() {
        let mut superblock = sample(1);
        superblock.geometry.allocatable_len = u64::MAX / BLOCK * BLOCK;
        assert!(matches!(decode(&block(&encode(&superblock))), Copy::Damaged(_)));
    }

    #[test]
    fn a_later_version_is_known_as_such() {
        let mut wire = encode(&sample(1));
        wire.version = U32::new(VERSION + 1);
        wire.header_len = U32::new(200);
        wire.crc = checksum(&block(&wire)[..200]).unwrap().into();
        assert_eq!(decode(&block(&wire)), Copy::Later { version: VERSION + 1 });
    }
}
