//! The heartbeat block: a word that the primary keeps changing, and a floor record.
//!
//! The word is plain: a reader only asks whether it changed. The floor record is sealed and advisory:
//! the best known floor is the highest of all that verify, so a torn record loses nothing but news.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::RegionId;
use crate::checksum::Checksum;
use crate::geometry::HEARTBEAT_OFFSET;

/// Where the heartbeat word (u64) lies in the region's data.
pub const WORD_OFFSET: u64 = HEARTBEAT_OFFSET;
/// Where the floor record lies; a cache line of its own.
pub const FLOOR_OFFSET: u64 = HEARTBEAT_OFFSET + 64;
/// Length of the floor record.
pub const FLOOR_BYTES: usize = size_of::<RawFloor>();
/// First bytes of a floor record.
pub const FLOOR_MAGIC: [u8; 8] = *b"OutlvFLR";

/// What the primary knows to be committed, written when it is idle and with its heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloorRecord {
    /// Generation of the primary that wrote it.
    pub generation: u64,
    /// Highest journal sequence that it knows committed.
    pub floor: u64,
    /// Sequence of the newest snapshot that it has verified, or 0. A reader that finds no such seal
    /// knows that one is lost.
    pub snapshot: u64,
    /// When, by the primary's clock: nanoseconds since the Unix epoch.
    pub time_ns: u64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFloor {
    magic: [u8; 8],
    generation: U64,
    floor: U64,
    snapshot: U64,
    time_ns: U64,
    reserved: U32,
    crc: U32,
}

const _: () = assert!(size_of::<RawFloor>() == 48);

impl FloorRecord {
    /// Seals the record, to be written at [`FLOOR_OFFSET`].
    pub fn encode(&self, region: RegionId) -> [u8; FLOOR_BYTES] {
        let mut raw = RawFloor {
            magic: FLOOR_MAGIC,
            generation: self.generation.into(),
            floor: self.floor.into(),
            snapshot: self.snapshot.into(),
            time_ns: self.time_ns.into(),
            reserved: 0.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw, region).into();
        let mut bytes = [0; FLOOR_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads a record; `None` when it does not verify (never written, or torn).
    pub fn decode(region: RegionId, bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawFloor::ref_from_prefix(bytes).ok()?;
        (raw.magic == FLOOR_MAGIC && raw.crc.get() == crc(raw, region)).then(|| Self {
            generation: raw.generation.get(),
            floor: raw.floor.get(),
            snapshot: raw.snapshot.get(),
            time_ns: raw.time_ns.get(),
        })
    }
}

fn crc(raw: &RawFloor, region: RegionId) -> u32 {
    let bytes = raw.as_bytes();
    Checksum::seeded(region, raw.generation.get(), FLOOR_OFFSET)
        .with(&bytes[..bytes.len() - 4])
        .value()
}
