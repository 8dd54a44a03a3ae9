//! The sealed header of a set in the journal.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::RegionId;
use crate::checksum::Checksum;
use crate::finding::HeaderFault;

/// Length of a set's header in the journal; its payload follows at once.
pub const SET_HEADER_BYTES: usize = size_of::<RawSetHeader>();
/// Sets begin at logical offsets that are multiples of this.
pub const SET_ALIGN: u64 = 8;
/// First bytes of every set in a journal.
pub const SET_MAGIC: [u8; 8] = *b"OutlvSET";
/// Version of the format that this crate writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;

/// What a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// A full set; lives in a slot, sealed by a [`Seal`](crate::Seal).
    Snapshot,
    /// An appended set.
    Update,
    /// The first set of a new primary. No payload.
    Takeover,
    /// All sets before it vanish from ordinary reads. No payload.
    Clear,
    /// Fills the ring up to its end. No payload.
    Wrap,
}

/// A set as it was read and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Snapshot, update, or (in a log) a mark.
    pub kind: SetKind,
    /// Generation of the primary that wrote it.
    pub generation: u64,
    /// Its place in the order of all sets of the region.
    pub sequence: u64,
    /// When it was written, by the primary's clock: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What the primary wrote. Empty where only a description was asked for.
    pub payload: Vec<u8>,
    /// Length of what the primary wrote, in bytes.
    pub length: u64,
    /// Logical journal offset of an update or mark; the journal's start for a snapshot.
    pub logical: u64,
}

/// The header in front of every set in the journal, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetHeader {
    /// What it is; never [`SetKind::Snapshot`] in a journal.
    pub kind: SetKind,
    /// Generation of the primary that wrote it.
    pub generation: u64,
    /// Its place in the order of sets.
    pub sequence: u64,
    /// Where it lies: logical journal offset.
    pub logical: u64,
    /// Nanoseconds since the Unix epoch, by the primary's clock.
    pub time_ns: u64,
    /// Payload bytes.
    pub length: u64,
    /// Bytes from this header to the next one.
    pub stride: u64,
    /// Highest journal sequence known committed when it was sent.
    pub floor: u64,
    /// Takeover: the last sequence of the region when it was taken over. Clear: the last one cleared.
    /// A wrap right before either: the same. Else 0.
    pub continues: u64,
    /// Takeover, and the wrap right before it: the generation that was taken over from. Else the set's
    /// own generation. Only the former may follow a set of an older generation.
    pub predecessor: u64,
    /// Seeded CRC-32C of the payload.
    pub payload_crc: u32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSetHeader {
    magic: [u8; 8],
    version: U16,
    kind: u8,
    flags: u8,
    reserved: U32,
    region: [u8; 16],
    generation: U64,
    sequence: U64,
    logical: U64,
    time_ns: U64,
    length: U64,
    stride: U64,
    floor: U64,
    continues: U64,
    predecessor: U64,
    payload_crc: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<RawSetHeader>() == 112);
const _: () = assert!(std::mem::offset_of!(RawSetHeader, generation) == 32);
const _: () = assert!(std::mem::offset_of!(RawSetHeader, header_crc) == 108);

impl SetHeader {
    /// Seals the header.
    pub fn encode(&self, region: RegionId) -> [u8; SET_HEADER_BYTES] {
        let mut raw = RawSetHeader {
            magic: SET_MAGIC,
            version: FORMAT_VERSION.into(),
            kind: self.kind.code(),
            flags: 0,
            reserved: 0.into(),
            region: region.0,
            generation: self.generation.into(),
            sequence: self.sequence.into(),
            logical: self.logical.into(),
            time_ns: self.time_ns.into(),
            length: self.length.into(),
            stride: self.stride.into(),
            floor: self.floor.into(),
            continues: self.continues.into(),
            predecessor: self.predecessor.into(),
            payload_crc: self.payload_crc.into(),
            header_crc: 0.into(),
        };
        raw.header_crc = header_crc(&raw, region, self.logical).into();
        let mut bytes = [0; SET_HEADER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Checks the bytes at the logical offset that the reader computed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode_at(region: RegionId, logical: u64, bytes: &[u8]) -> Result<Self, HeaderFault> {
        let raw = raw(bytes, region)?;
        if raw.header_crc.get() != header_crc(raw, region, logical) {
            // Whole, but for another place: an earlier lap, or a later one that has overtaken the reader.
            let own = raw.logical.get();
            if own != logical && raw.header_crc.get() == header_crc(raw, region, own) {
                return Err(HeaderFault::OtherLap {
                    logical: own,
                    generation: raw.generation.get(),
                    sequence: raw.sequence.get(),
                });
            }
            return Err(HeaderFault::Checksum {
                sequence: raw.sequence.get(),
                generation: raw.generation.get(),
                logical: raw.logical.get(),
            });
        }
        fields(raw)
    }

    /// Checks bytes found by a scan, by the place that they themselves name. The caller compares
    /// that with where it found them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode_anywhere(region: RegionId, bytes: &[u8]) -> Result<Self, HeaderFault> {
        let raw = raw(bytes, region)?;
        if raw.header_crc.get() != header_crc(raw, region, raw.logical.get()) {
            return Err(HeaderFault::Checksum {
                sequence: raw.sequence.get(),
                generation: raw.generation.get(),
                logical: raw.logical.get(),
            });
        }
        fields(raw)
    }

    /// The seeded checksum to which the payload is added.
    pub fn payload_checksum(region: RegionId, generation: u64, logical: u64) -> Checksum {
        Checksum::seeded(region, generation, logical)
    }

    /// Bytes of header and payload, rounded up to [`SET_ALIGN`].
    pub fn least_stride(length: u64) -> Option<u64> {
        length
            .checked_add(SET_HEADER_BYTES as u64)?
            .checked_next_multiple_of(SET_ALIGN)
    }

    /// Joins the header with its payload.
    pub fn into_set(self, payload: Vec<u8>) -> Set {
        Set {
            kind: self.kind,
            generation: self.generation,
            sequence: self.sequence,
            time_ns: self.time_ns,
            payload,
            length: self.length,
            logical: self.logical,
        }
    }
}

impl SetKind {
    /// The byte that stands for it on media.
    pub fn code(self) -> u8 {
        match self {
            Self::Snapshot => 1,
            Self::Update => 2,
            Self::Takeover => 3,
            Self::Clear => 4,
            Self::Wrap => 5,
        }
    }

    /// The kind that a byte stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Snapshot,
            2 => Self::Update,
            3 => Self::Takeover,
            4 => Self::Clear,
            5 => Self::Wrap,
            _ => return None,
        })
    }
}

impl std::fmt::Display for SetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Update => "update",
            Self::Takeover => "takeover",
            Self::Clear => "clear",
            Self::Wrap => "wrap",
        })
    }
}

fn raw(bytes: &[u8], region: RegionId) -> Result<&RawSetHeader, HeaderFault> {
    let (raw, _) = RawSetHeader::ref_from_prefix(bytes).map_err(|_| HeaderFault::Foreign)?;
    let magic = raw.magic == SET_MAGIC;
    if !magic && raw.region != region.0 {
        return Err(HeaderFault::Foreign);
    }
    if !magic || raw.region != region.0 {
        return Err(HeaderFault::Checksum {
            sequence: raw.sequence.get(),
            generation: raw.generation.get(),
            logical: raw.logical.get(),
        });
    }
    Ok(raw)
}

fn header_crc(raw: &RawSetHeader, region: RegionId, logical: u64) -> u32 {
    let bytes = raw.as_bytes();
    Checksum::seeded(region, raw.generation.get(), logical)
        .with(&bytes[..bytes.len() - 4])
        .value()
}

fn fields(raw: &RawSetHeader) -> Result<SetHeader, HeaderFault> {
    if raw.version.get() != FORMAT_VERSION {
        return Err(HeaderFault::Version(raw.version.get()));
    }
    let kind = SetKind::from_code(raw.kind).filter(|kind| *kind != SetKind::Snapshot);
    let kind = kind.ok_or(HeaderFault::Shape("kind"))?;
    let (length, stride, logical) = (raw.length.get(), raw.stride.get(), raw.logical.get());
    let least = SetHeader::least_stride(length).ok_or(HeaderFault::Shape("length"))?;
    if stride < least
        || stride % SET_ALIGN != 0
        || logical % SET_ALIGN != 0
        || logical.checked_add(stride).is_none()
    {
        return Err(HeaderFault::Shape("stride"));
    }
    if kind != SetKind::Update && length != 0 {
        return Err(HeaderFault::Shape("a mark with payload"));
    }
    Ok(SetHeader {
        kind,
        generation: raw.generation.get(),
        sequence: raw.sequence.get(),
        logical,
        time_ns: raw.time_ns.get(),
        length,
        stride,
        floor: raw.floor.get(),
        continues: raw.continues.get(),
        predecessor: raw.predecessor.get(),
        payload_crc: raw.payload_crc.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId([3; 16]);

    fn header() -> SetHeader {
        SetHeader {
            kind: SetKind::Update,
            generation: 2,
            sequence: 9,
            logical: 4096,
            time_ns: 1,
            length: 5,
            stride: 120,
            floor: 8,
            continues: 0,
            predecessor: 2,
            payload_crc: 7,
        }
    }

    #[test]
    fn a_header_is_what_was_encoded_at_its_place_only() {
        let bytes = header().encode(REGION);
        assert_eq!(SetHeader::decode_at(REGION, 4096, &bytes), Ok(header()));
        assert_eq!(SetHeader::decode_anywhere(REGION, &bytes), Ok(header()));
        let elsewhere = HeaderFault::OtherLap {
            logical: 4096,
            generation: 2,
            sequence: 9,
        };
        assert_eq!(SetHeader::decode_at(REGION, 8192, &bytes), Err(elsewhere));
        let other = RegionId([4; 16]);
        assert!(SetHeader::decode_at(other, 4096, &bytes).is_err());
    }

    #[test]
    fn an_unknown_version_and_impossible_shapes_are_named() {
        let least = SetHeader::least_stride(5).expect("small");
        for wrong in [
            SetHeader {
                stride: least - 8,
                ..header()
            },
            SetHeader {
                stride: 121,
                ..header()
            },
            SetHeader {
                length: u64::MAX - 3,
                ..header()
            },
            SetHeader {
                kind: SetKind::Clear,
                ..header()
            },
            SetHeader {
                kind: SetKind::Snapshot,
                ..header()
            },
        ] {
            let decoded = SetHeader::decode_at(REGION, 4096, &wrong.encode(REGION));
            assert!(
                matches!(decoded, Err(HeaderFault::Shape(_))),
                "{wrong:?}: {decoded:?}"
            );
        }
        let mut newer = header().encode(REGION);
        newer[8] = 2;
        let crc = Checksum::seeded(REGION, 2, 4096).with(&newer[..108]).value();
        newer[108..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            SetHeader::decode_at(REGION, 4096, &newer),
            Err(HeaderFault::Version(2))
        );
    }
}
