//! Where the committed inputs lie: `fuzz/corpus/<target>/`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::Target;

/// The longest input that is committed; `cargo xtask fuzz` makes none that is longer.
pub const MAX_INPUT_BYTES: usize = 16 << 10;

/// The folder with a folder for each target.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// A target's inputs, by name, in the order of names.
///
/// # Errors
/// The file system's; a target without a folder is one.
pub fn inputs(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder().join(target.name))? {
        let entry = entry?;
        inputs.push((
            entry.file_name().to_string_lossy().into_owned(),
            fs::read(entry.path())?,
        ));
    }
    inputs.sort();
    Ok(inputs)
}

/// Writes a target's seeds into its folder, as `seed-<name>`.
///
/// # Errors
/// The file system's.
pub fn write_seeds(target: &Target) -> io::Result<()> {
    let folder = folder().join(target.name);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in (target.seeds)() {
        fs::write(folder.join(format!("seed-{name}")), bytes)?;
    }
    Ok(())
}
