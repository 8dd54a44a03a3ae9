//! Raw regions: their bytes mean what their owner says. What can be said of them is whether they can be read.

use crate::{ReadError, Source};

/// What cannot be read is found out in pieces of this size.
pub const RAW_PAGE_BYTES: u64 = 4096;
/// Places that are told apart; what lies behind them is counted. A device that fails everywhere fills no memory.
pub const MOST_RANGES: usize = 64;
/// A device that fails so many pages in a row fails as a whole, and may take seconds for each: the rest is not tried.
pub const GIVE_UP_PAGES: u64 = 256;
/// Whole pieces are tried first: what can be read takes few reads.
const PIECE_BYTES: u64 = 1 << 20;

/// What of a raw region cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// Offset and length of the first places; neighbours are one.
    pub ranges: Vec<(u64, u64)>,
    /// Bytes beyond them that cannot be read either.
    pub more_bytes: u64,
    /// Where it was given up: nothing from there on was tried.
    pub gave_up_at: Option<u64>,
}

impl Unread {
    /// In words, one for each place: no more than a few, however much it is.
    pub fn messages(&self) -> Vec<(u64, String)> {
        let place = |&(offset, len): &(u64, u64)| {
            (
                offset,
                format!("the device cannot read {len} bytes at offset {offset}"),
            )
        };
        let mut messages: Vec<_> = self.ranges.iter().map(place).collect();
        let behind = self.ranges.last().map_or(0, |(offset, len)| offset + len);
        if self.more_bytes > 0 {
            let message = format!(
                "the device cannot read {} more bytes behind those",
                self.more_bytes
            );
            messages.push((behind, message));
        }
        if let Some(offset) = self.gave_up_at {
            let message = format!(
                "{GIVE_UP_PAGES} pages in a row cannot be read: nothing from offset {offset} on was tried"
            );
            messages.push((offset, message));
        }
        messages
    }

    fn add(&mut self, offset: u64, len: u64) {
        let kept = self.ranges.len();
        match self.ranges.last_mut() {
            Some((start, before)) if *start + *before == offset && self.more_bytes == 0 => *before += len,
            _ if kept < MOST_RANGES => self.ranges.push((offset, len)),
            _ => self.more_bytes += len,
        }
    }
}

/// Reads `len` bytes, and tells which of them cannot be read.
///
/// # Errors
/// The source's, other than that bytes cannot be read.
pub fn scan<S: Source>(source: &mut S, len: u64) -> Result<Unread, ReadError<S::Error>> {
    let mut unread = Unread::default();
    let mut in_a_row = 0;
    let mut buffer = vec![0; usize::try_from(PIECE_BYTES.min(len)).expect("at most a piece")];
    let mut piece = 0;
    while piece < len {
        let end = len.min(piece + PIECE_BYTES);
        if is_readable(source, piece, end, &mut buffer)? {
            in_a_row = 0;
        } else {
            let mut page = piece;
            while page < end {
                let behind = end.min(page + RAW_PAGE_BYTES);
                if is_readable(source, page, behind, &mut buffer)? {
                    in_a_row = 0;
                } else {
                    unread.add(page, behind - page);
                    in_a_row += 1;
                }
                page = behind;
                if in_a_row == GIVE_UP_PAGES && page < len {
                    unread.gave_up_at = Some(page);
                    return Ok(unread);
                }
            }
        }
        piece = end;
    }
    Ok(unread)
}

fn is_readable<S: Source>(
    source: &mut S,
    offset: u64,
    end: u64,
    buffer: &mut [u8],
) -> Result<bool, ReadError<S::Error>> {
    let into = &mut buffer[..usize::try_from(end - offset).expect("at most a piece")];
    match source.read_at(offset, into) {
        Ok(()) => Ok(true),
        Err(error) if S::is_unreadable(&error) => Ok(false),
        Err(source) => Err(ReadError::Source {
            offset,
            len: end - offset,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that refuses pages.
    struct Device<F> {
        bad: F,
        reads: u64,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Refused;

    impl<F: Fn(u64) -> bool> Source for Device<F> {
        type Error = Refused;

        fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Refused> {
            self.reads += 1;
            let end = offset + into.len() as u64;
            let bad = (offset / RAW_PAGE_BYTES..end.div_ceil(RAW_PAGE_BYTES)).any(&self.bad);
            if bad { Err(Refused) } else { Ok(()) }
        }

        fn is_unreadable(_: &Refused) -> bool {
            true
        }
    }

    fn scanned(len: u64, bad: impl Fn(u64) -> bool) -> (Unread, u64) {
        let mut device = Device { bad, reads: 0 };
        (scan(&mut device, len).unwrap(), device.reads)
    }

    #[test]
    fn neighbours_are_one_place() {
        let (unread, _) = scanned((2 << 20) + 100, |page| matches!(page, 3..=5 | 255..=256 | 512));
        assert_eq!(
            unread.ranges,
            [(3 * 4096, 3 * 4096), (255 * 4096, 2 * 4096), (512 * 4096, 100)]
        );
        assert_eq!((unread.more_bytes, unread.gave_up_at), (0, None));
        assert_eq!(scanned(0, |_| true), (Unread::default(), 0));
    }

    #[test]
    fn a_device_that_fails_everywhere_is_given_up_soon() {
        let (unread, reads) = scanned(1 << 40, |page| page >= 10);
        assert_eq!(unread.gave_up_at, Some((10 + GIVE_UP_PAGES) * RAW_PAGE_BYTES));
        assert_eq!(
            unread.ranges,
            [(10 * RAW_PAGE_BYTES, GIVE_UP_PAGES * RAW_PAGE_BYTES)]
        );
        assert!(reads < 2 * GIVE_UP_PAGES + 10, "{reads}");
        assert_eq!(unread.messages().len(), 2);
    }

    #[test]
    fn however_many_places_fail_what_is_kept_is_bounded() {
        let (unread, _) = scanned(256 << 20, |page| page % 2 == 1);
        assert_eq!((unread.ranges.len(), unread.gave_up_at), (MOST_RANGES, None));
        assert_eq!(MOST_RANGES as u64 * RAW_PAGE_BYTES + unread.more_bytes, 128 << 20);
        assert_eq!(unread.messages().len(), MOST_RANGES + 1);
    }
}
