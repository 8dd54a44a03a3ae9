//! What a takeover found and did.

use std::fmt;
use std::time::Duration;

use outlive_fabric::RegionId;

/// Proof of one takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The region.
    pub region: RegionId,
    /// Generation whose write connections were stopped, and confirmed so, before anything was granted.
    pub fenced_generation: u64,
    /// Generation of the new primary.
    pub generation: u64,
    /// Sequence of the last durable set that was found.
    pub last_sequence: u64,
    /// Sets that the backup had not read before.
    pub unread_sets: u64,
    /// Their payload bytes.
    pub unread_bytes: u64,
    /// Sets that were begun and never committed: torn, or void behind a torn one.
    pub torn_sets: u64,
    /// Sequences given up because they were corrupt and the operator accepted the loss.
    pub accepted_loss: Option<(u64, u64)>,
    /// The backup had read more than the unit still holds (the unit lost what was only placed).
    pub ahead: Option<Ahead>,
    /// From the last sign of life to the suspicion.
    pub detect: Duration,
    /// Making the new generation durable and stopping the old connections, as the manager measured it.
    pub fence: Duration,
    /// Getting access and reading what was unread.
    pub read: Duration,
    /// Making what was read persistent, at the region's level.
    pub persist: Duration,
    /// Writing the takeover set, until the first commit is possible.
    pub resume: Duration,
}

/// How far a backup was ahead of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Last sequence that the backup had read.
    pub read_sequence: u64,
    /// Last sequence that the unit still holds.
    pub unit_sequence: u64,
}

impl Certificate {
    /// From the last sign of life to the first commit being possible.
    pub fn total(&self) -> Duration {
        self.detect + self.fence + self.read + self.persist + self.resume
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "generation {} took over, generation {} is fenced; last durable sequence {}, {} sets unread ({} bytes), {} torn; \
             detect {} us, fence {} us, read {} us, persist {} us, resume {} us",
            self.generation,
            self.fenced_generation,
            self.last_sequence,
            self.unread_sets,
            self.unread_bytes,
            self.torn_sets,
            self.detect.as_micros(),
            self.fence.as_micros(),
            self.read.as_micros(),
            self.persist.as_micros(),
            self.resume.as_micros(),
        )?;
        if let Some((from, to)) = self.accepted_loss {
            write!(f, "; the loss of sequences {from} to {to} was accepted")?;
        }
        if let Some(ahead) = self.ahead {
            write!(
                f,
                "; the backup had read up to {}, the unit holds up to {}",
                ahead.read_sequence, ahead.unit_sequence
            )?;
        }
        Ok(())
    }
}
