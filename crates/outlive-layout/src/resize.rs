//! Growing a checkpoint region: the ring gets longer, and what is live in it stays readable throughout.
//!
//! The live part of the ring is one run of logical offsets, of which a second part may lie wrapped at
//! the ring's start. In the longer ring that part belongs behind the old end: it is copied there (into
//! space that the old geometry does not know), made persistent, and only then is the new geometry
//! sealed into the control block, first over its older copy. At each moment one valid geometry stands,
//! and under it everything live verifies.

use thiserror::Error;

use crate::control::ControlBlock;
use crate::geometry::{CONTROL_OFFSETS, MAX_REGION_BYTES};
use crate::set::SET_HEADER_BYTES;
use crate::{Geometry, RegionId, RegionWrite};

/// A growth in phases; the driver awaits the commit of each, at the region's level, before the next:
/// [`copies`](Self::copies), [`first_control`](Self::first_control),
/// [`second_control`](Self::second_control); then [`Writer::resized`](crate::Writer::resized).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizePlan {
    geometry: Geometry,
    copies: Vec<CopyRange>,
    controls: [RegionWrite; 2],
}

/// Bytes of the region to be copied inside it; the ranges do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    /// Offset to read from.
    pub from: u64,
    /// Offset to write to.
    pub to: u64,
    /// Bytes.
    pub len: u64,
}

/// Why a region cannot be resized. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// Slots and journal of a smaller region would have to be moved over each other.
    #[error("a checkpoint region cannot shrink (it has {size} bytes, {asked} were asked for)")]
    Shrink {
        /// Present size.
        size: u64,
        /// Asked for.
        asked: u64,
    },
    /// The wrapped part of the journal does not fit behind the ring's old end.
    #[error(
        "growing by {growth} bytes is too little while the journal is wrapped; grow by {needed} bytes, or save a snapshot first"
    )]
    TooLittle {
        /// Asked for.
        growth: u64,
        /// Smallest growth that works now.
        needed: u64,
    },
    /// Beyond the largest region.
    #[error("a region of {size} bytes is beyond the limit of {MAX_REGION_BYTES}")]
    TooLarge {
        /// Asked for.
        size: u64,
    },
    /// A snapshot under way knows the old geometry.
    #[error("a snapshot is under way")]
    SnapshotUnderWay,
}

impl ResizePlan {
    /// First phase.
    pub fn copies(&self) -> &[CopyRange] {
        &self.copies
    }

    /// Second phase: from its commit on the new geometry holds for who opens the region.
    pub fn first_control(&self) -> &RegionWrite {
        &self.controls[0]
    }

    /// Third phase: the other copy.
    pub fn second_control(&self) -> &RegionWrite {
        &self.controls[1]
    }

    /// The geometry that results.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}

pub(crate) fn plan(
    region: RegionId,
    old: &Geometry,
    size: u64,
    tail: u64,
    head: u64,
    older_copy: usize,
) -> Result<ResizePlan, ResizeError> {
    if size < old.size {
        return Err(ResizeError::Shrink {
            size: old.size,
            asked: size,
        });
    }
    if size > MAX_REGION_BYTES {
        return Err(ResizeError::TooLarge { size });
    }
    let growth = (size - old.ring_start) / 8 * 8 - old.ring_len;
    // The lap in which the live part begins keeps its place; what is wrapped goes behind it.
    let position = old.ring_position(tail);
    let live_end = position + (head - tail);
    let wrapped = live_end.saturating_sub(old.ring_len);
    if wrapped > growth {
        return Err(ResizeError::TooLittle {
            growth,
            needed: wrapped,
        });
    }
    let mut ring_len = old.ring_len + growth;
    // The invariant that a header always fits before the ring's end.
    if ring_len - live_end < SET_HEADER_BYTES as u64 {
        ring_len = live_end;
    }
    // Where a lap begins: this one, or the next where this one began before the journal did. (Whoever accepted that
    // everything was lost begins at 0 again, anywhere in the ring.)
    let ring_base = tail
        .checked_sub(position)
        .unwrap_or_else(|| tail + (ring_len - position));
    let geometry = Geometry {
        sequence: old.sequence + 1,
        size,
        ring_len,
        ring_base,
        ..old.clone()
    };
    let copies = (wrapped > 0).then_some(CopyRange {
        from: old.ring_start,
        to: old.ring_start + old.ring_len,
        len: wrapped,
    });
    let control = |copy: usize| {
        (
            CONTROL_OFFSETS[copy],
            ControlBlock::encode(region, &geometry).to_vec(),
        )
    };
    let controls = [control(older_copy), control(1 - older_copy)];
    Ok(ResizePlan {
        copies: copies.into_iter().collect(),
        controls,
        geometry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING_LEN: u64 = 16 << 10;

    fn grown(ring_base: u64, tail: u64, live: u64) -> (Geometry, Result<ResizePlan, ResizeError>) {
        let mut old = Geometry::new(64 << 10, 2, 8 << 10).expect("a geometry");
        old.ring_len = RING_LEN;
        old.size = old.ring_start + old.ring_len;
        old.ring_base = ring_base;
        let planned = plan(
            RegionId([7; 16]),
            &old,
            old.size + (12 << 10),
            tail,
            tail + live,
            0,
        );
        (old, planned)
    }

    #[test]
    fn every_live_byte_is_found_where_it_was_or_where_it_was_copied_to() {
        let bases = [0, 8, RING_LEN - 8, RING_LEN, 5 * RING_LEN + 4096];
        for (ring_base, tail) in bases
            .into_iter()
            .flat_map(|base| [0, 8, 4096, 3 * RING_LEN].map(|tail| (base, tail)))
        {
            for live in [0, 8, 4096, RING_LEN - 4096] {
                let (old, planned) = grown(ring_base, tail, live);
                let new = planned.expect("there is room").geometry;
                assert_eq!(
                    new.check(new.size),
                    Ok(()),
                    "base {ring_base}, tail {tail}, {live} bytes"
                );
                let begin = old.ring_position(tail);
                for logical in (tail..tail + live).step_by(8) {
                    let before = old.ring_position(logical);
                    let wrapped = if before < begin { old.ring_len } else { 0 };
                    assert_eq!(
                        new.ring_position(logical),
                        before + wrapped,
                        "base {ring_base}, tail {tail}, byte {logical}"
                    );
                }
            }
        }
    }
}
