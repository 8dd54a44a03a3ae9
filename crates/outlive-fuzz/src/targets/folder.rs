//! A folder of a target's own, for what is read from files: made once in a process, removed by nobody but the system's
//! cleaning of temporary files, since libFuzzer ends its process at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Makes it, for this process only.
pub(super) fn private(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("outlive-fuzz-files-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("temporary files can be made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it is ours");
    path
}

/// Writes a file that only we can read.
pub(super) fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("temporary files can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}
