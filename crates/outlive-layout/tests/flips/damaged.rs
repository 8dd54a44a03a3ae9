//! A region's bytes as they were left, some of which cannot be read.

use std::collections::BTreeSet;
use std::fmt;

use outlive_layout::Source;

/// What a device loses at once.
pub(crate) const LINE: usize = 64;

#[derive(Clone, Default)]
pub(crate) struct Damaged {
    pub(crate) bytes: Vec<u8>,
    /// Lines that cannot be read until they are written whole.
    pub(crate) unreadable: BTreeSet<usize>,
    /// A device that fails for a moment only: it can read everything once somebody has waited.
    pub(crate) is_passing: bool,
}

/// An error of the device.
#[derive(Debug)]
pub(crate) struct Unreadable;

impl Damaged {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            unreadable: BTreeSet::new(),
            is_passing: false,
        }
    }

    pub(crate) fn poison(&mut self, from: usize, len: usize) {
        self.unreadable.extend(from / LINE..(from + len).div_ceil(LINE));
    }

    /// False where the device refuses: it cannot put a part of a line to what it cannot read.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let at = usize::try_from(offset).expect("small");
        let whole = at.div_ceil(LINE)..(at + bytes.len()) / LINE;
        self.unreadable.retain(|line| !whole.contains(line));
        let touched = at / LINE..(at + bytes.len()).div_ceil(LINE);
        if self.unreadable.range(touched).next().is_some() {
            return false;
        }
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        true
    }
}

impl Source for Damaged {
    type Error = Unreadable;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let at = usize::try_from(offset).expect("small");
        let lines = at / LINE..(at + into.len()).div_ceil(LINE);
        if self.unreadable.range(lines).next().is_some() {
            return Err(Unreadable);
        }
        into.copy_from_slice(&self.bytes[at..at + into.len()]);
        Ok(())
    }

    fn is_unreadable(Unreadable: &Unreadable) -> bool {
        true
    }

    fn pause(&mut self) {
        if self.is_passing {
            self.unreadable.clear();
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("uncorrectable memory error")
    }
}

impl std::error::Error for Unreadable {}
