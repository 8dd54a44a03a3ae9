//! What a reader found that was not a whole set, named by set and place.

use std::fmt;

use thiserror::Error;

/// Why bytes in the journal are not a set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// Nothing of this region's: never written, or the inside of an older payload.
    #[error("no set begins there")]
    Foreign,
    /// A set's header of this region that does not verify.
    #[error("the header does not verify (it names sequence {sequence}, generation {generation})")]
    Checksum {
        /// The sequence that it names, not to be trusted.
        sequence: u64,
        /// The generation that it names, not to be trusted.
        generation: u64,
        /// The logical journal offset that it names, not to be trusted.
        logical: u64,
    },
    /// A whole header that belongs to another lap of the ring.
    #[error("a set of another lap lies there (sequence {sequence}, logical offset {logical})")]
    OtherLap {
        /// Where it belongs.
        logical: u64,
        /// Its generation.
        generation: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// Written by a format version that this crate does not know.
    #[error("format version {0} is not known")]
    Version(u16),
    /// A sealed header whose fields cannot be.
    #[error("the header's {0} cannot be")]
    Shape(&'static str),
    /// A whole header with a payload that does not verify.
    #[error("the payload of update {sequence}, generation {generation} ({length} bytes), does not verify")]
    Payload {
        /// The set's sequence.
        sequence: u64,
        /// Its generation.
        generation: u64,
        /// Its payload's length.
        length: u64,
    },
    /// The device cannot read what lies there. No crash leaves that behind.
    #[error("the device cannot read what lies there")]
    Unreadable,
    /// A whole header with a payload that the device cannot read.
    #[error(
        "the device cannot read the payload of update {sequence}, generation {generation} ({length} bytes)"
    )]
    UnreadablePayload {
        /// The set's sequence.
        sequence: u64,
        /// Its generation.
        generation: u64,
        /// Its payload's length.
        length: u64,
    },
    /// A whole set that does not follow: of an older generation, or of an order already passed.
    #[error("sequence {sequence} of generation {generation} does not follow there")]
    Void {
        /// Its generation.
        generation: u64,
        /// Its sequence.
        sequence: u64,
    },
}

impl HeaderFault {
    /// Whether the device cannot read what lies there.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable | Self::UnreadablePayload { .. })
    }
}

/// Why a snapshot's payload is not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// Other bytes lie there.
    #[error("its payload does not verify")]
    Checksum,
    /// The device cannot read all of them.
    #[error("the device cannot read its payload")]
    Unreadable,
}

/// One thing that a reader found and did not return as a set. Offsets count in the region's data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Above the best known floor: never acknowledged, and void.
    Torn {
        /// Where.
        offset: u64,
        /// Logical journal offset.
        logical: u64,
        /// Last whole set before it.
        after: u64,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// At or below the best known floor: it was committed and is damaged or lost.
    Corrupt {
        /// Where.
        offset: u64,
        /// Logical journal offset.
        logical: u64,
        /// Last whole set before it: every set from `after + 1` on is missing.
        after: u64,
        /// Highest sequence known committed.
        floor: u64,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// Before the newest snapshot, which covers it: damaged, or written over in part by a set that power took before it was
    /// acknowledged. Which of the two cannot be told; the current state needs none of it.
    Older {
        /// Where.
        offset: u64,
        /// Logical journal offset.
        logical: u64,
        /// Last whole set before it.
        after: u64,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// Whole, but void: behind a torn set, or of a generation that was taken over from.
    Void {
        /// Where.
        offset: u64,
        /// Its generation.
        generation: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// Whole, but of another lap of the ring: where the journal ends, an old set lies.
    Stale {
        /// Where.
        offset: u64,
        /// Its generation.
        generation: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// A snapshot whose seal is whole and whose payload does not verify.
    SnapshotCorrupt {
        /// The slot.
        slot: u32,
        /// Where its payload lies.
        offset: u64,
        /// Its generation.
        generation: u64,
        /// Its sequence.
        sequence: u64,
        /// What is wrong with it.
        fault: PayloadFault,
    },
    /// The device cannot read a slot's seal, and nothing says that the slot held no newer snapshot than the others.
    SealLost {
        /// The slot.
        slot: u32,
        /// Where its seal lies.
        offset: u64,
        /// The newest snapshot that has a seal, or 0.
        newest: u64,
    },
    /// The device cannot read a piece of the region's head. What depends on it is said beside it.
    Unreadable {
        /// Where.
        offset: u64,
        /// Bytes that were needed there.
        len: u64,
    },
    /// The floor record is neither empty nor valid: it was torn while it was written, or is damaged. It is news only, and
    /// is written again with the next heartbeat.
    FloorBroken {
        /// Where.
        offset: u64,
    },
    /// A snapshot that was verified once (the floor record says so) has no valid seal any more.
    SnapshotLost {
        /// Its sequence.
        sequence: u64,
        /// Where the seals begin.
        offset: u64,
        /// The newest snapshot that has a seal, or 0.
        newest: u64,
    },
    /// The journal between an older snapshot and a damaged newer one was reused.
    Missing {
        /// Last sequence that there is.
        after: u64,
        /// Sequence of the damaged snapshot, which covered the rest.
        to: u64,
    },
    /// A seal block that is neither empty nor valid: an overwrite was interrupted, or it is damaged.
    SealBroken {
        /// The slot.
        slot: u32,
        /// Where its seal lies.
        offset: u64,
    },
    /// One copy of the control block does not verify; the other does.
    ControlCopy {
        /// Which.
        copy: usize,
        /// Where.
        offset: u64,
    },
}

impl Finding {
    /// Where it was found, in bytes from the start of the region's data.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Torn { offset, .. }
            | Self::Corrupt { offset, .. }
            | Self::Older { offset, .. }
            | Self::Void { offset, .. }
            | Self::Stale { offset, .. }
            | Self::SnapshotCorrupt { offset, .. }
            | Self::SnapshotLost { offset, .. }
            | Self::SealLost { offset, .. }
            | Self::Unreadable { offset, .. }
            | Self::FloorBroken { offset }
            | Self::SealBroken { offset, .. }
            | Self::ControlCopy { offset, .. } => Some(*offset),
            Self::Missing { .. } => None,
        }
    }

    /// Whether crashes and laps leave it behind in a region in which nothing is damaged.
    pub fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::Torn { .. } | Self::Void { .. } | Self::Stale { .. } | Self::FloorBroken { .. }
        )
    }

    /// Whether the device cannot read something there.
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Unreadable { .. } | Self::SealLost { .. } => true,
            Self::SnapshotCorrupt { fault, .. } => *fault == PayloadFault::Unreadable,
            Self::Torn { fault, .. } | Self::Corrupt { fault, .. } | Self::Older { fault, .. } => {
                fault.is_unreadable()
            }
            _ => false,
        }
    }

    /// Whether committed data is damaged or lost (the others are what crashes and laps leave behind).
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::SnapshotCorrupt { .. }
                | Self::SnapshotLost { .. }
                | Self::SealLost { .. }
                | Self::Missing { .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn {
                offset, after, fault, ..
            } => {
                write!(
                    f,
                    "torn set behind sequence {after} at offset {offset}: {fault}; it was never acknowledged"
                )
            }
            Self::Corrupt {
                offset,
                after,
                floor,
                fault,
                ..
            } => write!(
                f,
                "corrupt set behind sequence {after} at offset {offset}: {fault}; sets up to sequence {floor} were committed"
            ),
            Self::Older {
                offset, after, fault, ..
            } => write!(
                f,
                "older set behind sequence {after} at offset {offset}: {fault}; damaged, or written over when power went; \
                 a newer snapshot covers it"
            ),
            Self::Void {
                offset,
                generation,
                sequence,
            } => {
                write!(
                    f,
                    "void set {sequence} of generation {generation} at offset {offset}"
                )
            }
            Self::Stale {
                offset,
                generation,
                sequence,
            } => {
                write!(
                    f,
                    "stale set {sequence} of generation {generation} from another lap at offset {offset}"
                )
            }
            Self::SnapshotCorrupt {
                slot,
                offset,
                generation,
                sequence,
                fault,
            } => write!(
                f,
                "corrupt snapshot {sequence} of generation {generation} in slot {slot} at offset {offset}: {fault}"
            ),
            Self::SealLost { slot, offset, newest } => write!(
                f,
                "lost seal of slot {slot} at offset {offset}: the device cannot read it, and it may have been of a newer snapshot than {newest}, the newest that is sealed"
            ),
            Self::Unreadable { offset, len } => write!(
                f,
                "unreadable: the device cannot read {len} bytes at offset {offset}"
            ),
            Self::FloorBroken { offset } => write!(
                f,
                "broken floor record at offset {offset}: it was being written, or is damaged; the next heartbeat renews it"
            ),
            Self::SnapshotLost {
                sequence,
                offset,
                newest,
            } => write!(
                f,
                "lost snapshot {sequence}: no seal from offset {offset} on names it any more; the newest that is sealed is {newest}"
            ),
            Self::Missing { after, to } => write!(
                f,
                "sets {} to {to} are missing: only the damaged snapshot {to} held them",
                after + 1
            ),
            Self::SealBroken { slot, offset } => {
                write!(
                    f,
                    "broken seal of slot {slot} at offset {offset}: an overwrite was interrupted, or it is damaged"
                )
            }
            Self::ControlCopy { copy, offset } => {
                write!(
                    f,
                    "copy {copy} of the control block at offset {offset} does not verify"
                )
            }
        }
    }
}
