//! What is to be saved: a file, or standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress;

/// A file, or standard input where it is `-` or missing.
pub(crate) struct Input {
    name: PathBuf,
    len: Option<u64>,
    reader: Box<dyn Read>,
}

impl Input {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Self::stdin(),
            Some(path) if path.as_os_str() == "-" => Self::stdin(),
            Some(path) => Self::file(path).map_err(|error| Failure::file("read", path, &error)),
        }
    }

    fn stdin() -> Result<Self, Failure> {
        if stdin_was_closed() {
            return Err(Failure::usage(
                "standard input is closed: name a file, or feed what is to be stored",
            ));
        }
        Ok(Self {
            name: "standard input".into(),
            len: None,
            reader: Box::new(io::stdin()),
        })
    }

    fn file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        // Pipes and devices say 0.
        let len = about.is_file().then_some(about.len());
        Ok(Self {
            name: path.to_owned(),
            len,
            reader: Box::new(file),
        })
    }

    /// Reads everything; stops with a failure as soon as there is more than `limit_bytes`.
    pub(crate) fn read_all(mut self, limit_bytes: u64, region: &str) -> Result<Vec<u8>, Failure> {
        let too_large = || {
            let message = format!(
                "{} holds more than the {limit_bytes} bytes that one set of region {region} may have",
                self.name.display()
            );
            Failure::new(Exit::Full, message)
        };
        if self.len.is_some_and(|len| len > limit_bytes) {
            return Err(too_large());
        }
        let bar = progress::bytes("reading", self.len);
        let mut bytes = Vec::new();
        let counted = progress::Counted {
            inner: &mut self.reader,
            bar: bar.clone(),
        };
        let result = counted
            .take(limit_bytes.saturating_add(1))
            .read_to_end(&mut bytes);
        bar.finish_and_clear();
        result.map_err(|error| Failure::file("read", &self.name, &error))?;
        if bytes.len() as u64 > limit_bytes {
            Err(too_large())
        } else {
            Ok(bytes)
        }
    }

    /// Reads line by line.
    pub(crate) fn lines(self) -> Lines {
        Lines {
            name: self.name,
            reader: BufReader::new(self.reader),
            number: 0,
        }
    }
}

/// Lines as bytes, without their ends.
pub(crate) struct Lines {
    name: PathBuf,
    reader: BufReader<Box<dyn Read>>,
    number: u64,
}

impl Lines {
    /// The next line, or `None` at the end. A line longer than `limit_bytes` is a failure.
    pub(crate) fn next(&mut self, limit_bytes: u64) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        self.number += 1;
        // One more for the line's end, one more to notice what is too long.
        let mut limited = (&mut self.reader).take(limit_bytes.saturating_add(2));
        let read = limited
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::file("read", &self.name, &error))?;
        if read == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() as u64 > limit_bytes {
            let message = format!(
                "line {} of {} is longer than the {limit_bytes} bytes that one set may have",
                self.number,
                self.name.display()
            );
            return Err(Failure::new(Exit::Full, message));
        }
        Ok(Some(line))
    }
}

/// Whether this process was started without a standard input. The runtime then opens `/dev/null` in its place, for reading and
/// writing, which nobody does who means it: a set without a byte is not to replace another because of that.
fn stdin_was_closed() -> bool {
    use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, makedev};

    const NULL: (u32, u32) = (1, 3);
    let stdin = io::stdin();
    let is_null = fstat(&stdin).is_ok_and(|there| {
        FileType::from_raw_mode(there.st_mode) == FileType::CharacterDevice
            && there.st_rdev == makedev(NULL.0, NULL.1)
    });
    is_null && fcntl_getfl(&stdin).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &'static str) -> Input {
        Input {
            name: "test".into(),
            len: None,
            reader: Box::new(text.as_bytes()),
        }
    }

    #[test]
    fn everything_is_read_up_to_the_limit() {
        assert_eq!(input("12345").read_all(5, "a"), Ok(b"12345".to_vec()));
        assert_eq!(input("").read_all(5, "a"), Ok(Vec::new()));
        let failure = input("123456").read_all(5, "a").unwrap_err();
        assert_eq!(failure.exit, Exit::Full);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_before_it_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, b"123456").unwrap();
        let failure = Input::open(Some(file.path()))
            .unwrap()
            .read_all(5, "a")
            .unwrap_err();
        assert_eq!(failure.exit, Exit::Full);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Input::open(Some(folder.path())).err().map(|failure| failure.exit),
            Some(Exit::Failure)
        );
    }

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let mut lines = input("a\n\n b \r\nlast").lines();
        let mut found = Vec::new();
        while let Some(line) = lines.next(4).unwrap() {
            found.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(found, ["a", "", " b \r", "last"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named() {
        let mut lines = input("abcd\nabcde\n").lines();
        assert_eq!(lines.next(4), Ok(Some(b"abcd".to_vec())));
        let failure = lines.next(4).unwrap_err();
        assert_eq!(failure.exit, Exit::Full);
        assert!(
            failure.message.starts_with("line 2 of test"),
            "{}",
            failure.message
        );
    }
}
