//! A file of whole lines that stays bounded, whatever happens to it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who may read the log besides its owner: nobody.
const MODE: u32 = 0o600;

/// The file that lines are appended to.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    max_bytes: u64,
    keep: usize,
    file: File,
    /// Whole lines in it.
    len: u64,
    /// Bytes of a line that was cut off may lie behind them.
    torn: bool,
}

impl LineFile {
    pub(crate) fn open(path: &Path, max_bytes: u64, keep: usize) -> io::Result<Self> {
        let (file, len, torn) = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            max_bytes,
            keep,
            file,
            len,
            torn,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line, whole or not at all. A file that was renamed or removed by somebody is made anew.
    pub(crate) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_at_its_path() {
            self.reopen()?;
        }
        if self.len > 0 && self.len + line.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        if self.torn {
            self.cut()?;
        }
        self.torn = true;
        if let Err(error) = self.file.write_all(line) {
            // If this fails as well the next line tries again.
            let _ = self.cut();
            return Err(error);
        }
        self.len += line.len() as u64;
        self.torn = false;
        Ok(())
    }

    /// Opens the file at the path anew, if it is another one by now.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.len, self.torn) = open(&self.path)?;
        Ok(())
    }

    fn is_at_its_path(&self) -> bool {
        let same =
            |here: fs::Metadata, there: fs::Metadata| (here.dev(), here.ino()) == (there.dev(), there.ino());
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(here), Ok(there)) => same(here, there),
            _ => false,
        }
    }

    /// Makes room: the oldest file goes, the others move up.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            let moved = fs::rename(self.numbered(number), self.numbered(number + 1));
            if let Err(error) = moved
                && error.kind() != ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, self.numbered(1))?;
        }
        self.reopen()
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.torn = false;
        Ok(())
    }
}

/// The file, the bytes of its whole lines, and whether others lie behind them.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    // Opening a pipe would wait for its reader.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let why = "the audit log must be an ordinary file";
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    let there = file.metadata()?;
    if there.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    let whole = whole_lines(&mut file, there.len())?;
    Ok((file, whole, whole < there.len()))
}

/// Where the last line ends that was written whole: a power cut may have left a piece behind it.
fn whole_lines(file: &mut File, len: u64) -> io::Result<u64> {
    const STEP: u64 = 4096;
    let mut end = len;
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        Read::take(&mut *file, end - start).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).expect("readable")
    }

    #[test]
    fn full_files_are_renamed_and_only_the_newest_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut file = LineFile::open(&path, 8, 2).expect("opened");
        for line in [
            b"one\n", b"two\n", b"thr\n", b"fou\n", b"fiv\n", b"six\n", b"sev\n",
        ] {
            file.append(line).expect("written");
        }
        assert_eq!(text(&path), "sev\n");
        assert_eq!(text(&folder.path().join("log.1")), "fiv\nsix\n");
        assert_eq!(text(&folder.path().join("log.2")), "thr\nfou\n");
        assert!(!folder.path().join("log.3").exists());
        // One that alone is too long is still whole.
        file.append(b"a long line\n").expect("written");
        assert_eq!(text(&path), "a long line\n");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_to_be_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut file = LineFile::open(&path, 8, 0).expect("opened");
        for line in [b"one\n", b"two\n", b"thr\n"] {
            file.append(line).expect("written");
        }
        assert_eq!(text(&path), "thr\n");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut file = LineFile::open(&path, 1 << 20, 2).expect("opened");
        file.append(b"one\n").expect("written");
        fs::rename(&path, folder.path().join("elsewhere")).expect("moved");
        file.append(b"two\n").expect("written");
        fs::remove_file(&path).expect("removed");
        file.append(b"three\n").expect("written");
        assert_eq!(text(&path), "three\n");
        assert_eq!(text(&folder.path().join("elsewhere")), "one\n");
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_not_continued() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, "whole\nhal").expect("written");
        let mut file = LineFile::open(&path, 1 << 20, 2).expect("opened");
        file.append(b"next\n").expect("written");
        assert_eq!(text(&path), "whole\nnext\n");
        let long = "x".repeat(10_000);
        fs::write(&path, format!("whole\n{long}")).expect("written");
        LineFile::open(&path, 1 << 20, 2)
            .and_then(|mut file| file.append(b"next\n"))
            .expect("written");
        assert_eq!(text(&path), "whole\nnext\n");
    }

    #[test]
    fn others_cannot_read_a_file_that_was_there_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
        LineFile::open(&path, 8, 2).expect("opened");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_ordinary_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = LineFile::open(folder.path(), 8, 2).expect_err("a folder");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}
