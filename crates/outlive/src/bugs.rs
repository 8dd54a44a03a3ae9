//! Mistakes made on purpose, so that the simulation shows that it notices them. Only with the feature `deliberate-bugs`.

use std::sync::Mutex;

static MADE: Mutex<Vec<Bug>> = Mutex::new(Vec::new());

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A set is committed when it is placed, whatever its level.
    CommitBeforePersist,
    /// Sets that another incarnation of the unit lost are not written again.
    ReconnectRewritesNothing,
    /// What a new owner found is not made persistent.
    TakeoverWithoutPersist,
    /// A follower misses what comes while it looks for a snapshot that was cleared.
    ClearIsMissed,
}

impl Bug {
    /// Makes it from now on, in this process.
    pub fn switch_on(self) {
        if let Ok(mut made) = MADE.lock() {
            made.push(self);
        }
    }

    pub(crate) fn is_made(self) -> bool {
        MADE.lock().is_ok_and(|made| made.contains(&self))
    }
}
