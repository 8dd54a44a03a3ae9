//! Why a run could not be carried out; what it finds is not an error, but stands in its report.

use std::io;

use crate::lab::LabError;

/// A run that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// There are no hosts to be had here.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// There is no disk to be had that can be filled.
    #[error("a small file system could not be mounted")]
    Disk(#[source] io::Error),
    /// Something of the system.
    #[error("the system refused")]
    System(#[from] io::Error),
    /// Preparations failed.
    #[error("cannot begin: {0}")]
    Setup(String),
    /// Something does not come, although nothing is wrong any more.
    #[error("{what} did not come within a minute: {state}")]
    Stuck {
        /// What was awaited.
        what: &'static str,
        /// What everybody last said.
        state: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl ChaosError {
    /// Whether it could not even begin, for lack of something on this machine.
    pub fn is_missing_something(&self) -> bool {
        matches!(self, Self::Lab(_) | Self::Disk(_))
    }
}
