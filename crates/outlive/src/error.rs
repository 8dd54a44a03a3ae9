//! What can go wrong, and what each means.

use std::path::PathBuf;
use std::time::Duration;

use outlive_fabric::Refusal;
use outlive_layout::{Finding, ReadError, WriteError};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;
use thiserror::Error as ThisError;

use crate::Level;
use crate::link::LinkError;

/// Everything that the library refuses or fails with. Cheap to clone: one failure may end many commits.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable context file.
    #[error("context file {}: {problem}", path.display())]
    Context {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No region of that name.
    #[error("no such region: {region}")]
    NoSuchRegion {
        /// The name.
        region: String,
    },
    /// No pair of that name.
    #[error("no such pair: {pair}")]
    NoSuchPair {
        /// The name.
        pair: String,
    },
    /// A region of that name exists.
    #[error("region {region} exists already")]
    RegionExists {
        /// The name.
        region: String,
    },
    /// Another primary is alive.
    #[error("region {region} is owned by {owner} (generation {generation})")]
    Owned {
        /// The region's name.
        region: String,
        /// The owner's advertised address or label.
        owner: String,
        /// Its generation.
        generation: u64,
    },
    /// Another primary took over. Final: nothing that this one still does can change the region.
    #[error("fenced: region {region} is now at generation {generation}")]
    Fenced {
        /// The region's name.
        region: String,
        /// The generation that it is at now; 0 where it is not known.
        generation: u64,
    },
    /// Someone else took over first.
    #[error("lost the race for region {region}: it is now at generation {generation}")]
    LostRace {
        /// The region's name.
        region: String,
        /// The generation that it is at now.
        generation: u64,
    },
    /// The old connections did not confirm that they stopped, so nothing was granted.
    #[error("the old primary of region {region} could not be confirmed stopped: {reason}")]
    FenceUnconfirmed {
        /// The region's name.
        region: String,
        /// What the manager said.
        reason: String,
    },
    /// The unit has no room for the region.
    #[error("the unit is full: {reason}")]
    NoSpace {
        /// What the manager said.
        reason: String,
    },
    /// The journal is full; save a snapshot to make room.
    #[error(
        "region {region} is full: the journal has {free} bytes free and the set needs {needed}; save a snapshot to make room"
    )]
    JournalFull {
        /// The region's name.
        region: String,
        /// Bytes that the set needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The set is larger than the region can ever hold.
    #[error("a set of {bytes} bytes is larger than region {region} takes ({limit} bytes)")]
    TooLarge {
        /// The region's name.
        region: String,
        /// Bytes of the set.
        bytes: u64,
        /// Largest possible.
        limit: u64,
    },
    /// The credentials do not allow it.
    #[error("no access: {reason}")]
    NoAccess {
        /// What was said.
        reason: String,
        /// The right that was missing, where the manager named one: `reader`, `owner`, `holder` (the identity that opened
        /// this generation), `administrator`.
        missing: Option<String>,
    },
    /// The manager or the unit could not be reached.
    #[error("{what} at {address} is unreachable, tried for {:.1} s ({reason})", tried.as_secs_f64())]
    Unreachable {
        /// Manager or unit.
        what: &'static str,
        /// Where it was tried.
        address: String,
        /// For how long it was tried.
        tried: Duration,
        /// The last failure.
        reason: String,
    },
    /// A committed set does not verify any more.
    #[error("region {region}: set {sequence} is corrupt, at offset {offset}")]
    Corrupt {
        /// The region's name.
        region: String,
        /// The set; where its own header is broken, the first sequence that is missing.
        sequence: u64,
        /// Where, in bytes from the start of the region's data.
        offset: u64,
    },
    /// Sets that were committed are not in the unit any more (it lost what was only placed).
    #[error("region {region} lost the committed sets {from} to {to}")]
    Lost {
        /// The region's name.
        region: String,
        /// First lost sequence.
        from: u64,
        /// Last lost sequence.
        to: u64,
    },
    /// The unit was restarted before what was written to a raw region was made persistent.
    #[error("the unit was restarted before what was written to region {region} was persistent; read it back")]
    Restarted {
        /// The region's name.
        region: String,
    },
    /// The region is not in the checkpoint layout, or not laid out yet.
    #[error("{region} is not a checkpoint region: {reason}")]
    NotCheckpoint {
        /// The region's name.
        region: String,
        /// What was found.
        reason: String,
    },
    /// The region is not raw, or the range is not inside it.
    #[error("region {region}: {reason}")]
    Range {
        /// The region's name.
        region: String,
        /// What is wrong.
        reason: String,
    },
    /// The set asked for is not kept.
    #[error("region {region} holds no set {sequence}")]
    NoSuchSet {
        /// The region's name.
        region: String,
        /// What was asked for.
        sequence: u64,
    },
    /// The primary overwrote what was being read, each time it was tried.
    #[error("region {region} was overwritten while it was read, {tries} times in a row")]
    Overwritten {
        /// The region's name.
        region: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The unit's medium cannot promise the level that was asked for.
    #[error("the unit cannot commit as {level}: {reason}")]
    Level {
        /// What was asked for.
        level: Level,
        /// Why not.
        reason: String,
    },
    /// The unit's medium failed; it refuses everything until it is restarted and verified.
    #[error("the unit's medium failed: {reason}")]
    MediaFailed {
        /// What the unit said.
        reason: String,
    },
    /// The unit's device cannot read what was asked for; other bytes may be readable.
    #[error("region {region}: the unit's device cannot read some of it: {reason}")]
    Unreadable {
        /// The region's name.
        region: String,
        /// What the unit said.
        reason: String,
    },
    /// A bound of the unit, the manager or this library was reached.
    #[error("limit reached: {reason}")]
    Limit {
        /// Which.
        reason: String,
    },
    /// What was asked for did not come about in the time given; nothing was changed by force.
    #[error("not done in time: {reason}")]
    TimedOut {
        /// What the manager said.
        reason: String,
    },
    /// The call makes no sense as it was made.
    #[error("invalid: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// The handle was closed.
    #[error("the handle is closed")]
    Closed,
    /// The other side does not speak our protocol.
    #[error("protocol error: {reason}")]
    Protocol {
        /// What was wrong.
        reason: String,
    },
}

impl Error {
    /// Whether another primary holds the region now, so that this one must stop.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// What the manager refused with, about the region (or pair) of that name.
    pub(crate) fn from_control(error: ControlError, name: &str) -> Self {
        let region = name.to_owned();
        let ControlError {
            code,
            message: reason,
            generation,
            owner,
            missing_right,
        } = error;
        match code {
            ErrorCode::NoSuchRegion => Self::NoSuchRegion { region },
            ErrorCode::NoSuchPair => Self::NoSuchPair { pair: region },
            ErrorCode::RegionExists => Self::RegionExists { region },
            ErrorCode::Owned => Self::Owned {
                region,
                owner,
                generation,
            },
            ErrorCode::Fenced => Self::Fenced { region, generation },
            ErrorCode::LostRace => Self::LostRace { region, generation },
            ErrorCode::NoSpace => Self::NoSpace { reason },
            ErrorCode::NoAccess => Self::NoAccess {
                reason,
                missing: Some(missing_right).filter(|right| !right.is_empty()),
            },
            ErrorCode::Invalid => Self::Invalid { reason },
            ErrorCode::FenceUnconfirmed => Self::FenceUnconfirmed { region, reason },
            ErrorCode::MediaFailed => Self::MediaFailed { reason },
            ErrorCode::Limit => Self::Limit { reason },
            ErrorCode::TimedOut => Self::TimedOut { reason },
            ErrorCode::UnitUnreachable | ErrorCode::Superseded | ErrorCode::Unspecified => {
                Self::Protocol { reason }
            }
        }
    }

    /// What the layout refused to plan.
    pub(crate) fn from_write(error: WriteError, name: &str) -> Self {
        let region = name.to_owned();
        match error {
            WriteError::JournalFull {
                used,
                capacity,
                needed,
            } => Self::JournalFull {
                region,
                needed,
                free: capacity.saturating_sub(used),
            },
            WriteError::TooLarge { length, max, .. } => Self::TooLarge {
                region,
                bytes: length,
                limit: max,
            },
            WriteError::Generation { found, .. } => Self::Fenced {
                region,
                generation: found,
            },
            error => Self::Invalid {
                reason: error.to_string(),
            },
        }
    }

    /// What a layout reader found, where it was not the connection that failed.
    pub(crate) fn from_read(error: ReadError<LinkError>, name: &str) -> Self {
        let region = name.to_owned();
        match error {
            ReadError::NotACheckpoint => Self::NotCheckpoint {
                region,
                reason: error.to_string(),
            },
            ReadError::Corrupt { finding } => Self::from_finding(&finding, region),
            ReadError::Busy { attempts } => Self::Overwritten {
                region,
                tries: attempts,
            },
            ReadError::NoSuchSet { sequence } => Self::NoSuchSet { region, sequence },
            ReadError::Memory { .. } => Self::Limit {
                reason: error.to_string(),
            },
            error => Self::Protocol {
                reason: error.to_string(),
            },
        }
    }

    fn from_finding(finding: &Finding, region: String) -> Self {
        let (sequence, offset) = match finding {
            Finding::Corrupt { after, offset, .. } => (after + 1, *offset),
            Finding::SnapshotCorrupt { sequence, offset, .. }
            | Finding::SnapshotLost { sequence, offset, .. } => (*sequence, *offset),
            // What the seal was of, nobody can tell; that it was newer, nobody can rule out.
            Finding::SealLost { newest, offset, .. } => (newest + 1, *offset),
            finding => {
                return Self::Protocol {
                    reason: finding.to_string(),
                };
            }
        };
        Self::Corrupt {
            region,
            sequence,
            offset,
        }
    }

    /// What the unit refused an operation on the region of that name with.
    pub(crate) fn from_refusal(refusal: &Refusal, name: &str) -> Self {
        let region = name.to_owned();
        let reason = refusal.to_string();
        match refusal {
            Refusal::Fenced { generation } => Self::Fenced {
                region,
                generation: *generation,
            },
            Refusal::OutOfRange { .. } => Self::Range { region, reason },
            Refusal::ReadOnly | Refusal::UnknownKey { .. } | Refusal::Ticket | Refusal::Revoked => {
                Self::NoAccess {
                    reason,
                    missing: None,
                }
            }
            Refusal::NotPersistent => Self::Level {
                level: Level::Persistent,
                reason,
            },
            Refusal::Media(reason) => Self::MediaFailed {
                reason: reason.clone(),
            },
            Refusal::Unreadable(reason) => Self::Unreadable {
                region,
                reason: reason.clone(),
            },
            Refusal::Limit { .. } => Self::Limit { reason },
            _ => Self::Protocol { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_keeps_its_meaning() {
        let owned = ControlError::new(ErrorCode::Owned, "owned")
            .at_generation(7)
            .owned_by("a:1");
        let Error::Owned {
            region,
            owner,
            generation,
        } = Error::from_control(owned, "r")
        else {
            panic!("another variant");
        };
        assert_eq!((region.as_str(), owner.as_str(), generation), ("r", "a:1", 7));
        assert!(Error::from_refusal(&Refusal::Fenced { generation: 3 }, "r").is_fenced());
        let lost = Error::from_control(ControlError::new(ErrorCode::LostRace, "").at_generation(9), "r");
        assert_eq!(
            lost.to_string(),
            "lost the race for region r: it is now at generation 9"
        );
    }

    #[test]
    fn unreachable_says_for_how_long_it_was_tried() {
        let error = Error::Unreachable {
            what: "the unit",
            address: "127.0.0.1:7781".into(),
            tried: Duration::from_millis(2500),
            reason: "refused".into(),
        };
        assert_eq!(
            error.to_string(),
            "the unit at 127.0.0.1:7781 is unreachable, tried for 2.5 s (refused)"
        );
    }
}
