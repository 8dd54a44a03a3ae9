//! The seam to a backend.

use std::io;
use std::os::fd::BorrowedFd;

use crate::MediaError;

/// What a medium can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Bytes survive the clients, not the unit.
    PlacedOnly,
    /// Placed bytes survive the unit's process; after [`Media::flush`] they survive loss of power.
    AfterFlush,
}

/// One range of bytes that survives its users, from several threads at once.
///
/// Every call checks its range. Two calls that touch the same bytes at the same time leave each byte as
/// one of them wrote it, in no promised order; whoever reads them must verify what they mean.
pub trait Media: Send + Sync {
    /// Length in bytes; never changes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all. No medium in use has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strongest promise.
    fn persistence(&self) -> Persistence;

    /// What and where it is, for people.
    fn describe(&self) -> String;

    /// Places `bytes` at `at`.
    ///
    /// # Errors
    /// [`MediaError::OutOfRange`] (nothing was placed), [`MediaError::Store`].
    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError>;

    /// Reads `into.len()` bytes at `at`.
    ///
    /// # Errors
    /// [`MediaError::OutOfRange`], [`MediaError::Load`].
    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError>;

    /// Receives up to `len` bytes from `socket` straight into the medium at `at`, with one system call;
    /// says how many came (0: end of stream), or with what error. `None` where the backend cannot: then receive into
    /// a buffer and [`store`](Self::store).
    ///
    /// # Errors
    /// [`MediaError::OutOfRange`].
    fn receive(
        &self,
        at: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<io::Result<usize>>, MediaError>;

    /// Places zeros.
    ///
    /// # Errors
    /// [`MediaError::OutOfRange`], [`MediaError::Store`].
    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError>;

    /// Makes everything persistent that was placed before this call. Use it through
    /// [`FlushGroup`](crate::FlushGroup), which shares it and remembers a failure.
    ///
    /// # Errors
    /// The device's. From then on nothing about the medium's bytes is certain.
    fn flush(&self) -> io::Result<()>;
}

/// Checks that `len` bytes at `at` lie inside `media_len`.
pub(crate) fn check_range(at: u64, len: u64, media_len: u64) -> Result<(), MediaError> {
    match at.checked_add(len) {
        Some(end) if end <= media_len => Ok(()),
        _ => Err(MediaError::OutOfRange { at, len, media_len }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overflow() {
        assert!(check_range(0, 10, 10).is_ok());
        assert!(check_range(10, 0, 10).is_ok());
        for (at, len) in [
            (1, 10),
            (11, 0),
            (u64::MAX, 1),
            (u64::MAX, u64::MAX),
            (5, u64::MAX - 4),
        ] {
            assert!(check_range(at, len, 10).is_err());
        }
    }
}
