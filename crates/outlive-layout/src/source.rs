//! Where a reader reads from, and how reading fails.

use thiserror::Error;

use crate::Finding;

/// The bytes of one region's data, as a reader sees them: a fabric connection, a file, a vector.
pub trait Source {
    /// Why bytes could not be read.
    type Error: std::error::Error + 'static;

    /// Fills `into` with the bytes from `offset` on. Other writers may be at work meanwhile, so what
    /// it sees need not be of one moment.
    ///
    /// # Errors
    /// When they could not be read; `into` is then not looked at.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Whether `error` says that some of these very bytes cannot be read, because the device reports an error there,
    /// while others can. Readers take such bytes for damaged, name them, and go on with the rest; at any other
    /// error they stop.
    fn is_unreadable(_error: &Self::Error) -> bool {
        false
    }

    /// Called before bytes that could not be read are asked for again: the place to wait a moment, for a device that
    /// fails only while its path changes.
    fn pause(&mut self) {}
}

impl<S: Source + ?Sized> Source for &mut S {
    type Error = S::Error;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read_at(offset, into)
    }

    fn is_unreadable(error: &Self::Error) -> bool {
        S::is_unreadable(error)
    }

    fn pause(&mut self) {
        (**self).pause();
    }
}

/// So many zero bytes, or an error where memory does not go so far: a set may be larger than the process that reads it.
pub(crate) fn zeroed<E: std::error::Error + 'static>(len: usize) -> Result<Vec<u8>, ReadError<E>> {
    let room = Vec::<u8>::new().try_reserve_exact(len);
    room.map_err(|_| ReadError::Memory { bytes: len as u64 })?;
    // Asked for as zeroes the system gives pages when they are touched, which filling them here would do.
    Ok(vec![0; len])
}

/// Why a region could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError<E: std::error::Error + 'static> {
    /// The source failed.
    #[error("reading {len} bytes at offset {offset} failed")]
    Source {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Why.
        #[source]
        source: E,
    },
    /// Neither control block copy verifies.
    #[error("this is not a checkpoint region, or both copies of its control block are damaged")]
    NotACheckpoint,
    /// Committed data is damaged or lost. Nothing was returned in its place.
    #[error("{finding}")]
    Corrupt {
        /// What and where.
        finding: Finding,
    },
    /// The writer overwrote what was being read, each time it was tried.
    #[error("the region changed under the reader {attempts} times in a row")]
    Busy {
        /// Bound that was reached.
        attempts: u32,
    },
    /// This process has no memory for a set, which is none of the region's fault.
    #[error(
        "no memory for {bytes} bytes of a set: a limit of this process or its host leaves no room for them"
    )]
    Memory {
        /// Bytes wanted at once.
        bytes: u64,
    },
    /// No set of that sequence is kept.
    #[error("no set with sequence {sequence} is kept")]
    NoSuchSet {
        /// Asked for.
        sequence: u64,
    },
}

/// How often something is looked at before it is believed that the device cannot read it.
pub(crate) const LOOKS_AT_UNREADABLE: usize = 3;

/// Whether reading failed for some bytes only, as [`Source::is_unreadable`] says.
pub(crate) fn is_unreadable<S: Source>(error: &ReadError<S::Error>) -> bool {
    matches!(error, ReadError::Source { source, .. } if S::is_unreadable(source))
}
