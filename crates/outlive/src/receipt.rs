//! What a commit reached.

use std::fmt;
use std::time::Duration;

use outlive_fabric::{PersistMethod, RegionId};

use crate::Level;

/// Proof of one commit: which set, at what level, reached by which method.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The region.
    pub region: RegionId,
    /// The level reached.
    pub level: Level,
    /// How persistence was reached; `None` where the level is *placed*.
    pub method: Option<PersistMethod>,
    /// The unit's incarnation that confirmed.
    pub incarnation: u64,
    /// The owner's generation.
    pub generation: u64,
    /// Sequence of the set; it and every set before it are committed.
    pub sequence: u64,
    /// Payload bytes of the set.
    pub bytes: u64,
    /// From the call that wrote the set to its confirmation being seen.
    pub took: Duration,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "set {} ({} bytes) of generation {} is {}",
            self.sequence, self.bytes, self.generation, self.level
        )?;
        match self.method {
            Some(PersistMethod::TargetFlush) => write!(f, " (flushed by the unit)")?,
            None => {}
        }
        write!(
            f,
            ", incarnation {}, in {} us",
            self.incarnation,
            self.took.as_micros()
        )
    }
}
