//! What a user implements.

use std::fmt;

use thiserror::Error;

/// A state machine that a pair keeps alive.
///
/// The primary applies requests in one order, journals them, and answers once they are committed;
/// the backup applies the same requests in the same order. So [`apply`](Self::apply) must be
/// *deterministic*: it may depend on the state, the request and `at`, and on nothing else (no
/// clock, no random number, no iteration over a hash map whose order differs between processes).
///
/// All methods run on one thread of the member, one at a time. A panic ends the member as a crash
/// would; its successor then applies the same requests, so refuse bad input with a reply instead.
pub trait Service: Send + 'static {
    /// Whether `request` leaves the state as it is. Read-only requests are not journalled; they are
    /// answered by [`query`](Self::query). Must depend on the request's bytes alone.
    fn is_read_only(&self, request: &[u8]) -> bool;

    /// Carries out `request` and returns its reply. `at` is journalled with the request and never
    /// goes back, not even over a takeover by a host whose clock is behind.
    fn apply(&mut self, request: &[u8], at: Moment) -> Vec<u8>;

    /// Answers a read-only request.
    fn query(&self, request: &[u8], at: Moment) -> Vec<u8>;

    /// The whole state as bytes. No request is applied meanwhile, so keep it quick.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by what [`snapshot`](Self::snapshot) returned in this or another process;
    /// an empty slice stands for the state before the first request.
    ///
    /// # Errors
    /// [`RestoreError`] where the bytes are not such a snapshot.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// The pair's journalled time: the same in every member that applies the same request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Milliseconds since 1970-01-01 UTC by the clock of the primary that accepted the request, or
    /// the latest earlier moment where that clock is behind.
    pub unix_ms: u64,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.unix_ms)
    }
}

/// A service's snapshot could not be restored.
#[derive(Debug, Error)]
#[error("the service cannot restore its snapshot: {0}")]
pub struct RestoreError(pub String);

impl RestoreError {
    /// Says why.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}
