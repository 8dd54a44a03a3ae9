//! Where things lie inside a checkpoint region's data, and how logical journal offsets map to places.

use thiserror::Error;

use crate::control::ControlBlock;
use crate::set::SET_HEADER_BYTES;
use crate::{RegionId, RegionWrite};

/// Blocks, slots and metadata are aligned to this: a page, and the unit in which media fail.
pub const BLOCK_BYTES: u64 = 4096;
/// The two copies of the control block.
pub const CONTROL_OFFSETS: [u64; 2] = [0, BLOCK_BYTES];
/// The heartbeat block: word and floor record.
pub const HEARTBEAT_OFFSET: u64 = 2 * BLOCK_BYTES;
/// The first slot's seal block; one block per slot follows.
pub const SEALS_OFFSET: u64 = 3 * BLOCK_BYTES;
/// With one slot an overwrite would leave a moment without a whole snapshot.
pub const MIN_SLOTS: u32 = 2;
/// Bounds the region's head, which readers fetch in one read: (3 + 64) blocks are 268 KiB.
pub const MAX_SLOTS: u32 = 64;
/// The default number of slots.
pub const DEFAULT_SLOTS: u32 = 2;
/// A shorter ring would hold a handful of sets only.
pub const MIN_RING_BYTES: u64 = 16 * 1024;
/// Least and most of a ring that is kept for control sets (takeover, clear and the wrap before them),
/// so that a full journal can still be taken over and cleared: at least 9 of them, at most some 580.
pub const CONTROL_RESERVE_BYTES: (u64, u64) = (1024, 64 * 1024);
/// Regions are smaller than this, so that no sum of offsets overflows.
pub const MAX_REGION_BYTES: u64 = 1 << 56;

/// The layout of one checkpoint region. All offsets count from the start of the region's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Raised at each resize; the newest valid control block copy wins.
    pub sequence: u64,
    /// Bytes of the region's data that the layout uses.
    pub size: u64,
    /// Snapshot slots.
    pub slots: u32,
    /// Largest snapshot payload in bytes.
    pub max_snapshot: u64,
    /// Where the journal ring begins.
    pub ring_start: u64,
    /// Its length in bytes, a multiple of 8.
    pub ring_len: u64,
    /// The logical offset that lies at `ring_start`; moves at a resize.
    pub ring_base: u64,
}

/// Why a region cannot be laid out, or a stored geometry cannot be true.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Too few or too many slots.
    #[error("{slots} slots: a region has {MIN_SLOTS} to {MAX_SLOTS}")]
    Slots {
        /// Asked for.
        slots: u32,
    },
    /// The size is too small for slots of that size and a journal.
    #[error(
        "a region of {size} bytes is too small: {slots} slots of {max_snapshot} bytes and a journal need {needed}"
    )]
    TooSmall {
        /// Asked for.
        size: u64,
        /// Asked for.
        slots: u32,
        /// Asked for.
        max_snapshot: u64,
        /// Smallest size that works.
        needed: u64,
    },
    /// Beyond [`MAX_REGION_BYTES`].
    #[error("a region of {size} bytes is beyond the limit of {MAX_REGION_BYTES}")]
    TooLarge {
        /// Asked for.
        size: u64,
    },
    /// A stored geometry contradicts itself or the region's length.
    #[error("the stored geometry contradicts itself: {what}")]
    Inconsistent {
        /// What does not fit.
        what: &'static str,
    },
}

impl Geometry {
    /// Lays out `size` bytes with `slots` snapshot slots of `max_snapshot` bytes each; 0 stands for
    /// the default of either ([`DEFAULT_SLOTS`]; a quarter of the size, less where a small region would have no
    /// room left for a journal).
    ///
    /// # Errors
    /// [`GeometryError`] when it does not fit.
    pub fn new(size: u64, slots: u32, max_snapshot: u64) -> Result<Self, GeometryError> {
        if size > MAX_REGION_BYTES || max_snapshot > MAX_REGION_BYTES {
            return Err(GeometryError::TooLarge {
                size: size.max(max_snapshot),
            });
        }
        let slots = if slots == 0 { DEFAULT_SLOTS } else { slots };
        if !(MIN_SLOTS..=MAX_SLOTS).contains(&slots) {
            return Err(GeometryError::Slots { slots });
        }
        let max_snapshot = if max_snapshot == 0 {
            default_max_snapshot(size, slots)
        } else {
            max_snapshot
        };
        let ring_start = ring_start(slots, max_snapshot);
        let needed = ring_start + MIN_RING_BYTES;
        if size < needed {
            return Err(GeometryError::TooSmall {
                size,
                slots,
                max_snapshot,
                needed,
            });
        }
        Ok(Self {
            sequence: 1,
            size,
            slots,
            max_snapshot,
            ring_start,
            ring_len: (size - ring_start) / 8 * 8,
            ring_base: 0,
        })
    }

    /// Checks a geometry that was read: whether it is one that [`new`](Self::new) or a resize can have
    /// made, inside `data_len` bytes.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn check(&self, data_len: u64) -> Result<(), GeometryError> {
        let wrong = |what| Err(GeometryError::Inconsistent { what });
        if self.size > data_len || self.size > MAX_REGION_BYTES {
            return wrong("it is longer than the region");
        }
        if !(MIN_SLOTS..=MAX_SLOTS).contains(&self.slots) || self.max_snapshot > MAX_REGION_BYTES {
            return wrong("slots");
        }
        if self.ring_start != ring_start(self.slots, self.max_snapshot) {
            return wrong("the journal does not begin behind the slots");
        }
        if self.ring_len < MIN_RING_BYTES
            || !self.ring_len.is_multiple_of(8)
            || !self.ring_base.is_multiple_of(8)
        {
            return wrong("the journal's length or base");
        }
        match self.ring_start.checked_add(self.ring_len) {
            Some(end) if end <= self.size => Ok(()),
            _ => wrong("the journal ends behind the region"),
        }
    }

    /// What a new region holds before anyone may connect: control block copies, and zeroes in the
    /// heartbeat and seal blocks. The rest may hold anything that no region of this id wrote.
    pub fn format(&self, region: RegionId) -> Vec<RegionWrite> {
        let mut head = vec![0; usize::try_from(self.head_len()).expect("at most 67 blocks")];
        for copy in CONTROL_OFFSETS {
            let block = ControlBlock::encode(region, self);
            let at = usize::try_from(copy).expect("a block or two");
            head[at..at + block.len()].copy_from_slice(&block);
        }
        vec![(0, head)]
    }

    /// Length of the region's head: control blocks, heartbeat, seals. Readers fetch it in one read.
    pub fn head_len(&self) -> u64 {
        SEALS_OFFSET + u64::from(self.slots) * BLOCK_BYTES
    }

    /// Where a slot's seal block lies.
    pub fn seal_offset(&self, slot: u32) -> u64 {
        SEALS_OFFSET + u64::from(slot) * BLOCK_BYTES
    }

    /// Where a slot's payload lies.
    pub fn slot_offset(&self, slot: u32) -> u64 {
        self.head_len() + u64::from(slot) * slot_stride(self.max_snapshot)
    }

    /// Where a logical journal offset lies inside the ring, 0 to `ring_len`. Offsets before the base
    /// (of a time before a resize) wrap backwards.
    pub fn ring_position(&self, logical: u64) -> u64 {
        if logical >= self.ring_base {
            (logical - self.ring_base) % self.ring_len
        } else {
            (self.ring_len - (self.ring_base - logical) % self.ring_len) % self.ring_len
        }
    }

    /// Where a logical journal offset lies in the region's data.
    pub fn journal_offset(&self, logical: u64) -> u64 {
        self.ring_start + self.ring_position(logical)
    }

    /// Contiguous bytes from a logical offset to the ring's end.
    pub fn ring_room(&self, logical: u64) -> u64 {
        self.ring_len - self.ring_position(logical)
    }

    /// Bytes of the ring that only control sets may use.
    pub fn control_reserve(&self) -> u64 {
        let (least, most) = CONTROL_RESERVE_BYTES;
        (self.ring_len / 16).clamp(least, most) / 8 * 8
    }

    /// Bytes of the ring that updates may use.
    pub fn journal_capacity(&self) -> u64 {
        self.ring_len - self.control_reserve()
    }

    /// The largest payload of one update. A set never splits, so the worst place of the head leaves
    /// half of the capacity; anything up to that fits an empty journal wherever its head stands.
    pub fn max_update(&self) -> u64 {
        (self.journal_capacity() / 2 - 2 * SET_HEADER_BYTES as u64) / 8 * 8
    }
}

/// A quarter of the size where there are two slots, so that half is left to the journal. In a small region what the
/// least journal leaves to the slots; at least a block, so that a size that is refused is refused with the least
/// that works.
fn default_max_snapshot(size: u64, slots: u32) -> u64 {
    let half = size / 2;
    let beside_least_journal = size.saturating_sub(ring_start(slots, 0) + MIN_RING_BYTES);
    let each = half.min(beside_least_journal) / u64::from(slots);
    (each / BLOCK_BYTES * BLOCK_BYTES).max(BLOCK_BYTES)
}

fn slot_stride(max_snapshot: u64) -> u64 {
    max_snapshot.next_multiple_of(BLOCK_BYTES)
}

fn ring_start(slots: u32, max_snapshot: u64) -> u64 {
    SEALS_OFFSET + u64::from(slots) * (BLOCK_BYTES + slot_stride(max_snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_that_a_refusal_names_works_and_so_does_every_larger_one() {
        for slots in [MIN_SLOTS, 3, 17, MAX_SLOTS] {
            for size in [0, 4096, 28 * 1024] {
                let Err(GeometryError::TooSmall { needed, .. }) = Geometry::new(size, slots, 0) else {
                    panic!("{size} bytes are enough for {slots} slots");
                };
                Geometry::new(needed - 1, slots, 0).expect_err("it is the least");
                for size in (needed..needed + (4 << 20)).step_by(4096) {
                    let geometry = Geometry::new(size, slots, 0).expect("it fits");
                    assert!(geometry.max_snapshot >= BLOCK_BYTES);
                    geometry.check(size).expect("it holds together");
                }
            }
        }
    }

    #[test]
    fn by_default_two_slots_leave_half_to_the_journal() {
        for size in [128 << 10, 1 << 20, 64 << 20, 1 << 40] {
            let geometry = Geometry::new(size, 0, 0).expect("it fits");
            assert_eq!((geometry.slots, geometry.max_snapshot), (2, size / 4));
        }
    }
}
