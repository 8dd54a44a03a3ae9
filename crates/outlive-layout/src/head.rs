//! A region's head: control block, heartbeat and seals, read together.

use crate::control::ControlBlock;
use crate::geometry::{BLOCK_BYTES, MAX_SLOTS, MIN_SLOTS, SEALS_OFFSET};
use crate::heartbeat::{FLOOR_OFFSET, WORD_OFFSET};
use crate::seal::{Seal, SealState};
use crate::{FloorRecord, ReadError, RegionId, Source};

/// What the head says. Its parts need not be of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Identity and geometry.
    pub control: ControlBlock,
    /// The heartbeat word.
    pub heartbeat: u64,
    /// The floor record, where it verifies.
    pub floor: Option<FloorRecord>,
    /// What each slot's seal block says.
    pub seals: Vec<SealState>,
}

impl Head {
    /// Reads the head of `region`, whose data is `data_len` bytes long.
    ///
    /// # Errors
    /// [`ReadError::NotACheckpoint`] when no copy of the control block verifies.
    pub fn read<S: Source>(
        source: &mut S,
        region: RegionId,
        data_len: u64,
    ) -> Result<Self, ReadError<S::Error>> {
        let least = SEALS_OFFSET + u64::from(MIN_SLOTS) * BLOCK_BYTES;
        if data_len < least {
            return Err(ReadError::NotACheckpoint);
        }
        let mut bytes = Vec::new();
        extend(source, &mut bytes, least)?;
        let control = ControlBlock::decode(region, data_len, &bytes).ok_or(ReadError::NotACheckpoint)?;
        debug_assert!(control.geometry.slots <= MAX_SLOTS, "checked when it was decoded");
        extend(source, &mut bytes, control.geometry.head_len())?;
        let word = at(&bytes, WORD_OFFSET)
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word));
        let seals = (0..control.geometry.slots)
            .map(|slot| {
                Seal::decode(
                    region,
                    &control.geometry,
                    slot,
                    at(&bytes, control.geometry.seal_offset(slot)),
                )
            })
            .collect();
        let floor = FloorRecord::decode(region, at(&bytes, FLOOR_OFFSET));
        Ok(Self {
            control,
            heartbeat: word,
            floor,
            seals,
        })
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

fn extend<S: Source>(source: &mut S, bytes: &mut Vec<u8>, len: u64) -> Result<(), ReadError<S::Error>> {
    let from = bytes.len();
    let to = usize::try_from(len).expect("a head has at most 67 blocks");
    if to <= from {
        return Ok(());
    }
    let mut more = vec![0; to - from];
    source
        .read_at(from as u64, &mut more)
        .map_err(|error| ReadError::Source {
            offset: from as u64,
            len: (to - from) as u64,
            source: error,
        })?;
    bytes.append(&mut more);
    Ok(())
}
