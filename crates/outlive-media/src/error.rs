//! Why a medium cannot be used.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// What went wrong with a medium.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The range lies outside the medium.
    #[error("range at {at}, {len} bytes, lies outside the medium's {media_len} bytes")]
    OutOfRange {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// The medium's length in bytes.
        media_len: u64,
    },
    /// The file cannot be opened or made.
    #[error("cannot open the medium {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such file and no size was given to make one of.
    #[error("there is no medium at {path}; give a size (file:{path},size=1GiB) to make one")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file may not be written.
    #[error("the medium {path} is read-only")]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("the medium {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The device has no room for the size asked for.
    #[error("there is no room for a medium of {size} bytes at {path}")]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Bytes asked for.
        size: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else. It was left alone.
    #[error("{medium} is not an Outlive medium; it was left untouched")]
    NotOurs {
        /// Which.
        medium: String,
    },
    /// Formatted by a version this one does not know.
    #[error("{medium} has format version {found}; this program knows up to {known}")]
    Version {
        /// Which.
        medium: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The file is not as long as it was formatted.
    #[error("{medium} is {found} bytes long, but was formatted with {expected}")]
    WrongLength {
        /// Which.
        medium: String,
        /// Bytes found.
        found: u64,
        /// Bytes in the superblock.
        expected: u64,
    },
    /// A size was given that is not the medium's.
    #[error(
        "the medium {path} has {found} bytes, but size={asked} was asked for; leave the size out to open it as it is"
    )]
    SizeMismatch {
        /// The file.
        path: PathBuf,
        /// Bytes asked for.
        asked: u64,
        /// Bytes it has.
        found: u64,
    },
    /// No copy of the superblock is valid.
    #[error("both superblock copies of {medium} are damaged (first: {first}; second: {second})")]
    Superblock {
        /// Which.
        medium: String,
        /// What is wrong with the first copy.
        first: String,
        /// What is wrong with the second.
        second: String,
    },
    /// The medium is too small to be formatted.
    #[error("a medium needs at least {minimum} bytes, not {size}")]
    TooSmall {
        /// Bytes given.
        size: u64,
        /// Bytes needed.
        minimum: u64,
    },
    /// The catalog's region could not be laid out.
    #[error("the catalog's region cannot be formatted: {0}")]
    Catalog(String),
    /// No memory, or no randomness.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Reading failed.
    #[error("reading {len} bytes at {at} of the medium failed")]
    Load {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed; the range holds old and new bytes mixed.
    #[error("writing {len} bytes at {at} of the medium failed")]
    Store {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A flush failed, now or before. Everything is refused until the medium is opened anew.
    #[error("a flush of the medium failed ({reason}); it refuses everything until it is opened anew")]
    Poisoned {
        /// The device's error.
        reason: String,
    },
    /// The medium cannot promise what was asked for.
    #[error("this medium cannot promise persistence")]
    NotPersistent,
}

impl MediaError {
    /// Whether the device says that it cannot read these very bytes, while others can be. A file that got too short, a
    /// device that went away or a process without memory say nothing of the bytes: those are not taken for damaged.
    pub fn is_unreadable(&self) -> bool {
        let Self::Load { source, .. } = self else {
            return false;
        };
        let of_the_bytes = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::HWPOISON];
        Errno::from_io_error(source).is_some_and(|error| of_the_bytes.contains(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_of_the_bytes_themselves_makes_them_unreadable() {
        let load = |source| MediaError::Load {
            at: 0,
            len: 1,
            source,
        };
        let unreadable = |error: Errno| load(error.into()).is_unreadable();
        assert!(unreadable(Errno::IO) && unreadable(Errno::HWPOISON));
        for error in [Errno::NOMEM, Errno::NXIO, Errno::NODEV, Errno::STALE] {
            assert!(!unreadable(error), "{error}");
        }
        assert!(!load(io::ErrorKind::UnexpectedEof.into()).is_unreadable());
        assert!(!MediaError::NotPersistent.is_unreadable());
    }
}
