//! A region's extents as one range.

use std::sync::Arc;
use std::time::Duration;

use outlive_layout::Source;
use outlive_layout::catalog::Extent;
use outlive_media::{MediaError, Medium};

/// How long what the device could not read is left alone before it is asked for again: longer than a hiccup of a path or a
/// controller, and little beside what a takeover with damage costs anyway.
const BEFORE_LOOKING_AGAIN: Duration = Duration::from_millis(20);

/// Extents of a medium, side by side. `skip` bytes at the front (the metadata page) do not count.
pub(crate) struct Extents {
    medium: Arc<Medium>,
    extents: Vec<Extent>,
    skip: u64,
}

impl Extents {
    pub(crate) fn new(medium: Arc<Medium>, extents: Vec<Extent>) -> Self {
        Self {
            medium,
            extents,
            skip: 0,
        }
    }

    /// Offsets count from behind the first `bytes`.
    pub(crate) fn behind(mut self, bytes: u64) -> Self {
        self.skip = bytes;
        self
    }

    pub(crate) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MediaError> {
        self.pieces(offset, bytes.len())?
            .into_iter()
            .try_for_each(|(at, range)| self.medium.store(at, &bytes[range]))
    }

    /// Where each part of `len` bytes lies: physical start, and which of the bytes.
    fn pieces(&self, offset: u64, len: usize) -> Result<Vec<(u64, std::ops::Range<usize>)>, MediaError> {
        let outside = || MediaError::OutOfRange {
            at: offset,
            len: len as u64,
            media_len: self.len(),
        };
        let mut at = offset.checked_add(self.skip).ok_or_else(outside)?;
        let mut pieces = Vec::new();
        let mut done = 0;
        for extent in &self.extents {
            if at >= extent.len {
                at -= extent.len;
                continue;
            }
            let here = usize::try_from(extent.len - at)
                .unwrap_or(usize::MAX)
                .min(len - done);
            pieces.push((extent.start + at, done..done + here));
            done += here;
            at = 0;
            if done == len {
                return Ok(pieces);
            }
        }
        if len == 0 { Ok(pieces) } else { Err(outside()) }
    }

    fn len(&self) -> u64 {
        self.extents
            .iter()
            .fold(0, |sum: u64, extent| sum.saturating_add(extent.len))
            .saturating_sub(self.skip)
    }
}

impl Source for Extents {
    type Error = MediaError;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), MediaError> {
        for (at, range) in self.pieces(offset, into.len())? {
            self.medium.load(at, &mut into[range])?;
        }
        Ok(())
    }

    fn is_unreadable(error: &MediaError) -> bool {
        error.is_unreadable()
    }

    fn pause(&mut self) {
        std::thread::sleep(BEFORE_LOOKING_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use outlive_media::MemoryMedia;

    use super::*;

    fn extents() -> Extents {
        let medium = Arc::new(Medium::new(Box::new(MemoryMedia::new(8 << 20).unwrap())));
        let pieces = [(40_960, 4096), (8192, 8192), (20_480, 4096)];
        Extents::new(medium, pieces.map(|(start, len)| Extent { start, len }).to_vec()).behind(4096)
    }

    #[test]
    fn bytes_cross_the_borders() {
        let mut region = extents();
        let bytes: Vec<u8> = (0..12_288_u32)
            .map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1])
            .collect();
        region.write_at(0, &bytes).unwrap();
        for (offset, len) in [
            (0, 12_288),
            (8191, 2),
            (8192, 1),
            (12_287, 1),
            (1, 12_000),
            (12_288, 0),
        ] {
            let mut found = vec![0; len];
            region.read_at(offset, &mut found).unwrap();
            assert_eq!(
                found,
                bytes[usize::try_from(offset).unwrap()..][..len],
                "{len} bytes at {offset}"
            );
        }
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let mut region = extents();
        for (offset, len) in [(12_288, 1), (12_287, 2), (u64::MAX, 1), (u64::MAX - 4096, 1)] {
            assert!(
                region.read_at(offset, &mut vec![0; len]).is_err(),
                "{len} bytes at {offset}"
            );
        }
    }
}
