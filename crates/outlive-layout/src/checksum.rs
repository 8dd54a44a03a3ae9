//! CRC-32C, seeded with where the bytes belong.

use crc_fast::{CrcAlgorithm, Digest};

use crate::RegionId;

/// A running CRC-32C whose first input was the seed: region, generation and place. Bytes of another
/// region, of another generation, or of an earlier lap therefore never verify, however intact they are.
#[derive(Clone)]
pub struct Checksum(Digest);

impl Checksum {
    /// Starts over the seed: region uuid, generation and place (the logical journal offset of a set,
    /// the sequence of a snapshot, the number of a copy elsewhere).
    pub fn seeded(region: RegionId, generation: u64, place: u64) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&region.0);
        seed[16..24].copy_from_slice(&generation.to_le_bytes());
        seed[24..].copy_from_slice(&place.to_le_bytes());
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&seed);
        Self(digest)
    }

    /// Starts without a seed, for what carries no region.
    pub fn unseeded() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Takes `bytes` in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As [`update`](Self::update), for chains.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    /// The checksum of all that was taken in.
    pub fn value(&self) -> u32 {
        u32::try_from(self.0.finalize()).expect("CRC-32C has 32 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_check_value() {
        assert_eq!(Checksum::unseeded().with(b"123456789").value(), 0xe306_9283);
        // RFC 3720, B.4: 32 bytes of zeroes.
        assert_eq!(Checksum::unseeded().with(&[0; 32]).value(), 0x8a91_36aa);
    }

    #[test]
    fn a_seed_is_the_bytes_before() {
        let seeded = Checksum::seeded(RegionId([7; 16]), 1, 2).with(b"x").value();
        let mut plain = vec![7; 16];
        plain.extend_from_slice(&1u64.to_le_bytes());
        plain.extend_from_slice(&2u64.to_le_bytes());
        plain.push(b'x');
        assert_eq!(seeded, Checksum::unseeded().with(&plain).value());
    }

    #[test]
    fn in_pieces_or_at_once_is_the_same() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let mut pieces = Checksum::unseeded();
        bytes.chunks(77).for_each(|piece| pieces.update(piece));
        assert_eq!(pieces.value(), Checksum::unseeded().with(&bytes).value());
    }
}
