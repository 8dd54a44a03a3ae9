//! How a pair is to behave.

use std::time::Duration;

use outlive::{Level, RegionSpec};
use thiserror::Error;

/// What a member is told at its start. Both members of a pair get the same, but for `advertise`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PairConfig {
    /// Name of the pair and of its region.
    pub pair: String,
    /// How the region is made if it does not exist; `None`: it must exist.
    pub region: Option<RegionSpec>,
    /// Where this member's clients reach it, as told to the other member and to clients.
    pub advertise: String,
    /// Level that a commit must reach; `None`: the strongest that the unit's medium offers.
    pub level: Option<Level>,
    /// How often the primary shows that it lives. Broken connections are noticed at once; this
    /// bounds how long a silent host goes unnoticed.
    pub heartbeat: Duration,
    /// Silence after which the backup takes over. Counts only while its own reads succeed.
    pub suspect_after: Duration,
    /// How often a backup reads what is new. While nothing is, it looks less often, up to once a heartbeat (or 50 ms,
    /// where that is shorter), and as often as this again after the first new set. What it has not read when the
    /// primary fails, the takeover reads.
    pub follow_every: Duration,
    /// How long a backup waits for the primary to come back after the unit itself was restarted.
    pub restart_grace: Duration,
    /// Bounds on remembered replies.
    pub replies: ReplyBounds,
    /// Bounds on requests under way.
    pub flow: FlowBounds,
    /// A snapshot is saved when this share of the journal is used: above 0, at most 0.9.
    pub snapshot_at: f64,
    /// When a pair that keeps failing stops.
    pub crash_loop: CrashLoop,
}

impl PairConfig {
    /// The defaults for a pair whose region exists or is made with `region`.
    pub fn new(pair: impl Into<String>, advertise: impl Into<String>, region: Option<RegionSpec>) -> Self {
        Self {
            pair: pair.into(),
            region,
            advertise: advertise.into(),
            level: None,
            heartbeat: Duration::from_millis(20),
            suspect_after: Duration::from_millis(200),
            follow_every: Duration::from_millis(5),
            restart_grace: Duration::from_secs(2),
            replies: ReplyBounds::default(),
            flow: FlowBounds::default(),
            snapshot_at: 0.5,
            crash_loop: CrashLoop::default(),
        }
    }

    /// Checks that the values make sense together.
    ///
    /// # Errors
    /// [`ConfigError`] naming what does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |why: &str| Err(ConfigError(why.to_owned()));
        if self.pair.is_empty() {
            return refuse("the pair's name is empty");
        }
        if self.advertise.is_empty() {
            return refuse("the advertised address is empty: the other member could not name this one");
        }
        if self.heartbeat.is_zero() || self.follow_every.is_zero() {
            return refuse("heartbeat and follow_every must be longer than nothing");
        }
        if self.suspect_after < self.heartbeat * 3 {
            return refuse("suspect_after must be at least three heartbeats, or one late one is a takeover");
        }
        if !(self.snapshot_at > 0.0 && self.snapshot_at <= 0.9) {
            return refuse("snapshot_at must be above 0 and at most 0.9");
        }
        if self.replies.sessions == 0 || self.replies.replies_per_session == 0 || self.replies.bytes == 0 {
            return refuse("the bounds on remembered replies must be at least 1");
        }
        if self.flow.queued_requests == 0 || self.flow.batch_requests == 0 || self.flow.batches_in_flight == 0
        {
            return refuse("the bounds on requests under way must be at least 1");
        }
        if self.crash_loop.takeovers == 0 {
            return refuse("crash_loop.takeovers must be at least 1");
        }
        Ok(())
    }
}

/// Bounds on the replies that are remembered for clients that ask again. Part of the replicated
/// state: both members of a pair must use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyBounds {
    /// Client sessions; opening one more evicts the one that was idle longest.
    pub sessions: usize,
    /// Latest replies remembered per session: as many requests as a client may have under way.
    pub replies_per_session: usize,
    /// Bytes of all remembered replies; beyond it, sessions that were idle longest are evicted.
    pub bytes: usize,
}

impl Default for ReplyBounds {
    /// 10,000 sessions, 64 replies each, 16 MiB in all.
    fn default() -> Self {
        Self {
            sessions: 10_000,
            replies_per_session: 64,
            bytes: 16 << 20,
        }
    }
}

/// Bounds on requests under way, so that memory stays bounded and replies come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowBounds {
    /// Requests waiting to be batched; callers wait beyond it.
    pub queued_requests: usize,
    /// Requests in one set.
    pub batch_requests: usize,
    /// Bytes of requests in one set; also the longest request.
    pub batch_bytes: usize,
    /// Sets appended and not yet committed.
    pub batches_in_flight: usize,
}

impl Default for FlowBounds {
    /// 4096 requests queued; 1024 requests or 1 MiB a set; 8 sets in flight.
    fn default() -> Self {
        Self {
            queued_requests: 4096,
            batch_requests: 1024,
            batch_bytes: 1 << 20,
            batches_in_flight: 8,
        }
    }
}

/// A pair whose members take over, without the one before having closed, at least `takeovers`
/// times within `window` stops with a message instead of going on for ever. The times are part of
/// the replicated state, so a member that dies does not forget them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// Takeovers without a clean end.
    pub takeovers: u32,
    /// Within this time.
    pub window: Duration,
}

impl Default for CrashLoop {
    /// 10 in one minute.
    fn default() -> Self {
        Self {
            takeovers: 10,
            window: Duration::from_secs(60),
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the pair's configuration is not usable: {0}")]
pub struct ConfigError(pub String);
