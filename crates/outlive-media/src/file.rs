//! The `file` backend: placed means in the kernel's page cache, persistent means flushed to the device.
//!
//! Bytes go in with `pwrite` and come out with `pread`: that makes the flush cheaper than stores through a
//! mapping (`docs/decisions.md`). The file is allocated whole when it is made, so that a lack of space
//! shows then and not under a checkpoint. A lock on it (`flock`) keeps a second unit out.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock};
use rustix::io::Errno;

use crate::media::check_range;
use crate::superblock::{BLOCK, FORMATTING, MIN_MEDIA_LEN};
use crate::{Media, MediaError, Persistence, Stored};

/// How much is written at once where the file system cannot allocate or zero a range itself.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A file of fixed length, locked as long as this lives.
pub struct FileMedia {
    file: File,
    path: PathBuf,
    len: u64,
}

impl FileMedia {
    /// Opens the medium at `path` for a unit. If there is none, makes one of `size` bytes. An empty file, or one whose making was
    /// interrupted, counts as none.
    ///
    /// What an earlier process placed is flushed, and the page cache dropped, so that what is read from then
    /// on is what the device holds, even where an earlier flush failed.
    ///
    /// # Errors
    /// [`MediaError::Missing`], [`MediaError::ReadOnly`], [`MediaError::InUse`], [`MediaError::NoRoom`],
    /// [`MediaError::TooSmall`], [`MediaError::Open`].
    pub fn open(path: &Path, size: Option<u64>) -> Result<(Self, Stored), MediaError> {
        let opening = |source| MediaError::Open {
            path: path.to_owned(),
            source,
        };
        check_kind(path)?;
        let (file, made) = open_or_make(path, size.is_some())?;
        lock(&file, path, FlockOperation::NonBlockingLockExclusive)?;
        let found = file.metadata().map_err(opening)?;
        if found.len() > 0 && !is_formatting(&file).map_err(opening)? {
            file.sync_data().map_err(opening)?;
            // Advice only: where the kernel cannot follow it, reads are as good as the cache is.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
            return Ok((
                Self {
                    file,
                    path: path.to_owned(),
                    len: found.len(),
                },
                Stored::Before,
            ));
        }
        let size = size.ok_or_else(|| MediaError::Missing {
            path: path.to_owned(),
        })?;
        let outcome = allocate(&file, path, size);
        if outcome.is_err() && made {
            // Nothing was in it. If it cannot be removed, it is a medium whose making was interrupted.
            let _ = std::fs::remove_file(path);
        }
        outcome?;
        Ok((
            Self {
                file,
                path: path.to_owned(),
                len: size,
            },
            Stored::New,
        ))
    }

    /// Opens an existing medium that no unit has open, to check it: only reading, or to `repair` it.
    ///
    /// # Errors
    /// [`MediaError::Missing`], [`MediaError::ReadOnly`], [`MediaError::InUse`], [`MediaError::Open`].
    pub fn open_for_check(path: &Path, repair: bool) -> Result<Self, MediaError> {
        let opening = |source| MediaError::Open {
            path: path.to_owned(),
            source,
        };
        check_kind(path)?;
        let file = OpenOptions::new().read(true).write(repair).open(path);
        let file = file.map_err(|source| open_error(path, source))?;
        lock(&file, path, FlockOperation::NonBlockingLockExclusive)?;
        let found = file.metadata().map_err(opening)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            len: found.len(),
        })
    }
}

impl Media for FileMedia {
    fn len(&self) -> u64 {
        self.len
    }

    fn persistence(&self) -> Persistence {
        Persistence::AfterFlush
    }

    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        let len = bytes.len() as u64;
        check_range(at, len, self.len)?;
        self.file
            .write_all_at(bytes, at)
            .map_err(|source| MediaError::Store { at, len, source })
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let len = into.len() as u64;
        check_range(at, len, self.len)?;
        self.file
            .read_exact_at(into, at)
            .map_err(|source| MediaError::Load { at, len, source })
    }

    fn receive(&self, at: u64, len: u64, _: BorrowedFd<'_>) -> Result<Option<io::Result<usize>>, MediaError> {
        check_range(at, len, self.len)?;
        Ok(None)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        check_range(at, len, self.len)?;
        write_zeros(&self.file, at, len).map_err(|source| MediaError::Store { at, len, source })
    }

    /// Fails, too, where somebody has cut the file off under the unit: what lay behind is gone, and writing there again
    /// would only hide it.
    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()?;
        let now = self.file.metadata()?.len();
        if now < self.len {
            let why = format!("somebody truncated it from {} to {now} bytes", self.len);
            return Err(io::Error::other(why));
        }
        Ok(())
    }
}

/// Before it is opened: opening a pipe would wait for its other end, and a device may act on it.
fn check_kind(path: &Path) -> Result<(), MediaError> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => Err(MediaError::Open {
            path: path.to_owned(),
            source: io::Error::new(ErrorKind::InvalidInput, "not a regular file"),
        }),
        // What cannot be looked at is not opened either, with a better reason.
        _ => Ok(()),
    }
}

/// Says whether the file was made just now.
fn open_or_make(path: &Path, make: bool) -> Result<(File, bool), MediaError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && make => {
            // Others on this machine have no business in it.
            match options.create_new(true).mode(0o600).open(path) {
                // Somebody else made it just now: the lock decides.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => open_or_make(path, false),
                made => made
                    .map(|file| (file, true))
                    .map_err(|source| open_error(path, source)),
            }
        }
        opened => opened
            .map(|file| (file, false))
            .map_err(|source| open_error(path, source)),
    }
}

fn open_error(path: &Path, source: io::Error) -> MediaError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound
            if path
                .parent()
                .is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir()) =>
        {
            MediaError::Missing { path }
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if path.exists() => {
            MediaError::ReadOnly { path }
        }
        _ => MediaError::Open { path, source },
    }
}

fn lock(file: &File, path: &Path, kind: FlockOperation) -> Result<(), MediaError> {
    flock(file, kind).map_err(|error| match error {
        Errno::WOULDBLOCK => MediaError::InUse {
            path: path.to_owned(),
        },
        error => MediaError::Open {
            path: path.to_owned(),
            source: error.into(),
        },
    })
}

fn is_formatting(file: &File) -> io::Result<bool> {
    let mut begin = [0; FORMATTING.len()];
    match file.read_exact_at(&mut begin, 0) {
        Ok(()) => Ok(begin == FORMATTING),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the file all its space, marked as unfinished until both superblock copies are written.
fn allocate(file: &File, path: &Path, size: u64) -> Result<(), MediaError> {
    if size < MIN_MEDIA_LEN {
        return Err(MediaError::TooSmall {
            size,
            minimum: MIN_MEDIA_LEN,
        });
    }
    let allocated = || -> io::Result<()> {
        file.set_len(0)?;
        file.write_all_at(&FORMATTING, 0)?;
        file.sync_all()?;
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(Errno::OPNOTSUPP) => write_zeros(file, BLOCK, size - BLOCK)?,
            outcome => outcome?,
        }
        file.sync_all()?;
        // Else a power cut might leave a file that no folder names.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    allocated().map_err(|source| match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => MediaError::NoRoom {
            path: path.to_owned(),
            size,
            source,
        },
        _ => MediaError::Open {
            path: path.to_owned(),
            source,
        },
    })
}

/// Writes them out rather than asking the file system to remember a range as zero: that would make every first
/// write there, and its flush, dearer (`docs/decisions.md`).
fn write_zeros(file: &File, at: u64, len: u64) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let now = usize::try_from(len - done).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..now], at + done)?;
        done += now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = MIN_MEDIA_LEN;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn space_is_allocated_when_it_is_made() {
        use std::os::unix::fs::MetadataExt;

        let folder = folder();
        let (media, stored) = FileMedia::open(&folder.path().join("m"), Some(SIZE)).unwrap();
        assert_eq!((media.len(), stored), (SIZE, Stored::New));
        assert!(media.file.metadata().unwrap().blocks() * 512 >= SIZE);
        media.store(SIZE - 3, b"end").unwrap();
        media.zero(SIZE - 5000, 4999).unwrap();
        assert!(media.file.metadata().unwrap().blocks() * 512 >= SIZE);
        let mut found = [1; 5000];
        media.load(SIZE - 5000, &mut found).unwrap();
        assert!(found[..4999].iter().all(|byte| *byte == 0));
        assert_eq!(found[4999], b'd');
    }

    #[test]
    fn a_medium_is_open_once() {
        let folder = folder();
        let path = folder.path().join("m");
        let held = FileMedia::open(&path, Some(SIZE)).unwrap();
        assert!(matches!(
            FileMedia::open(&path, None),
            Err(MediaError::InUse { .. })
        ));
        assert!(matches!(
            FileMedia::open_for_check(&path, false),
            Err(MediaError::InUse { .. })
        ));
        drop(held);
        FileMedia::open_for_check(&path, false).unwrap();
    }

    #[test]
    fn what_is_missing_small_or_no_file_is_told_apart() {
        let folder = folder();
        let path = folder.path().join("m");
        assert!(matches!(
            FileMedia::open(&path, None),
            Err(MediaError::Missing { .. })
        ));
        assert!(!path.exists());
        assert!(matches!(
            FileMedia::open(&path, Some(4096)),
            Err(MediaError::TooSmall { .. })
        ));
        assert!(!path.exists(), "a failed making leaves nothing behind");
        assert!(matches!(
            FileMedia::open(folder.path(), Some(SIZE)),
            Err(MediaError::Open { .. })
        ));
        let nowhere = folder.path().join("none/m");
        assert!(matches!(
            FileMedia::open(&nowhere, Some(SIZE)),
            Err(MediaError::Open { .. })
        ));
    }

    #[test]
    fn no_room_shows_when_it_is_made() {
        let folder = folder();
        let path = folder.path().join("m");
        // More than any file system holds.
        let error = FileMedia::open(&path, Some(1 << 62)).err().unwrap();
        assert!(matches!(error, MediaError::NoRoom { .. }), "{error:?}");
        assert!(!path.exists());
    }

    #[test]
    fn a_refused_file_that_is_there_is_read_only() {
        let folder = folder();
        let path = folder.path().join("m");
        let denied = || io::Error::from(ErrorKind::PermissionDenied);
        assert!(matches!(open_error(&path, denied()), MediaError::Open { .. }));
        File::create(&path).unwrap();
        assert!(matches!(open_error(&path, denied()), MediaError::ReadOnly { .. }));
    }

    #[test]
    fn an_interrupted_making_is_begun_again() {
        let folder = folder();
        let path = folder.path().join("m");
        drop(FileMedia::open(&path, Some(SIZE)).unwrap());
        // No superblock was written: still unfinished.
        assert!(matches!(
            FileMedia::open(&path, None),
            Err(MediaError::Missing { .. })
        ));
        let (media, stored) = FileMedia::open(&path, Some(2 * SIZE)).unwrap();
        assert_eq!((media.len(), stored), (2 * SIZE, Stored::New));
    }
}
