//! Sets as readers get them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetKind {
    /// A full set: replaces everything before it.
    Snapshot,
    /// An appended set: a change to what was before it.
    Update,
    /// The sets before it are cleared. Empty.
    Clear,
    /// A new primary continues here. Empty; only [`Backup::log`](crate::Backup::log) shows it.
    Takeover,
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Update => "update",
            Self::Clear => "clear",
            Self::Takeover => "takeover",
        })
    }
}

/// One set, verified: its seal and its checksums were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Set {
    /// What it is.
    pub kind: SetKind,
    /// Generation of the primary that wrote it.
    pub generation: u64,
    /// Its place in the order of sets. Strictly increasing, not gapless.
    pub sequence: u64,
    /// The writer's clock when it was written, in milliseconds since 1970. For people; nothing rests on it.
    pub unix_ms: u64,
    /// The payload, as the primary gave it.
    pub bytes: Vec<u8>,
}

/// A state: the newest full set and the changes after it, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sets {
    /// The newest full set, if there is one.
    pub snapshot: Option<Set>,
    /// Updates after it, in order of sequence.
    pub updates: Vec<Set>,
}

impl Sets {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.updates.is_empty()
    }

    /// Highest sequence among them, 0 where there is none.
    pub fn last_sequence(&self) -> u64 {
        self.updates
            .last()
            .or(self.snapshot.as_ref())
            .map_or(0, |set| set.sequence)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Set> {
        self.snapshot.iter().chain(&self.updates)
    }
}

/// What the log says about one set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetInfo {
    /// What it is.
    pub kind: SetKind,
    /// Generation of the primary that wrote it.
    pub generation: u64,
    /// Its place in the order of sets.
    pub sequence: u64,
    /// The writer's clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Whether it is good.
    pub finding: Finding,
}

/// What checking a set found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Seal and checksums verify.
    Verified,
    /// Committed once, and its bytes do not verify any more.
    Corrupt {
        /// Where, in bytes from the start of the region's data.
        offset: u64,
    },
    /// Begun and never committed.
    Torn,
}

/// Nanoseconds to milliseconds.
const NS_PER_MS: u64 = 1_000_000;

impl From<outlive_layout::Set> for Set {
    fn from(set: outlive_layout::Set) -> Self {
        Self {
            kind: SetKind::from(set.kind),
            generation: set.generation,
            sequence: set.sequence,
            unix_ms: set.time_ns / NS_PER_MS,
            bytes: set.payload,
        }
    }
}

impl From<outlive_layout::SetKind> for SetKind {
    fn from(kind: outlive_layout::SetKind) -> Self {
        match kind {
            outlive_layout::SetKind::Snapshot => Self::Snapshot,
            outlive_layout::SetKind::Clear => Self::Clear,
            outlive_layout::SetKind::Takeover => Self::Takeover,
            // Readers never return wraps.
            outlive_layout::SetKind::Update | outlive_layout::SetKind::Wrap => Self::Update,
        }
    }
}

impl SetInfo {
    pub(crate) fn verified(set: outlive_layout::Set) -> Self {
        Self {
            kind: SetKind::from(set.kind),
            generation: set.generation,
            sequence: set.sequence,
            unix_ms: set.time_ns / NS_PER_MS,
            bytes: set.length,
            finding: Finding::Verified,
        }
    }
}

/// A reader's finding as a line of the log; `None` for what laps and resizes leave behind.
pub(crate) fn findings(found: &outlive_layout::Finding) -> Option<SetInfo> {
    use outlive_layout::Finding as Found;
    let (kind, generation, sequence, finding) = match found {
        Found::Corrupt { offset, after, .. } => (
            SetKind::Update,
            0,
            after + 1,
            Finding::Corrupt { offset: *offset },
        ),
        Found::SnapshotCorrupt {
            offset,
            generation,
            sequence,
            ..
        } => (
            SetKind::Snapshot,
            *generation,
            *sequence,
            Finding::Corrupt { offset: *offset },
        ),
        Found::SnapshotLost { sequence, offset, .. } => (
            SetKind::Snapshot,
            0,
            *sequence,
            Finding::Corrupt { offset: *offset },
        ),
        Found::SealLost { newest, offset, .. } => (
            SetKind::Snapshot,
            0,
            newest + 1,
            Finding::Corrupt { offset: *offset },
        ),
        Found::Torn { after, .. } => (SetKind::Update, 0, after + 1, Finding::Torn),
        Found::SealBroken { .. } => (SetKind::Snapshot, 0, 0, Finding::Torn),
        _ => return None,
    };
    Some(SetInfo {
        kind,
        generation,
        sequence,
        unix_ms: 0,
        bytes: 0,
        finding,
    })
}

/// Now, in nanoseconds since 1970, as it is written into sets.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
