//! The seal of a snapshot slot.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::set::{FORMAT_VERSION, SetKind};
use crate::{Geometry, RegionId, Set};

/// First bytes of a seal.
pub const SEAL_MAGIC: [u8; 8] = *b"OutlvSEA";
/// Length of the meaningful part of a seal block.
pub const SEAL_BYTES: usize = size_of::<RawSeal>();

/// Says what a slot holds. Without a valid seal a slot holds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The slot it seals.
    pub slot: u32,
    /// Generation of the primary that wrote it.
    pub generation: u64,
    /// The snapshot's sequence: it covers every set below.
    pub sequence: u64,
    /// When it was begun, by the primary's clock: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Payload bytes.
    pub length: u64,
    /// Logical offset at which the journal goes on behind this snapshot.
    pub journal_start: u64,
    /// Highest journal sequence known committed when it was sealed.
    pub floor: u64,
    /// Seeded CRC-32C of the payload.
    pub payload_crc: u32,
}

/// What a seal block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealState {
    /// All zeroes: never written, or invalidated before an overwrite.
    Empty,
    /// Verifies.
    Sealed(Seal),
    /// Neither: torn while it was written, or damaged.
    Broken,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSeal {
    magic: [u8; 8],
    version: U16,
    kind: u8,
    flags: u8,
    slot: U32,
    region: [u8; 16],
    generation: U64,
    sequence: U64,
    time_ns: U64,
    length: U64,
    journal_start: U64,
    floor: U64,
    payload_crc: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<RawSeal>() == 88);

impl Seal {
    /// The bytes for the slot's seal block; the rest of the block is zero.
    pub fn encode(&self, region: RegionId) -> [u8; SEAL_BYTES] {
        let mut raw = RawSeal {
            magic: SEAL_MAGIC,
            version: FORMAT_VERSION.into(),
            kind: SetKind::Snapshot.code(),
            flags: 0,
            slot: self.slot.into(),
            region: region.0,
            generation: self.generation.into(),
            sequence: self.sequence.into(),
            time_ns: self.time_ns.into(),
            length: self.length.into(),
            journal_start: self.journal_start.into(),
            floor: self.floor.into(),
            payload_crc: self.payload_crc.into(),
            header_crc: 0.into(),
        };
        raw.header_crc = crc(&raw, region, self.slot).into();
        let mut bytes = [0; SEAL_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads the seal block of `slot`.
    pub fn decode(region: RegionId, geometry: &Geometry, slot: u32, bytes: &[u8]) -> SealState {
        let Ok((raw, _)) = RawSeal::ref_from_prefix(bytes) else {
            return SealState::Broken;
        };
        if raw.as_bytes().iter().all(|byte| *byte == 0) {
            return SealState::Empty;
        }
        let ours = raw.magic == SEAL_MAGIC
            && raw.region == region.0
            && raw.slot.get() == slot
            && raw.header_crc.get() == crc(raw, region, slot)
            && raw.version.get() == FORMAT_VERSION
            && raw.kind == SetKind::Snapshot.code();
        let sane = raw.length.get() <= geometry.max_snapshot
            && raw.journal_start.get() % crate::set::SET_ALIGN == 0
            && raw.journal_start.get().checked_add(geometry.ring_len).is_some();
        if !(ours && sane) {
            return SealState::Broken;
        }
        SealState::Sealed(Self {
            slot,
            generation: raw.generation.get(),
            sequence: raw.sequence.get(),
            time_ns: raw.time_ns.get(),
            length: raw.length.get(),
            journal_start: raw.journal_start.get(),
            floor: raw.floor.get(),
            payload_crc: raw.payload_crc.get(),
        })
    }

    /// The seeded checksum to which a snapshot's payload is added. The sequence is in the seed, so
    /// what the slot held before never verifies.
    pub fn payload_checksum(region: RegionId, generation: u64, sequence: u64) -> Checksum {
        Checksum::seeded(region, generation, sequence)
    }

    /// Whether `payload` is what was sealed.
    pub fn covers(&self, region: RegionId, payload: &[u8]) -> bool {
        payload.len() as u64 == self.length
            && Self::payload_checksum(region, self.generation, self.sequence)
                .with(payload)
                .value()
                == self.payload_crc
    }

    /// Slots order by generation, then sequence.
    pub fn order(&self) -> (u64, u64) {
        (self.generation, self.sequence)
    }

    /// Joins the seal with its payload.
    pub fn into_set(self, payload: Vec<u8>) -> Set {
        Set {
            kind: SetKind::Snapshot,
            generation: self.generation,
            sequence: self.sequence,
            time_ns: self.time_ns,
            payload,
            length: self.length,
            logical: self.journal_start,
        }
    }
}

fn crc(raw: &RawSeal, region: RegionId, slot: u32) -> u32 {
    let bytes = raw.as_bytes();
    Checksum::seeded(region, raw.generation.get(), u64::from(slot))
        .with(&bytes[..bytes.len() - 4])
        .value()
}
