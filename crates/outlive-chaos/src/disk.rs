//! The disk of unit and manager: a small file system of its own that can be filled to the last byte.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the folder that holds a run; the process's id follows.
pub(crate) const FOLDER_PREFIX: &str = "outlive-chaos-";
const FILLER: &str = "filler";
/// Filled in pieces of this size, then byte by byte.
const PIECE: usize = 64 << 10;

/// A mounted file system in memory; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of this size there.
    pub(crate) fn mount(path: &Path, bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={bytes},mode=700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "outlive-chaos"])
            .arg(path)
            .output()?;
        if mount.status.success() {
            Ok(Self {
                path: path.to_owned(),
            })
        } else {
            let why = String::from_utf8_lossy(&mount.stderr).trim().to_owned();
            Err(io::Error::other(why))
        }
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut filler = File::create(self.path.join(FILLER))?;
        let zeros = vec![0; PIECE];
        let mut piece = PIECE;
        while piece > 0 {
            match filler.write(&zeros[..piece]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => piece /= 2,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Frees what was filled.
    pub(crate) fn free(&self) {
        // It may not be full.
        let _ = std::fs::remove_file(self.path.join(FILLER));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Unmounts disks that a run left when it was killed: by our folder's name, and only if that process is gone. The folders stay: they are
/// what one looks at.
pub(crate) fn unmount_stale() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if maker(path).is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            unmount(Path::new(path));
        }
    }
}

/// The id of the process that mounted it, if it was one of ours.
fn maker(path: &str) -> Option<u32> {
    let folder = path.strip_suffix("/disk")?.rsplit('/').next()?;
    folder
        .strip_prefix(FOLDER_PREFIX)?
        .split('-')
        .next()?
        .parse()
        .ok()
}

fn unmount(path: &Path) {
    let done = Command::new("umount").arg(path).status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("a file system was left behind at {}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_disks_are_known_as_such() {
        assert_eq!(maker("/tmp/outlive-chaos-12-a1b2/disk"), Some(12));
        for foreign in [
            "/tmp/outlive-chaos-12-a1b2",
            "/tmp/x/disk",
            "/tmp/outlive-chaos-x/disk",
            "/disk",
        ] {
            assert_eq!(maker(foreign), None, "{foreign}");
        }
    }
}
