//! A region of arbitrary bytes: a formatted head, or none, and over it what the input says, made to verify or not.

use arbitrary::Unstructured;
use outlive_layout::Geometry;
use outlive_layout::geometry::BLOCK_BYTES;

use super::region::examine::{Expected, examine};
use super::region::history::{History, SMALLEST_BYTES};
use super::region::reseal::reseal;
use super::region::{REGION, Region};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "region_bytes",
    about: "a checkpoint region of arbitrary bytes",
    run,
    seeds,
    allowance_bytes: 8 << 20,
};

/// Bytes before each chunk of the input: where it goes, in words of 8 bytes; its length; whether it is sealed.
const CHUNK_HEAD_BYTES: usize = 4;

fn run(input: &[u8]) {
    let Some((&kind, chunks)) = input.split_first() else {
        return;
    };
    let mut region = Region::new(vec![0; usize::try_from(SMALLEST_BYTES).expect("small")]);
    if kind % 2 == 1 {
        let geometry = Geometry::new(SMALLEST_BYTES, 2, BLOCK_BYTES).expect("fits");
        for (offset, bytes) in geometry.format(REGION) {
            region.write(offset, &bytes);
        }
    }
    place(&mut region, chunks);
    examine(&mut region, Expected(None), None);
}

fn place(region: &mut Region, mut chunks: &[u8]) {
    while let Some((&[low, high, len, sealed], rest)) = chunks.split_first_chunk::<CHUNK_HEAD_BYTES>() {
        let at = usize::from(u16::from_le_bytes([low, high])) * 8 % region.bytes.len();
        let len = usize::from(len).min(rest.len()).min(region.bytes.len() - at);
        region.bytes[at..at + len].copy_from_slice(&rest[..len]);
        if sealed % 2 == 1 {
            reseal(&mut region.bytes, at as u64);
        }
        chunks = &rest[len..];
    }
}

fn seeds() -> Vec<Seed> {
    let life = [
        0, 0, 16, 0, 1, 0, 2, 5, 6, 7, 0, 3, 9, 0, 4, 10, 0, 5, 7, 0, 6, 6, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let history = History::live(&mut Unstructured::new(&life)).expect("a whole life");
    vec![
        ("empty", vec![1]),
        ("some-sets", [vec![0], chunks(&history.region.bytes)].concat()),
    ]
}

/// Everything that is neither zero nor what a region is filled with, in chunks that are not sealed anew.
fn chunks(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, words) in bytes.chunks(128).enumerate() {
        if words.iter().any(|byte| ![0, 0xee].contains(byte)) {
            let at = u16::try_from(index * 16).expect("a small region");
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&[u8::try_from(words.len()).expect("small"), 0]);
            out.extend_from_slice(words);
        }
    }
    out
}
