//! `outlive fsck`: checks a closed medium.

use std::path::{Path, PathBuf};

use clap::Args;
use outlive_media::MediaError;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::fsck::{self, NotChecked};
use crate::invocation::Invocation;
use crate::output::count;

/// Check a closed medium
///
/// Superblock copies, catalog, extents outside the medium or shared, every region's metadata page, control block
/// copies, seals and journal. (An extent that the catalog does not name is free, so none can leak.) Changes
/// nothing without --repair; with it, copies that do not verify are rewritten from those that do.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// The medium: a path, or file:PATH
    medium: String,
    /// Rewrite bad copies from good ones, and say which
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let path = self.path()?;
        let report = fsck::check(&path, self.repair).map_err(|NotChecked(error)| not_checked(&error))?;
        invocation.output.result(&report.json(), || report.text())?;
        match (report.problems(), report.mended()) {
            (0, _) => Ok(()),
            (problems, 0) => Err(Failure::new(
                Exit::Found,
                format!("{}: {}", path.display(), count(problems as u64, "problem")),
            )),
            (problems, mended) => {
                let message = format!(
                    "{}: {} left, {mended} repaired",
                    path.display(),
                    count(problems as u64, "problem")
                );
                Err(Failure::new(Exit::Found, message))
            }
        }
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        if self.medium.starts_with("memory:") {
            return Err(Failure::usage(
                "a memory medium ends with its process: there is nothing to check",
            ));
        }
        let path = self.medium.strip_prefix("file:").unwrap_or(&self.medium);
        // What `serve --media` takes is taken here, too.
        let path = path.rsplit_once(",size=").map_or(path, |(path, _)| path);
        Ok(Path::new(path).to_owned())
    }
}

fn not_checked(error: &MediaError) -> Failure {
    match error {
        // Its own words tell how to make one, which is not what a check is for.
        MediaError::Missing { path } => Failure::new(
            Exit::MediaFailed,
            format!("there is no medium at {}", path.display()),
        ),
        error => Failure::from_error(Exit::MediaFailed, error),
    }
}
