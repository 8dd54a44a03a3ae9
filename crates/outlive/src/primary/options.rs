//! How a region is opened for writing.

use std::time::Duration;

use crate::Level;

/// How a checkpoint region is opened for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Take the region over from an owner that is alive.
    pub take_over: bool,
    /// What to tell others about this owner: an address that its clients can use, or a label.
    pub owner: String,
    /// Level of its commits; `None`: the strongest that the unit's medium offers.
    pub level: Option<Level>,
    /// How often the heartbeat word is written. Zero: never.
    pub heartbeat: Duration,
    /// Go on past corruption: what is lost is named in the log, and for a takeover in its certificate.
    pub accept_loss: bool,
    /// For how long a lost unit is tried before the primary ends with `Unreachable`. `None`: the session's.
    pub retry_for: Option<Duration>,
}

impl Default for OpenOptions {
    /// Heartbeats every 100 ms: often enough to bound the detection of a silent host well below a second,
    /// and no load.
    fn default() -> Self {
        Self {
            take_over: false,
            owner: String::new(),
            level: None,
            heartbeat: Duration::from_millis(100),
            accept_loss: false,
            retry_for: None,
        }
    }
}
