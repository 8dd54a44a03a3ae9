//! Mistakes made on purpose, so that the simulation shows that it notices them. Only with the feature `deliberate-bugs`.

use std::sync::Mutex;

static MADE: Mutex<Vec<Bug>> = Mutex::new(Vec::new());

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Access is granted before the owner before is fenced.
    NoFence,
    /// Calls are answered before the catalog is persistent.
    ReplyBeforePersist,
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
