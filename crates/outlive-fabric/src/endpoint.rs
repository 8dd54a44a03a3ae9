//! The initiator's side of a connection.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use thiserror::Error;

use crate::{PersistMethod, Refusal, RemoteKey, SessionInfo};

/// Numbers the operations posted on one endpoint, from 1 upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What became of one posted operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The operation.
    pub op: OpId,
    /// Its outcome, or why the target refused it.
    pub result: Result<Outcome, Refusal>,
}

/// What a completed operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A write: its bytes are visible in the target's memory.
    Placed,
    /// A persist: every write posted before it on this endpoint survives loss of power.
    Persistent(PersistMethod),
    /// A read: the bytes asked for.
    Read(Vec<u8>),
}

/// One connection of an initiator to a target.
///
/// Used from one thread at a time. `post_*` may coalesce: bytes are certain to be on their way only
/// after the next [`poll`](Self::poll), [`wait`](Self::wait) or [`flush`](Self::flush). A post blocks
/// only while the window of outstanding operations is full, never longer than the provider's
/// operation time-out, and collects completions meanwhile. Dropping closes the connection.
pub trait Endpoint: Send {
    /// What the target told at admission.
    fn session(&self) -> &SessionInfo;

    /// Posts a write of the concatenated `parts` at `offset` of `key`. The bytes are copied or sent
    /// before it returns.
    ///
    /// # Errors
    /// [`FabricError`] when the connection is lost; a refusal comes as a completion.
    fn post_write(&mut self, key: RemoteKey, offset: u64, parts: &[IoSlice<'_>])
    -> Result<OpId, FabricError>;

    /// Posts a read of `len` bytes at `offset` of `key`.
    ///
    /// # Errors
    /// As for [`post_write`](Self::post_write).
    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError>;

    /// Posts a request that every write posted before it on this endpoint within the range be made
    /// persistent.
    ///
    /// # Errors
    /// As for [`post_write`](Self::post_write).
    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError>;

    /// Sends what was coalesced.
    ///
    /// # Errors
    /// [`FabricError`] when the connection is lost.
    fn flush(&mut self) -> Result<(), FabricError>;

    /// Flushes, then appends the completions that are there to `completions` without waiting, in
    /// the order of posting. Returns how many.
    ///
    /// # Errors
    /// [`FabricError`] when the connection is lost; completions that arrived before are delivered first.
    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError>;

    /// As [`poll`](Self::poll), but waits for at least one completion, up to `timeout`: spins for
    /// a bounded time, then blocks. Returns 0 after the timeout.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError>;

    /// Operations posted whose completion was not yet delivered.
    fn outstanding(&self) -> usize;

    /// A descriptor that becomes readable when a completion may have arrived or the connection was
    /// lost, where the provider has one, so that a caller can wait on several things.
    fn readiness(&self) -> Option<BorrowedFd<'_>>;

    /// The longest single operation in bytes that this endpoint takes.
    fn max_op_bytes(&self) -> u32;
}

/// The connection is lost, or could not be made. What was in flight has an unknown outcome:
/// reconnect, read, compare; never repeat blindly.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FabricError {
    /// The target could not be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Whoever answered could not prove that it knows the ticket's secret and means the same by it. Nothing
    /// was proven to it.
    #[error(
        "{address} is not the unit that the ticket is for: it cannot prove that it knows the ticket's secret"
    )]
    Impostor {
        /// Where.
        address: String,
    },
    /// The target refused the connection.
    #[error("the unit refused the connection: {0}")]
    Refused(Refusal),
    /// The target stopped this connection and said why (a fence, a limit).
    #[error("the unit closed the connection: {0}")]
    Stopped(Refusal),
    /// The connection broke.
    #[error("connection lost")]
    Lost(#[source] std::io::Error),
    /// No progress within the operation time-out.
    #[error("no answer from the unit within {ms} ms")]
    TimedOut {
        /// The bound.
        ms: u64,
    },
    /// The target's bytes are not the protocol.
    #[error("the unit broke the protocol: {0}")]
    Protocol(String),
}
