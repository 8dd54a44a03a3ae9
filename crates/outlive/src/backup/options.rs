//! How a backup reads, suspects and takes over.

use std::time::Duration;

use crate::{Level, OpenOptions};

/// What [`Backup::read_new`](crate::Backup::read_new) returns of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// Every snapshot as it comes: for overwrite mode, and for watching.
    #[default]
    Everything,
    /// A snapshot only at first and after an overrun: for whoever applies every update, so that a
    /// snapshot in between says nothing new.
    Updates,
}

/// How a backup behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOptions {
    /// What to return of snapshots.
    pub follow: Follow,
    /// How long the heartbeat word may stand still before the primary is suspected. Zero: never for silence.
    pub suspect_after: Duration,
    /// How often the heartbeat word is read while waiting.
    pub heartbeat: Duration,
    /// After the unit came back in a new incarnation: how long the primary has to reconnect.
    pub grace: Duration,
    /// For how long an unreachable unit is tried. `None`: the session's.
    pub retry_for: Option<Duration>,
    /// Most payload bytes that one [`read_new`](crate::Backup::read_new) returns, beyond one set.
    pub batch_bytes: u64,
}

impl Default for BackupOptions {
    /// Five missed heartbeats of the default 100 ms; a process that restarts its connection needs less.
    fn default() -> Self {
        Self {
            follow: Follow::Everything,
            suspect_after: Duration::from_millis(500),
            heartbeat: Duration::from_millis(100),
            grace: Duration::from_secs(2),
            retry_for: None,
            batch_bytes: 64 << 20,
        }
    }
}

/// What to load, see [`Backup::load`](crate::Backup::load).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The set of this sequence: a snapshot that is still kept, or an update.
    pub sequence: Option<u64>,
    /// Only what has a higher sequence.
    pub after: Option<u64>,
    /// What the last clear hid: the last verified snapshot and its updates.
    pub cleared: bool,
}

/// How to take over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakeoverOptions {
    /// How the new primary behaves; `take_over` is implied. `level` is also the level at which what
    /// was read is made persistent first.
    pub open: OpenOptions,
    /// Go on past corruption; the certificate records what was lost.
    pub accept_loss: bool,
    /// From the last sign of life to the decision, for the certificate, where the caller measured it
    /// itself; else what [`await_failure`](crate::Backup::await_failure) measured.
    pub detect: Option<Duration>,
}

impl TakeoverOptions {
    /// Takes over as `owner`.
    pub fn owner(owner: impl Into<String>) -> Self {
        Self {
            open: OpenOptions {
                owner: owner.into(),
                ..OpenOptions::default()
            },
            ..Self::default()
        }
    }

    /// Commits at `level` from now on.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.open.level = Some(level);
        self
    }
}
