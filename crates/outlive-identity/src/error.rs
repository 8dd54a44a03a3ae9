//! What can be wrong with certificates, keys and the folder they are in.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a certificate, a key or a folder of them cannot be used. Never shows a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// What was tried: "read", "write".
        act: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others than its owner can read a key, or change what is trusted.
    #[error(
        "{} is open to others (mode {mode:04o}): run `chmod {want} {}`, and replace what somebody may have read or changed",
        path.display(), path.display()
    )]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        want: &'static str,
    },
    /// Somebody else owns a key, or what is trusted, and can change it.
    #[error(
        "{} belongs to user {owner}, who can change it, and this runs as user {us}: put files of your own there, or run `chown {us} {}` if you know who made it",
        path.display(), path.display()
    )]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// The user it belongs to.
        owner: u32,
        /// The present one.
        us: u32,
    },
    /// Files of one's own authority are missing: nothing can be made in their place.
    #[error(
        "{} has an authority's certificate without its key, so nothing is made there; missing: {missing}",
        folder.display()
    )]
    Missing {
        /// The trust folder.
        folder: PathBuf,
        /// The files' names.
        missing: String,
    },
    /// The folder holds certificates but not the authority that signed them.
    #[error("{} holds certificates but no {missing}: put it back, or start with an empty folder", folder.display())]
    NoAuthority {
        /// The trust folder.
        folder: PathBuf,
        /// The file's name.
        missing: &'static str,
    },
    /// Not a certificate, key or list of revoked certificates that can be used.
    #[error("{what} cannot be used: {problem}")]
    Unusable {
        /// What: a file's path, or what it is for.
        what: String,
        /// Why not.
        problem: String,
    },
    /// The signing request does not hold.
    #[error("the signing request cannot be used: {0}")]
    Request(String),
    /// A name of Outlive's own processes.
    #[error("{0} belongs to Outlive's own processes: names that begin with system/ are not issued")]
    Reserved(String),
    /// The system has no randomness.
    #[error("no randomness for a key or a serial number")]
    Randomness,
}

impl IdentityError {
    pub(crate) fn file<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::File {
            act,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn unusable<T: ToString>(what: &str) -> impl FnOnce(T) -> Self + use<'_, T> {
        move |problem| Self::Unusable {
            what: what.to_owned(),
            problem: problem.to_string(),
        }
    }
}
