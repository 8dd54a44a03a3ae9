//! Makes what stands in a region verify again, whatever it says: with it damage reaches the code behind the checksums.

use outlive_layout::checksum::Checksum;
use outlive_layout::geometry::{BLOCK_BYTES, CONTROL_OFFSETS, SEALS_OFFSET};
use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::set::SET_HEADER_BYTES;

use super::REGION;

/// Seals anew the structure around `at`: a control block copy, the floor record, a seal, or the set whose header begins there.
pub(in crate::targets) fn reseal(bytes: &mut [u8], at: u64) {
    let block = at / BLOCK_BYTES * BLOCK_BYTES;
    if CONTROL_OFFSETS.contains(&block) {
        let sequence = word(bytes, block + 40);
        seal(bytes, block, 84, Checksum::seeded(REGION, 0, sequence));
    } else if block < SEALS_OFFSET {
        let generation = word(bytes, FLOOR_OFFSET + 8);
        seal(
            bytes,
            FLOOR_OFFSET,
            44,
            Checksum::seeded(REGION, generation, FLOOR_OFFSET),
        );
    } else if bytes.get(index(block)..index(block) + 8) == Some(b"OutlvSEA") {
        let slot = (block - SEALS_OFFSET) / BLOCK_BYTES;
        let generation = word(bytes, block + 32);
        seal(bytes, block, 84, Checksum::seeded(REGION, generation, slot));
    } else {
        reseal_set(bytes, at);
    }
}

/// Seals a superblock copy anew, over as many bytes as its header says.
pub(in crate::targets) fn reseal_superblock(block: &mut [u8]) {
    let header = word(block, 8) >> 32;
    let Some(header) = block.get(..index(header)) else {
        return;
    };
    let (Some(before), Some(after)) = (header.get(..16), header.get(20..)) else {
        return;
    };
    let crc = Checksum::unseeded()
        .with(before)
        .with(&[0; 4])
        .with(after)
        .value();
    put(block, 16, crc);
}

fn reseal_set(bytes: &mut [u8], at: u64) {
    let (generation, logical) = (word(bytes, at + 32), word(bytes, at + 48));
    let seeded = Checksum::seeded(REGION, generation, logical);
    let payload = index(at).saturating_add(SET_HEADER_BYTES);
    let end = payload.saturating_add(index(word(bytes, at + 64)));
    if let Some(payload) = bytes.get(payload..end) {
        let crc = seeded.clone().with(payload).value();
        put(bytes, at + 104, crc);
    }
    seal(bytes, at, 108, seeded);
}

fn seal(bytes: &mut [u8], at: u64, len: u64, seeded: Checksum) {
    if let Some(sealed) = bytes.get(index(at)..index(at.saturating_add(len))) {
        let crc = seeded.with(sealed).value();
        put(bytes, at + len, crc);
    }
}

fn put(bytes: &mut [u8], at: u64, crc: u32) {
    let at = index(at);
    if let Some(place) = bytes.get_mut(at..at.saturating_add(4)) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

fn word(bytes: &[u8], at: u64) -> u64 {
    let at = index(at);
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
