//! A region's head: control block, heartbeat and seals, read together.

use crate::control::{CONTROL_BYTES, ControlBlock};
use crate::geometry::{BLOCK_BYTES, CONTROL_OFFSETS, HEARTBEAT_OFFSET, MAX_SLOTS, MIN_SLOTS, SEALS_OFFSET};
use crate::heartbeat::{FLOOR_BYTES, FLOOR_OFFSET, WORD_OFFSET};
use crate::seal::{SEAL_BYTES, Seal, SealState};
use crate::source::is_unreadable;
use crate::{FloorRecord, ReadError, RegionId, Source};

/// The heartbeat word.
const WORD_BYTES: u64 = 8;

/// What the head says. Its parts need not be of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Identity and geometry.
    pub control: ControlBlock,
    /// The heartbeat word.
    pub heartbeat: u64,
    /// The floor record, where it verifies.
    pub floor: Option<FloorRecord>,
    /// The floor record is neither empty nor valid.
    pub floor_broken: bool,
    /// What each slot's seal block says; broken, where it cannot be read.
    pub seals: Vec<SealState>,
    /// Pieces that the device cannot read: offset and length. They count as damaged.
    pub unreadable: Vec<(u64, u64)>,
}

impl Head {
    /// Reads the head of `region`, whose data is `data_len` bytes long.
    ///
    /// # Errors
    /// [`ReadError::NotACheckpoint`] when no copy of the control block verifies; the source's. A piece that the device
    /// cannot read is an error only where nothing is left without it.
    pub fn read<S: Source>(
        source: &mut S,
        region: RegionId,
        data_len: u64,
    ) -> Result<Self, ReadError<S::Error>> {
        let least = SEALS_OFFSET + u64::from(MIN_SLOTS) * BLOCK_BYTES;
        if data_len < least {
            return Err(ReadError::NotACheckpoint);
        }
        let mut raw = RawHead::default();
        raw.extend(source, least)?;
        let Some(control) = ControlBlock::decode(region, data_len, &raw.bytes) else {
            let control = |piece: &Piece| piece.0 < HEARTBEAT_OFFSET;
            let failure = raw.failure.filter(|_| raw.unreadable.iter().any(control));
            return Err(failure.unwrap_or(ReadError::NotACheckpoint));
        };
        debug_assert!(control.geometry.slots <= MAX_SLOTS, "checked when it was decoded");
        raw.extend(source, control.geometry.head_len())?;
        let RawHead {
            bytes, unreadable, ..
        } = raw;
        let word = at(&bytes, WORD_OFFSET)
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word));
        let seals = (0..control.geometry.slots)
            .map(|slot| {
                let offset = control.geometry.seal_offset(slot);
                if unreadable.iter().any(|piece| piece.0 == offset) {
                    return SealState::Broken;
                }
                Seal::decode(region, &control.geometry, slot, at(&bytes, offset))
            })
            .collect();
        let record = at(&bytes, FLOOR_OFFSET);
        let floor = FloorRecord::decode(region, record);
        let record_empty = record.iter().take(FLOOR_BYTES).all(|byte| *byte == 0);
        Ok(Self {
            control,
            heartbeat: word,
            floor,
            floor_broken: floor.is_none() && !record_empty,
            seals,
            unreadable,
        })
    }

    /// The first slot whose seal cannot be read.
    pub(crate) fn unreadable_seal(&self) -> Option<u32> {
        (0..self.control.geometry.slots)
            .find(|slot| self.is_unreadable(self.control.geometry.seal_offset(*slot)))
    }

    /// Whether the piece at `offset` cannot be read.
    pub(crate) fn is_unreadable(&self, offset: u64) -> bool {
        self.unreadable.iter().any(|piece| piece.0 == offset)
    }

    /// The valid seals, newest first.
    pub fn snapshots(&self) -> Vec<&Seal> {
        let mut seals: Vec<_> = self
            .seals
            .iter()
            .filter_map(|state| match state {
                SealState::Sealed(seal) => Some(seal),
                SealState::Empty | SealState::Broken => None,
            })
            .collect();
        seals.sort_by_key(|seal| std::cmp::Reverse(seal.order()));
        seals
    }

    /// Highest journal sequence that the head knows committed.
    pub fn best_floor(&self) -> u64 {
        let record = self.floor.map_or(0, |record| record.floor);
        self.snapshots()
            .iter()
            .map(|seal| seal.floor)
            .fold(record, u64::max)
    }

    /// Highest generation that the head names.
    pub fn generation(&self) -> u64 {
        let record = self.floor.map_or(0, |record| record.generation);
        self.snapshots()
            .iter()
            .map(|seal| seal.generation)
            .fold(record, u64::max)
    }

    /// The sequence of a snapshot that was verified once and whose seal is gone, with no newer one there.
    pub fn lost_snapshot(&self) -> Option<u64> {
        let record = self.floor?;
        let newest = self.snapshots().first().map_or((0, 0), |seal| seal.order());
        (record.generation >= newest.0 && record.snapshot > newest.1).then_some(record.snapshot)
    }
}

/// The bytes from `offset` on, none where the head is shorter.
fn at(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get(offset..))
        .unwrap_or_default()
}

/// Offset and length of what means something in a block of the head.
type Piece = (u64, u64);

/// The head's bytes, with zeroes where the device cannot read them.
struct RawHead<E: std::error::Error + 'static> {
    bytes: Vec<u8>,
    unreadable: Vec<Piece>,
    /// What the device said first.
    failure: Option<ReadError<E>>,
}

impl<E: std::error::Error + 'static> Default for RawHead<E> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            unreadable: Vec::new(),
            failure: None,
        }
    }
}

impl<E: std::error::Error + 'static> RawHead<E> {
    /// Reads on up to `len`: at once, and where the device cannot, piece by piece, so that one that is
    /// unreadable takes no other with it.
    fn extend<S: Source<Error = E>>(&mut self, source: &mut S, len: u64) -> Result<(), ReadError<E>> {
        let from = self.bytes.len();
        let to = usize::try_from(len).expect("a head has at most 67 blocks");
        if to <= from {
            return Ok(());
        }
        self.bytes.resize(to, 0);
        match read(source, from as u64, &mut self.bytes[from..]) {
            Err(error) if is_unreadable::<S>(&error) => self.failure.get_or_insert(error),
            outcome => return outcome,
        };
        self.bytes[from..].fill(0);
        for (offset, len) in pieces(from as u64, to as u64) {
            let start = usize::try_from(offset).expect("within the head");
            let into = &mut self.bytes[start..][..usize::try_from(len).expect("less than a block")];
            match read(source, offset, into) {
                Err(error) if is_unreadable::<S>(&error) => {
                    into.fill(0);
                    self.unreadable.push((offset, len));
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

/// What means something between two borders of blocks.
fn pieces(from: u64, to: u64) -> impl Iterator<Item = Piece> {
    let control = CONTROL_OFFSETS.map(|offset| (offset, CONTROL_BYTES as u64));
    let heartbeat = [(WORD_OFFSET, WORD_BYTES), (FLOOR_OFFSET, FLOOR_BYTES as u64)];
    let seals = (SEALS_OFFSET..to)
        .step_by(index(BLOCK_BYTES))
        .map(|offset| (offset, SEAL_BYTES as u64));
    let all = control.into_iter().chain(heartbeat).chain(seals);
    all.filter(move |(offset, _)| (from..to).contains(offset))
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("within the head")
}

fn read<S: Source>(source: &mut S, offset: u64, into: &mut [u8]) -> Result<(), ReadError<S::Error>> {
    let len = into.len() as u64;
    source
        .read_at(offset, into)
        .map_err(|source| ReadError::Source { offset, len, source })
}
