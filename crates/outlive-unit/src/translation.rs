//! From a region's virtual addresses to the medium's physical ones.

use std::ops::Range;

/// Physical: a range of the medium, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Length; never 0 inside a [`Translation`].
    pub len: u64,
}

impl Extent {
    /// First byte behind it. Extents inside a [`Translation`] do not overflow.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Whether they share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Extents side by side that look like one range from 0 to [`len`](Self::len). Never changes: a
/// connection keeps the one it was admitted with.
#[derive(Debug)]
pub struct Translation {
    mapped: Box<[Mapped]>,
    len: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mapped {
    /// Virtual address of the extent's first byte.
    at: u64,
    extent: Extent,
}

impl Translation {
    /// `None` where there are no extents, one is empty, or an address would overflow.
    pub fn new(extents: &[Extent]) -> Option<Self> {
        let mut len: u64 = 0;
        let mut mapped = Vec::with_capacity(extents.len());
        for extent in extents {
            extent.start.checked_add(extent.len).filter(|_| extent.len > 0)?;
            mapped.push(Mapped {
                at: len,
                extent: *extent,
            });
            len = len.checked_add(extent.len)?;
        }
        (len > 0).then(|| Self {
            mapped: mapped.into(),
            len,
        })
    }

    /// Bytes it covers.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: see [`new`](Self::new).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The extents, in the order of their virtual addresses.
    pub fn extents(&self) -> impl ExactSizeIterator<Item = Extent> {
        self.mapped.iter().map(|mapped| mapped.extent)
    }

    /// The physical pieces of a virtual range, in order, none empty. What lies behind the end has none.
    pub fn pieces(&self, range: Range<u64>) -> Pieces<'_> {
        let first = self
            .mapped
            .partition_point(|mapped| mapped.at + mapped.extent.len <= range.start);
        Pieces {
            rest: &self.mapped[first..],
            range,
        }
    }
}

/// Pieces of a range, each inside one extent.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a [Mapped],
    range: Range<u64>,
}

impl Iterator for Pieces<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        if self.range.is_empty() {
            return None;
        }
        let (mapped, rest) = self.rest.split_first()?;
        let inside = self.range.start - mapped.at;
        let len = (mapped.extent.len - inside).min(self.range.end - self.range.start);
        self.rest = rest;
        self.range.start += len;
        Some(Extent {
            start: mapped.extent.start + inside,
            len,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Extents that do not overlap, in any physical order, and a range inside them.
    fn region() -> impl Strategy<Value = (Vec<Extent>, Range<u64>)> {
        prop::collection::vec((0..50_u64, 1..60_u64), 1..12)
            .prop_map(|gaps| {
                let mut end = 0;
                let place = |(gap, len)| {
                    let start = end + gap;
                    end = start + len;
                    Extent { start, len }
                };
                gaps.into_iter().map(place).collect::<Vec<_>>()
            })
            .prop_shuffle()
            .prop_flat_map(|extents| {
                let total: u64 = extents.iter().map(|extent| extent.len).sum();
                (Just(extents), 0..=total, 0..=total)
            })
            .prop_map(|(extents, a, b)| (extents, a.min(b)..a.max(b)))
    }

    proptest! {
        #[test]
        fn pieces_are_the_bytes_of_the_range((extents, range) in region()) {
            let translation = Translation::new(&extents).unwrap();
            let addresses: Vec<u64> = extents.iter().flat_map(|extent| extent.start..extent.end()).collect();
            prop_assert_eq!(translation.len(), addresses.len() as u64);
            let pieces: Vec<Extent> = translation.pieces(range.clone()).collect();
            for piece in &pieces {
                prop_assert!(piece.len > 0);
                prop_assert!(extents.iter().any(|extent| extent.start <= piece.start && piece.end() <= extent.end()));
            }
            let found: Vec<u64> = pieces.iter().flat_map(|piece| piece.start..piece.end()).collect();
            let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            prop_assert_eq!(&found[..], &addresses[start..end]);
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let extent = |start, len| Extent { start, len };
        assert!(Translation::new(&[]).is_none());
        assert!(Translation::new(&[extent(0, 1), extent(4, 0)]).is_none());
        assert!(Translation::new(&[extent(u64::MAX, 1)]).is_none());
        assert!(Translation::new(&[extent(0, u64::MAX), extent(0, 1)]).is_none());
    }
}
