//! The log, as those who write it hold it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::bounded::{Allowances, Due};
use crate::file::LineFile;
use crate::line::{self, LeftOut};
use crate::{Entry, Outcome, RefusalBounds};

/// Bounds of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// A file that would grow beyond this many bytes is renamed.
    pub max_bytes: u64,
    /// Renamed files that are kept: `.1` is the newest.
    pub keep: usize,
    /// Refusals that get lines of their own.
    pub refusals: RefusalBounds,
}

impl Default for AuditOptions {
    /// About a million lines in all.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            keep: 4,
            refusals: RefusalBounds::default(),
        }
    }
}

/// A log, or none. Cheap to clone; may be used from any thread. When the last clone is dropped, what was left out and not
/// told yet is written.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    log: Option<Arc<Log>>,
}

#[derive(Debug)]
struct Log {
    written: Mutex<Written>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Written {
    file: LineFile,
    allowances: Allowances,
    /// Lines lost since the last one that was written.
    lost: u64,
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
    /// The system's, when the file cannot be opened for appending, or is no ordinary file.
    pub fn open(path: &Path, options: AuditOptions) -> io::Result<Self> {
        let written = Written {
            file: LineFile::open(path, options.max_bytes, options.keep)?,
            allowances: Allowances::new(options.refusals, Instant::now()),
            lost: 0,
        };
        let log = Log {
            written: Mutex::new(written),
            lost: AtomicU64::new(0),
        };
        Ok(Self {
            log: Some(Arc::new(log)),
        })
    }

    /// Writes one line; a refusal only while its source has not had too many. Blocks for one short write.
    pub fn record(&self, entry: &Entry) {
        let Some(log) = &self.log else { return };
        log.record(entry, SystemTime::now(), Instant::now());
    }

    /// Goes on in the file that is at the path now: for those who rename it and say so (SIGHUP). A renamed or removed file
    /// is noticed without it, at the next line.
    ///
    /// # Errors
    /// The system's; then the lines go where they went.
    pub fn reopen(&self) -> io::Result<()> {
        match &self.log {
            Some(log) => log.written().file.reopen(),
            None => Ok(()),
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

impl Log {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, entry: &Entry, at: SystemTime, now: Instant) {
        let entry = line::clipped(entry);
        let mut written = self.written();
        for due in written.allowances.sweep(now) {
            self.write(&mut written, &due);
        }
        let due = if entry.outcome == Outcome::Refused {
            written.allowances.take(entry, at, now)
        } else {
            Some(Due {
                entry,
                at,
                suppressed: 0,
            })
        };
        if let Some(due) = due {
            self.write(&mut written, &due);
        }
    }

    fn write(&self, written: &mut Written, due: &Due) {
        let left_out = LeftOut {
            suppressed: due.suppressed,
            lost: written.lost,
        };
        let line = line::encode(&due.entry, due.at, left_out);
        match written.file.append(&line) {
            Ok(()) => written.lost = 0,
            Err(error) => {
                // Said once for each series of losses: a full disk shall not fill another log.
                if written.lost == 0 {
                    let path = written.file.path().display();
                    tracing::error!(%path, %error, "audit lines are being lost");
                }
                // What was left out before it is lost with it.
                written.lost += 1 + due.suppressed;
                self.lost.fetch_add(1 + due.suppressed, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut written = self.written();
        for due in written.allowances.finish() {
            self.write(&mut written, &due);
        }
    }
}
