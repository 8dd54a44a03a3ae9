//! Media as people name it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::superblock::{BLOCK, MIN_MEDIA_LEN};
use crate::{FileMedia, MediaError, Medium, MemoryMedia, Stored, Superblock, Volume};

/// `file:PATH,size=1GiB` (size needed on first use only) or `memory:size=1GiB`.
///
/// ```
/// use outlive_media::MediaSpec;
///
/// let spec: MediaSpec = "file:/var/lib/outlive/unit.media,size=1GiB".parse()?;
/// assert_eq!(spec, MediaSpec::File { path: "/var/lib/outlive/unit.media".into(), size: Some(1 << 30) });
/// # Ok::<(), outlive_media::SpecError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaSpec {
    /// A file: placed survives the unit's process, persistent survives loss of power.
    File {
        /// Where.
        path: PathBuf,
        /// Bytes, a multiple of 4 KiB. `None`: whatever it has; it must exist.
        size: Option<u64>,
    },
    /// Anonymous memory: survives the clients, not the unit.
    Memory {
        /// Bytes, a multiple of 4 KiB.
        size: u64,
    },
}

impl MediaSpec {
    /// Opens the medium, making it if needed.
    ///
    /// # Errors
    /// See [`FileMedia::open`] and [`MemoryMedia::new`].
    pub fn open(&self) -> Result<(Medium, Stored), MediaError> {
        Ok(match self {
            Self::File { path, size } => {
                let (media, stored) = FileMedia::open(path, *size)?;
                (Medium::new(Box::new(media)), stored)
            }
            Self::Memory { size } => (Medium::new(Box::new(MemoryMedia::new(*size)?)), Stored::New),
        })
    }

    /// Opens the medium as a volume: formats it on first use, raises its incarnation.
    ///
    /// # Errors
    /// See [`Volume::start`]; [`MediaError::SizeMismatch`] where a size is given that an existing medium does not have.
    pub fn open_volume(&self) -> Result<Volume, MediaError> {
        let (medium, stored) = self.open()?;
        if let (
            Self::File {
                path,
                size: Some(asked),
            },
            Stored::Before,
        ) = (self, stored)
        {
            let found = Superblock::read(&medium)?.geometry.media_len;
            if found != *asked {
                return Err(MediaError::SizeMismatch {
                    path: path.clone(),
                    asked: *asked,
                    found,
                });
            }
        }
        Volume::start(medium, stored)
    }
}

impl FromStr for MediaSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Some(rest) = text.strip_prefix("memory:") {
            let size = rest
                .strip_prefix("size=")
                .ok_or_else(|| SpecError::Form(text.to_owned()))?;
            return Ok(Self::Memory {
                size: parse_size(size)?,
            });
        }
        let rest = text
            .strip_prefix("file:")
            .ok_or_else(|| SpecError::Form(text.to_owned()))?;
        // The last one: a path may hold commas.
        let (path, size) = match rest.rsplit_once(",size=") {
            Some((path, size)) => (path, Some(parse_size(size)?)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(SpecError::Form(text.to_owned()));
        }
        Ok(Self::File {
            path: path.into(),
            size,
        })
    }
}

impl fmt::Display for MediaSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                size: Some(size),
            } => write!(f, "file:{},size={size}", path.display()),
            Self::File { path, size: None } => write!(f, "file:{}", path.display()),
            Self::Memory { size } => write!(f, "memory:size={size}"),
        }
    }
}

/// Why a media specification is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Neither form.
    #[error("\"{0}\" is not a medium; write file:PATH,size=1GiB or memory:size=1GiB")]
    Form(String),
    /// The size is not a number of bytes.
    #[error("\"{0}\" is not a size; write for example 512MiB or 1GiB")]
    Size(String),
    /// Less than a superblock, a catalog and some regions need.
    #[error("a medium needs at least {minimum} bytes (8 MiB), not {size}")]
    TooSmall {
        /// Bytes given.
        size: u64,
        /// Bytes needed.
        minimum: u64,
    },
}

/// Rounds up to whole blocks of 4 KiB.
fn parse_size(text: &str) -> Result<u64, SpecError> {
    let bad = || SpecError::Size(text.to_owned());
    let size = parse_size::parse_size(text).map_err(|_| bad())?;
    let size = size
        .checked_next_multiple_of(BLOCK)
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(bad)?;
    if size < MIN_MEDIA_LEN {
        return Err(SpecError::TooSmall {
            size,
            minimum: MIN_MEDIA_LEN,
        });
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let parse = |text: &str| text.parse::<MediaSpec>();
        assert_eq!(parse("memory:size=8MiB"), Ok(MediaSpec::Memory { size: 8 << 20 }));
        assert_eq!(
            parse("file:a,b,size=1GiB"),
            Ok(MediaSpec::File {
                path: "a,b".into(),
                size: Some(1 << 30)
            })
        );
        assert_eq!(
            parse("file:x"),
            Ok(MediaSpec::File {
                path: "x".into(),
                size: None
            })
        );
        assert_eq!(
            parse("memory:size=10000001"),
            Ok(MediaSpec::Memory { size: 10_002_432 })
        );
        for spec in ["file:x,size=8388608", "file:x", "memory:size=8388608"] {
            assert_eq!(parse(spec).map(|spec| spec.to_string()), Ok(spec.to_owned()));
        }
    }

    #[test]
    fn bad_forms_say_what_is_wrong() {
        let error = |text: &str| text.parse::<MediaSpec>().expect_err("bad");
        for text in ["", "file:", "file:,size=1GiB", "memory:", "memory:1GiB", "disk:x"] {
            assert_eq!(error(text), SpecError::Form(text.to_owned()));
        }
        for size in [
            "",
            "x",
            "-1",
            "18446744073709551615",
            "9EiB",
            "99999999999999999999999GiB",
        ] {
            assert_eq!(
                error(&format!("memory:size={size}")),
                SpecError::Size(size.to_owned())
            );
        }
        assert_eq!(
            error("memory:size=1MiB"),
            SpecError::TooSmall {
                size: 1 << 20,
                minimum: MIN_MEDIA_LEN
            }
        );
    }
}
