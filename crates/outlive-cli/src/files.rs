//! Files that commands write.

use std::path::Path;

use crate::exit::Exit;
use crate::failure::Failure;

/// Finds out before anything else is done whether a file can be written at the end. Makes its folder. `option` is how
/// another place is named.
pub(crate) fn check_writable(what: &str, path: &Path, option: &str) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(unwritable(what, path, "it is a folder", option));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The file is replaced in one step by one that is written beside it, so its folder counts, not its own mode.
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::Builder::new().prefix(".outlive.").tempfile_in(folder))
        .map(drop)
        .map_err(|error| unwritable(what, path, error, option))
}

/// A file that cannot be written, and how to name another.
pub(crate) fn unwritable(what: &str, path: &Path, why: impl std::fmt::Display, option: &str) -> Failure {
    let message = format!(
        "cannot write {what} {}: {why}; name another place with {option}",
        path.display()
    );
    Failure::new(Exit::Failure, message)
}
