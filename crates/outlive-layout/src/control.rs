//! The control block: identity and geometry of a region, in two copies.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::geometry::CONTROL_OFFSETS;
use crate::set::FORMAT_VERSION;
use crate::{Geometry, RegionId};

/// First bytes of a control block copy.
pub const CONTROL_MAGIC: [u8; 8] = *b"OutlvCTL";
/// Length of the meaningful part of a control block copy.
pub const CONTROL_BYTES: usize = size_of::<RawControl>();

/// What the two copies say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlBlock {
    /// The newest valid geometry.
    pub geometry: Geometry,
    /// Which copy it stands in; the other is the first to be overwritten by a resize.
    pub newest_copy: usize,
    /// A copy that does not verify, where there is one.
    pub damaged_copy: Option<usize>,
    /// The other copy is of before a resize that was interrupted.
    pub outdated_copy: bool,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawControl {
    magic: [u8; 8],
    version: U16,
    reserved: [u8; 2],
    slots: U32,
    region: [u8; 16],
    sequence: U64,
    size: U64,
    max_snapshot: U64,
    ring_start: U64,
    ring_len: U64,
    ring_base: U64,
    reserved_2: [u8; 4],
    crc: U32,
}

const _: () = assert!(size_of::<RawControl>() == 88);

impl ControlBlock {
    /// One copy's bytes; the rest of its block is zero.
    pub fn encode(region: RegionId, geometry: &Geometry) -> [u8; CONTROL_BYTES] {
        let mut raw = RawControl {
            magic: CONTROL_MAGIC,
            version: FORMAT_VERSION.into(),
            reserved: [0; 2],
            slots: geometry.slots.into(),
            region: region.0,
            sequence: geometry.sequence.into(),
            size: geometry.size.into(),
            max_snapshot: geometry.max_snapshot.into(),
            ring_start: geometry.ring_start.into(),
            ring_len: geometry.ring_len.into(),
            ring_base: geometry.ring_base.into(),
            reserved_2: [0; 4],
            crc: 0.into(),
        };
        raw.crc = crc(&raw, region).into();
        let mut bytes = [0; CONTROL_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Chooses the newest valid copy from the region's first two blocks.
    pub fn decode(region: RegionId, data_len: u64, head: &[u8]) -> Option<Self> {
        let copies = CONTROL_OFFSETS.map(|at| copy(region, data_len, head, at));
        let damaged_copy = copies.iter().position(Option::is_none);
        let outdated_copy = damaged_copy.is_none() && copies[0] != copies[1];
        let (newest_copy, geometry) = copies
            .into_iter()
            .enumerate()
            .filter_map(|(index, copy)| Some((index, copy?)))
            .max_by_key(|(_, geometry)| geometry.sequence)?;
        Some(Self {
            geometry,
            newest_copy,
            damaged_copy,
            outdated_copy,
        })
    }
}

fn copy(region: RegionId, data_len: u64, head: &[u8], at: u64) -> Option<Geometry> {
    let bytes = head.get(usize::try_from(at).ok()?..)?;
    let (raw, _) = RawControl::ref_from_prefix(bytes).ok()?;
    let ours = raw.magic == CONTROL_MAGIC && raw.region == region.0 && raw.crc.get() == crc(raw, region);
    if !ours || raw.version.get() != FORMAT_VERSION {
        return None;
    }
    let geometry = Geometry {
        sequence: raw.sequence.get(),
        size: raw.size.get(),
        slots: raw.slots.get(),
        max_snapshot: raw.max_snapshot.get(),
        ring_start: raw.ring_start.get(),
        ring_len: raw.ring_len.get(),
        ring_base: raw.ring_base.get(),
    };
    geometry.check(data_len).ok().map(|()| geometry)
}

fn crc(raw: &RawControl, region: RegionId) -> u32 {
    let bytes = raw.as_bytes();
    Checksum::seeded(region, 0, raw.sequence.get())
        .with(&bytes[..bytes.len() - 4])
        .value()
}
