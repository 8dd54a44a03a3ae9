//! `outlive save`: a snapshot replaces what the region held.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::input::Input;
use crate::invocation::Invocation;
use crate::opening::Opening;
use crate::{progress, views};

/// Save a snapshot: it replaces what the region held
///
/// Returns when the snapshot is committed; prints its receipt.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The region
    name: String,
    /// What to save; standard input where it is - or missing
    file: Option<PathBuf>,
    #[command(flatten)]
    opening: Opening,
}

impl Save {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        // Before the input is read: nobody types a gigabyte into a region that is not there.
        let limit_bytes = session.describe(&self.name)?.max_snapshot;
        let bytes = Input::open(self.file.as_deref())?.read_all(limit_bytes, &self.name)?;
        let primary = session.primary(&self.name, &self.opening.options())?;
        let spinner = progress::spinner("committing");
        let receipt = primary.save(bytes).and_then(|commit| commit.wait());
        spinner.finish_and_clear();
        let receipt = receipt?;
        primary.close()?;
        invocation
            .output
            .result(&views::receipt(&receipt), || receipt.to_string())
    }
}
