//! `outlive clear`: a region's sets vanish from ordinary reads.

use clap::Args;

use crate::confirm;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::opening::Opening;
use crate::views;

/// Clear a region's sets
///
/// They vanish from ordinary reads. The last verified checkpoint can still be loaded with `load --cleared` until
/// a newer one is verified.
#[derive(Debug, Args)]
pub(crate) struct Clear {
    /// The region
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Clear {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        session.describe(&self.name)?;
        confirm::destroying(&format!("clearing every set of region {}", self.name), self.yes)?;
        let primary = session.primary(&self.name, &self.opening.options())?;
        let receipt = primary.clear()?.wait()?;
        primary.close()?;
        invocation.output.result(&views::receipt(&receipt), || {
            format!("cleared region {}: {receipt}", self.name)
        })
    }
}
