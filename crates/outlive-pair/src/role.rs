//! How a member is, as others see it.

use std::fmt;
use std::time::Duration;

/// What a member does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Finding out whether there is a primary.
    Starting,
    /// Following the primary.
    Backup,
    /// Following, and not sure that the primary lives.
    Suspecting,
    /// Fencing the old primary and reading what is unread.
    TakingOver,
    /// Serving.
    Primary,
    /// Finishing what it accepted, to hand over to its backup.
    HandingOver,
    /// Ended; see [`RoleView::stopped`].
    Stopped,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Backup => "backup",
            Self::Suspecting => "suspecting",
            Self::TakingOver => "taking over",
            Self::Primary => "primary",
            Self::HandingOver => "handing over",
            Self::Stopped => "stopped",
        })
    }
}

/// A member's role and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleView {
    /// What the member does.
    pub role: Role,
    /// Advertised address of the primary, where it is known; this member's own when it is primary.
    pub primary: Option<String>,
    /// Generation that the region is owned under, as far as this member knows.
    pub generation: u64,
    /// Why the member has stopped; `None` while it runs and after it left as asked.
    pub stopped: Option<String>,
    /// This member's latest takeover.
    pub last_takeover: Option<Takeover>,
}

/// What a takeover cost and found (the certificate in numbers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    /// Generation whose access was revoked.
    pub fenced_generation: u64,
    /// Generation from then on.
    pub generation: u64,
    /// Last sequence recovered.
    pub last_sequence: u64,
    /// Sets that the backup had not read when it took over.
    pub unread_sets: u64,
    /// Their bytes.
    pub unread_bytes: u64,
    /// Sets that were torn, so never acknowledged.
    pub torn_sets: u64,
    /// From the last sign of life to the suspicion.
    pub detect: Duration,
    /// Making the generation durable and stopping the old primary's access.
    pub fence: Duration,
    /// Reading what was unread, and making it persistent.
    pub read: Duration,
    /// Applying it and beginning to serve.
    pub resume: Duration,
    /// From the last sign of life to serving.
    pub total: Duration,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

/// Counters of one member since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberMetrics {
    /// Requests accepted as primary.
    pub requests: u64,
    /// Of these, those that changed nothing: reads, and requests that were sent again.
    pub reads: u64,
    /// Sets appended as primary.
    pub batches: u64,
    /// Ownership confirmations posted for reads.
    pub confirms: u64,
    /// Replies released.
    pub replies: u64,
    /// Requests that ended with [`CallError::OutcomeUnknown`](crate::CallError::OutcomeUnknown).
    pub outcomes_unknown: u64,
    /// Replies held back at present.
    pub held_replies: u64,
    /// Sets applied as backup.
    pub applied: u64,
    /// Snapshots saved.
    pub snapshots: u64,
    /// Takeovers carried out.
    pub takeovers: u64,
    /// Last sequence committed (primary) or applied (backup).
    pub sequence: u64,
    /// Bytes used in the region's journal.
    pub journal_used_bytes: u64,
    /// Bytes that the region's journal holds.
    pub journal_capacity_bytes: u64,
}
