//! A snapshot on its way into a slot, as simple data for the writer's driver.

use crate::checksum::Checksum;
use crate::seal::{SEAL_BYTES, Seal, SealState};
use crate::{Geometry, RegionId};

/// A snapshot that was begun. The driver
///
/// 1. posts [`invalidate`](Self::invalidate) and awaits its commit **at the region's level**: from now on
///    the slot holds nothing;
/// 2. posts the payload at [`payload_offset`](Self::payload_offset), in as many pieces as it likes, adds
///    each to [`checksum`](Self::checksum), and awaits their commit;
/// 3. posts the seal that [`seal`](Self::seal) makes and awaits its commit: the snapshot is committed
///    ([`Writer::snapshot_committed`](crate::Writer::snapshot_committed));
/// 4. reads seal and payload back and compares ([`SealedSnapshot::verify`]): only
///    [`Writer::snapshot_verified`](crate::Writer::snapshot_verified) gives the journal space before it free.
///    What does not verify is withdrawn: post [`SealedSnapshot::withdraw`] and await its commit **at the region's
///    level**, so that readers find the snapshot before it and not damage.
///
/// One snapshot is under way at a time; appends go on meanwhile. After a failure at any step:
/// [`Writer::snapshot_failed`](crate::Writer::snapshot_failed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPlan {
    pub(crate) region: RegionId,
    pub(crate) geometry: Geometry,
    pub(crate) seal: Seal,
}

/// A snapshot whose payload was checksummed: its seal can be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSnapshot {
    pub(crate) region: RegionId,
    pub(crate) geometry: Geometry,
    pub(crate) seal: Seal,
}

impl SnapshotPlan {
    /// The slot that is overwritten.
    pub fn slot(&self) -> u32 {
        self.seal.slot
    }

    /// The sequence that was reserved: the snapshot covers every set below.
    pub fn sequence(&self) -> u64 {
        self.seal.sequence
    }

    /// Payload bytes that were announced.
    pub fn length(&self) -> u64 {
        self.seal.length
    }

    /// First phase: what makes the slot's old seal invalid.
    pub fn invalidate(&self) -> (u64, [u8; SEAL_BYTES]) {
        (self.geometry.seal_offset(self.seal.slot), [0; SEAL_BYTES])
    }

    /// Second phase: where the payload goes.
    pub fn payload_offset(&self) -> u64 {
        self.geometry.slot_offset(self.seal.slot)
    }

    /// The checksum to which the payload is added, in order, outside any lock.
    pub fn checksum(&self) -> Checksum {
        Seal::payload_checksum(self.region, self.seal.generation, self.seal.sequence)
    }

    /// Third phase: the seal over the payload whose checksum that is. Its payload must have had the
    /// length announced.
    pub fn seal(&self, payload: &Checksum) -> SealedSnapshot {
        let seal = Seal {
            payload_crc: payload.value(),
            ..self.seal.clone()
        };
        SealedSnapshot {
            region: self.region,
            geometry: self.geometry.clone(),
            seal,
        }
    }
}

impl SealedSnapshot {
    /// The snapshot's sequence.
    pub fn sequence(&self) -> u64 {
        self.seal.sequence
    }

    /// Third phase: what publishes the snapshot.
    pub fn publish(&self) -> (u64, [u8; SEAL_BYTES]) {
        (
            self.geometry.seal_offset(self.seal.slot),
            self.seal.encode(self.region),
        )
    }

    /// After a failed fourth phase: what takes the seal back. The snapshot before it, and the journal behind that, still
    /// hold everything, since nothing was reclaimed.
    pub fn withdraw(&self) -> (u64, [u8; SEAL_BYTES]) {
        (self.geometry.seal_offset(self.seal.slot), [0; SEAL_BYTES])
    }

    /// Where the payload lies, and its length, for reading back.
    pub fn payload(&self) -> (u64, u64) {
        (self.geometry.slot_offset(self.seal.slot), self.seal.length)
    }

    /// A fresh checksum for the payload read back.
    pub fn checksum(&self) -> Checksum {
        Seal::payload_checksum(self.region, self.seal.generation, self.seal.sequence)
    }

    /// Fourth phase: whether the seal read back (at least [`SEAL_BYTES`] bytes from where it was
    /// published) and the payload read back are what was written.
    pub fn verify(&self, seal_bytes: &[u8], payload: &Checksum) -> bool {
        let state = Seal::decode(self.region, &self.geometry, self.seal.slot, seal_bytes);
        matches!(state, SealState::Sealed(seal) if seal == self.seal)
            && payload.value() == self.seal.payload_crc
    }

    /// The seal.
    pub fn description(&self) -> &Seal {
        &self.seal
    }
}
