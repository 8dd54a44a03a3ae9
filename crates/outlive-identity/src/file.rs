//! Files that only their owner may read.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::IdentityError;

/// Longest file read: many certificates, or a list of many thousand that were revoked.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Bits that let others than the owner read or change.
const OTHERS: u32 = 0o077;
/// Bits that let everybody change what is trusted.
const OTHERS_CHANGE: u32 = 0o002;
/// The superuser.
const ROOT: u32 = 0;

/// Reads a file that everybody may see; refuses it where everybody may change it.
pub(crate) fn read(path: &Path) -> Result<String, IdentityError> {
    let failed = || IdentityError::file("read", path);
    let file = fs::File::open(path).map_err(failed())?;
    let mode = file.metadata().map_err(failed())?.permissions().mode() & 0o7777;
    if mode & OTHERS_CHANGE != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
            want: "o-w",
        });
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(failed())?;
    Ok(text)
}

/// Reads a private key; refuses it where others can read it, too.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let failed = || IdentityError::file("read", path);
    let mut file = fs::File::open(path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    check_owner(path, metadata.uid(), geteuid().as_raw())?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
            want: "600",
        });
    }
    // Room for all of it at once: a text that grew would leave copies behind that nobody wipes.
    let room = usize::try_from(metadata.len().min(MAX_FILE_BYTES)).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(room + 1));
    (&mut file)
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(failed())?;
    Ok(text)
}

/// Replaces a file in one step, so that whoever reads it sees the old one or the new one, whole.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), IdentityError> {
    let temporary = || {
        let mut name = OsString::from(".");
        name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        // A leftover, or what somebody put there to have the key written into it.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(temporary),
        }
    };
    let temporary = temporary().map_err(IdentityError::file("write", path))?;
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        // Whatever the process's mask took away.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(|error| {
        // A part of a key is not to lie about where the disk is full, nor to keep it full.
        let _ = fs::remove_file(&temporary);
        IdentityError::file("write", path)(error)
    })
}

/// Makes a folder that only its owner may enter; one that is there is refused where others may change it.
pub(crate) fn private_folder(path: &Path) -> Result<(), IdentityError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(IdentityError::file("make", path))?;
    check_folder(path)
}

/// Refuses a folder in which others may put or remove files.
pub(crate) fn check_folder(path: &Path) -> Result<(), IdentityError> {
    let metadata = fs::metadata(path).map_err(IdentityError::file("read", path))?;
    check_owner(path, metadata.uid(), geteuid().as_raw())?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
            want: "700",
        });
    }
    Ok(())
}

/// Refuses what belongs to somebody else, who could change it at any time: a folder made in a place that all share
/// before a process of ours came, say. The superuser could do so anyway.
fn check_owner(path: &Path, owner: u32, us: u32) -> Result<(), IdentityError> {
    if owner == us || owner == ROOT {
        return Ok(());
    }
    Err(IdentityError::Foreign {
        path: path.to_owned(),
        owner,
        us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_us_or_the_superuser_is_trusted_and_nothing_else() {
        let path = Path::new("trust");
        for (owner, us) in [(1000, 1000), (ROOT, 1000), (ROOT, ROOT)] {
            check_owner(path, owner, us).unwrap();
        }
        for (owner, us) in [(1000, ROOT), (1000, 1001)] {
            let error = check_owner(path, owner, us).unwrap_err().to_string();
            assert!(
                error.contains(&format!("user {owner}")) && error.contains("chown"),
                "{error}"
            );
        }
    }
}
