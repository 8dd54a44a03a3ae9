//! A region in memory whose writes land in pieces of 8 bytes, in any order, and may be lost.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod primary;

use std::convert::Infallible;

use outlive_layout::{Geometry, RegionId, Source};

pub(crate) const REGION: RegionId = RegionId([0x5a; 16]);
const GRANULE: usize = 8;

/// What is placed, what is persistent, and what was posted and has not landed.
#[derive(Clone)]
pub(crate) struct Region {
    pub(crate) placed: Vec<u8>,
    persistent: Vec<u8>,
    posted: Vec<(usize, Vec<u8>)>,
    random: u64,
    pub(crate) reads: u64,
}

impl Region {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        let mut placed = vec![0xee; usize::try_from(geometry.size).expect("small")];
        for (offset, bytes) in geometry.format(REGION) {
            let at = usize::try_from(offset).expect("small");
            placed[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Self {
            persistent: placed.clone(),
            placed,
            posted: Vec::new(),
            random: 1,
            reads: 0,
        }
    }

    pub(crate) fn grow(&mut self, size: u64) {
        let size = usize::try_from(size).expect("small");
        self.placed.resize(size, 0xdd);
        self.persistent.resize(size, 0xdd);
    }

    pub(crate) fn post(&mut self, offset: u64, parts: &[&[u8]]) {
        let mut offset = usize::try_from(offset).expect("small");
        let bytes = parts.concat();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let len = (GRANULE - offset % GRANULE).min(rest.len());
            self.posted.push((offset, rest[..len].to_vec()));
            offset += len;
            rest = &rest[len..];
        }
    }

    /// Some of what was posted lands.
    pub(crate) fn land_some(&mut self, seed: u64) {
        self.random ^= seed | 1;
        for (offset, bytes) in std::mem::take(&mut self.posted) {
            if self.coin() {
                self.placed[offset..offset + bytes.len()].copy_from_slice(&bytes);
            } else {
                self.posted.push((offset, bytes));
            }
        }
    }

    /// Everything posted lands and is made persistent.
    pub(crate) fn commit(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.posted) {
            self.placed[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.persistent.clone_from(&self.placed);
    }

    /// The writer is fenced: what has not landed never will.
    pub(crate) fn fence(&mut self) {
        self.posted.clear();
    }

    /// Of what is placed and not persistent, only some survives.
    pub(crate) fn lose_power(&mut self, seed: u64) {
        self.fence();
        self.random ^= seed | 1;
        for at in (0..self.placed.len()).step_by(GRANULE) {
            let end = (at + GRANULE).min(self.placed.len());
            if self.placed[at..end] != self.persistent[at..end] && self.coin() {
                let old = self.persistent[at..end].to_vec();
                self.placed[at..end].copy_from_slice(&old);
            }
        }
        self.persistent.clone_from(&self.placed);
    }

    fn coin(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random & 1 == 0
    }
}

impl Source for Region {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        let at = usize::try_from(offset).expect("small");
        into.copy_from_slice(&self.placed[at..at + into.len()]);
        self.reads += 1;
        Ok(())
    }
}
