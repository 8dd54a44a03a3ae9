//! Free space of a medium, derived from its catalog.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Catalog, EXTENT_ALIGN, Extent, MAX_EXTENTS, Violation};

/// Free ranges. What it gives out is taken in memory only: it becomes durable with the record that
/// names it, and after a crash before that it is free again.
#[derive(Clone, Debug)]
pub struct Allocator {
    free: BTreeMap<u64, u64>,
}

/// No such space.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no space for {asked} bytes: {free} bytes are free, the {pieces} largest free ranges hold {reachable}"
)]
pub struct NoSpace {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes free in all.
    pub free: u64,
    /// Extents that were allowed.
    pub pieces: usize,
    /// Bytes that so many extents can hold.
    pub reachable: u64,
}

impl Allocator {
    /// Everything that no extent of `catalog` covers.
    pub fn new(catalog: &Catalog) -> Self {
        Self {
            free: catalog
                .free_ranges()
                .into_iter()
                .map(|range| (range.start, range.len))
                .collect(),
        }
    }

    /// Takes `bytes` (rounded up to the alignment): the first range in which they fit, or else the
    /// largest ranges, as few as possible and `max_extents` at most.
    ///
    /// # Errors
    /// [`NoSpace`]; nothing was taken.
    pub fn allocate(&mut self, bytes: u64, max_extents: usize) -> Result<Vec<Extent>, NoSpace> {
        let none = |free, pieces, reachable| NoSpace {
            asked: bytes,
            free,
            pieces,
            reachable,
        };
        let pieces = max_extents.min(MAX_EXTENTS);
        let Some(asked) = bytes
            .max(1)
            .checked_next_multiple_of(EXTENT_ALIGN)
            .filter(|_| pieces > 0)
        else {
            return Err(none(self.free_bytes(), pieces, 0));
        };
        let whole = self
            .free
            .iter()
            .find(|(_, len)| **len >= asked)
            .map(|(start, _)| *start);
        let chosen = match whole {
            Some(start) => vec![Extent { start, len: asked }],
            None => self
                .gather(asked, pieces)
                .map_err(|reachable| none(self.free_bytes(), pieces, reachable))?,
        };
        for extent in &chosen {
            self.take(*extent);
        }
        Ok(chosen)
    }

    /// Makes `bytes` more directly behind `extent` part of it, where they are free.
    pub fn extend(&mut self, extent: Extent, bytes: u64) -> Option<Extent> {
        let asked = bytes.checked_next_multiple_of(EXTENT_ALIGN)?;
        let start = extent.end()?;
        self.free.get(&start).filter(|len| **len >= asked)?;
        self.take(Extent { start, len: asked });
        Some(Extent {
            start: extent.start,
            len: extent.len + asked,
        })
    }

    /// Gives extents back.
    pub fn release(&mut self, extents: &[Extent]) {
        for Extent { start, len } in extents {
            let (mut start, mut len) = (*start, *len);
            if let Some(behind) = self.free.remove(&(start + len)) {
                len += behind;
            }
            if let Some((before, before_len)) = self.free.range(..start).next_back()
                && before + before_len == start
            {
                len += before_len;
                start = *before;
            }
            self.free.insert(start, len);
        }
    }

    /// Bytes free.
    pub fn free_bytes(&self) -> u64 {
        self.free.values().sum()
    }

    /// Compares with what the catalog leaves free: `pending` are extents that were given out and are
    /// not yet (or no more) in the catalog. Empty when not a byte is lost or given out twice.
    pub fn check(&self, catalog: &Catalog, pending: &[Extent]) -> Vec<Violation> {
        let mut mine = Self {
            free: self.free.clone(),
        };
        let mut violations = Vec::new();
        for extent in pending {
            let end = extent.start + extent.len;
            let shared = mine
                .free
                .range(..end)
                .next_back()
                .is_some_and(|(start, len)| start + len > extent.start);
            if shared {
                violations.push(Violation::Shared {
                    start: extent.start,
                    bytes: extent.len,
                });
            } else {
                mine.release(&[*extent]);
            }
        }
        let theirs = Self::new(catalog);
        for (start, len) in &theirs.free {
            if mine.free.get(start) != Some(len) {
                violations.push(Violation::Leaked {
                    start: *start,
                    bytes: *len,
                });
            }
        }
        for (start, len) in &mine.free {
            if theirs.free.get(start) != Some(len) {
                violations.push(Violation::Shared {
                    start: *start,
                    bytes: *len,
                });
            }
        }
        violations
    }

    fn gather(&self, asked: u64, pieces: usize) -> Result<Vec<Extent>, u64> {
        let mut ranges: Vec<_> = self
            .free
            .iter()
            .map(|(start, len)| Extent {
                start: *start,
                len: *len,
            })
            .collect();
        ranges.sort_unstable_by_key(|range| (std::cmp::Reverse(range.len), range.start));
        let mut chosen = Vec::new();
        let mut missing = asked;
        for range in ranges.into_iter().take(pieces) {
            let len = range.len.min(missing);
            chosen.push(Extent {
                start: range.start,
                len,
            });
            missing -= len;
            if missing == 0 {
                chosen.sort_unstable();
                return Ok(chosen);
            }
        }
        Err(asked - missing)
    }

    /// Takes an extent out of the free range in which it begins.
    fn take(&mut self, extent: Extent) {
        let len = self
            .free
            .remove(&extent.start)
            .expect("extents are taken from the start of a free range");
        if len > extent.len {
            self.free.insert(extent.start + extent.len, len - extent.len);
        }
    }
}
