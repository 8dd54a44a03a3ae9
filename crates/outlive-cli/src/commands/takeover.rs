//! `outlive takeover`: the old primary is fenced, what was unread is read.

use clap::Args;
use outlive::{SetKind, TakeoverOptions};

use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::views;

/// Take a region over from its primary: fence it, read what was unread
///
/// Whoever owned the region is stopped at the unit, confirmed so, and can change nothing any more. Prints the
/// certificate, then gives the region up, so that anyone can open it.
#[derive(Debug, Args)]
pub(crate) struct Takeover {
    /// The region
    name: String,
    /// Go on past sets that are corrupt; the certificate records what was lost
    #[arg(long)]
    accept_loss: bool,
}

impl Takeover {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let mut backup = session.backup(&self.name)?;
        let mut options = TakeoverOptions::owner(format!("outlive process {}", std::process::id()));
        options.accept_loss = self.accept_loss;
        let taken = backup.takeover(&options)?;
        let mut value = views::certificate(&taken.certificate);
        let kept = taken
            .unread
            .iter()
            .filter(|set| matches!(set.kind, SetKind::Snapshot | SetKind::Update));
        value["sets"] = kept.map(views::set).collect();
        let text = taken.certificate.to_string();
        taken.primary.close()?;
        invocation.output.result(&value, || text)
    }
}
