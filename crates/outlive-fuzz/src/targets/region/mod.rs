//! A checkpoint region in memory, for the targets that read what stands in one.

pub(super) mod examine;
pub(super) mod history;
pub(super) mod reseal;

use std::convert::Infallible;

use outlive_layout::{RegionId, Source};

pub(super) const REGION: RegionId = RegionId([0x5a; 16]);

/// The most reads of one input. A reader that needs more of so small a region does not end.
const MAX_READS: u64 = 50_000;

/// The region's bytes. Reads and writes outside of it are the reader's or the writer's mistake.
#[derive(Clone)]
pub(super) struct Region {
    pub(super) bytes: Vec<u8>,
    reads: u64,
}

impl Region {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).expect("inside the region");
        let end = at.checked_add(bytes.len()).expect("inside the region");
        self.bytes[at..end].copy_from_slice(bytes);
    }
}

impl Source for Region {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.reads += 1;
        assert!(self.reads <= MAX_READS, "reading does not end");
        let at = usize::try_from(offset).expect("inside the region");
        let end = at.checked_add(into.len()).expect("inside the region");
        into.copy_from_slice(&self.bytes[at..end]);
        Ok(())
    }
}
