//! Sets on their way, and confirmations on theirs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::engine::Target;
use super::shared::Shared;
use super::snapshot::SnapshotOutcome;
use crate::{Level, Receipt, Result};

/// A set on its way. Wait for it on a thread, or await it; dropping it changes nothing for the set.
///
/// The thread that waits drives the connection itself; the first of several does it for the others. When
/// it is awaited, the primary's own thread drives.
#[must_use = "a set is safe only when its commit is there"]
pub struct Commit {
    pub(super) pending: Pending,
    pub(super) sequence: u64,
    pub(super) bytes: u64,
    pub(super) began: Instant,
    /// Set for a snapshot.
    pub(super) snapshot: Option<SnapshotOutcome>,
}

/// An ownership confirmation on its way. Wait for it on a thread, or await it.
#[must_use = "ownership is confirmed only when this has succeeded"]
pub struct Confirm {
    pub(super) pending: Pending,
}

/// A target and, once it was polled, its place among the wakers.
pub(super) struct Pending {
    shared: Arc<Shared>,
    target: Target,
    registered: bool,
}

impl Commit {
    /// The set's sequence.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Waits until the set and all before it are committed.
    ///
    /// # Errors
    /// What ended the primary first; then it is not known whether the set is there.
    pub fn wait(self) -> Result<Receipt> {
        let decided = self.pending.wait(None);
        // Without a timeout the wait ends only when it is decided.
        decided
            .unwrap_or(Err(crate::Error::Closed))
            .and_then(|()| self.receipt())
    }

    /// As [`wait`](Self::wait), but returns `None` after `timeout`; the commit can be waited for again.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_for(&self, timeout: Duration) -> Result<Option<Receipt>> {
        match self.pending.wait(Some(timeout)) {
            Some(decided) => decided.and_then(|()| self.receipt()).map(Some),
            None => Ok(None),
        }
    }

    fn receipt(&self) -> Result<Receipt> {
        let shared = &self.pending.shared;
        let engine = shared.lock();
        let incarnation = match (&self.snapshot, self.pending.target) {
            (Some(outcome), _) => outcome.get().cloned().unwrap_or(Err(crate::Error::Closed))?,
            (None, Target::Set(index)) => engine.incarnation_of(index),
            (None, _) => engine.incarnation,
        };
        Ok(Receipt {
            region: shared.id,
            level: engine.level,
            method: if engine.level == Level::Persistent {
                engine.method
            } else {
                None
            },
            incarnation,
            generation: shared.generation,
            sequence: self.sequence,
            bytes: self.bytes,
            took: self.began.elapsed(),
        })
    }
}

impl Future for Commit {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.pending.poll(context) {
            Poll::Ready(decided) => Poll::Ready(decided.and_then(|()| self.receipt())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Confirm {
    /// Waits for it.
    ///
    /// # Errors
    /// [`Error::Fenced`](crate::Error::Fenced), or what else ended the primary.
    pub fn wait(self) -> Result<()> {
        self.pending.wait(None).unwrap_or(Err(crate::Error::Closed))
    }
}

impl Future for Confirm {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll(context)
    }
}

impl Pending {
    pub(super) fn new(shared: &Arc<Shared>, target: Target) -> Self {
        Self {
            shared: Arc::clone(shared),
            target,
            registered: false,
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        self.shared.wait(self.target, timeout)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut engine = self.shared.lock();
        if let Some(decided) = engine.outcome(self.target) {
            return Poll::Ready(decided);
        }
        engine.wakers.insert(self.target, context.waker().clone());
        self.registered = true;
        drop(engine);
        self.shared.work.notify_all();
        Poll::Pending
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.registered {
            self.shared.lock().wakers.remove(&self.target);
        }
    }
}
