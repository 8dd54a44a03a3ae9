//! Sets on their way, and confirmations on theirs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::{Receipt, Result};

/// A set on its way. Wait for it on a thread, or await it; dropping it changes nothing for the set.
#[must_use = "a set is safe only when its commit is there"]
pub struct Commit {}

impl Commit {
    /// The set's sequence.
    pub fn sequence(&self) -> u64 {
        todo!()
    }

    /// Waits until the set and all before it are committed.
    ///
    /// # Errors
    /// What ended the primary first; then it is not known whether the set is there.
    pub fn wait(self) -> Result<Receipt> {
        todo!()
    }

    /// As [`wait`](Self::wait), but returns `None` after `timeout`; the commit can be waited for again.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_for(&self, timeout: Duration) -> Result<Option<Receipt>> {
        let _ = timeout;
        todo!()
    }
}

impl Future for Commit {
    type Output = Result<Receipt>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _ = context;
        todo!()
    }
}

/// An ownership confirmation on its way. Wait for it on a thread, or await it.
#[must_use = "ownership is confirmed only when this has succeeded"]
pub struct Confirm {}

impl Confirm {
    /// Waits for it.
    ///
    /// # Errors
    /// [`Error::Fenced`](crate::Error::Fenced), or what else ended the primary.
    pub fn wait(self) -> Result<()> {
        todo!()
    }
}

impl Future for Confirm {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _ = context;
        todo!()
    }
}
