//! What scrubbing a region found.

use outlive_layout::raw::Unread;
use outlive_layout::{Finding, HeaderFault, ReadError, Scrubbed};

use super::source::PacedError;
use crate::link::Link;
use crate::{Error, Result, SetKind};

/// What scrubbing a region found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// The region's name.
    pub region: String,
    /// Its bytes of data.
    pub size: u64,
    /// Sets that verify, marks included.
    pub sets: u64,
    /// Payload bytes of them.
    pub payload_bytes: u64,
    /// What was found.
    pub findings: Vec<ScrubFinding>,
    /// Generation and sequence of the newest snapshot that verifies.
    pub snapshot: Option<(u64, u64)>,
    /// Generation and sequence of the last set up to which the journal verifies.
    pub last: Option<(u64, u64)>,
    /// The primary overwrote parts of the journal each time before they were read.
    pub outrun: bool,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubFinding {
    /// The set, where one is known.
    pub set: Option<ScrubbedSet>,
    /// Where, in bytes from the start of the region's data.
    pub offset: Option<u64>,
    /// Whether something is damaged; else it is what a crash may leave behind.
    pub damaged: bool,
    /// In words.
    pub message: String,
}

/// The set that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubbedSet {
    /// What it is.
    pub kind: SetKind,
    /// Its generation; where its own header is damaged, 0.
    pub generation: u64,
    /// Its sequence; where its own header is damaged, the first that is missing.
    pub sequence: u64,
}

impl ScrubReport {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| !finding.damaged)
    }

    pub(super) fn new(region: &str, size: u64) -> Self {
        Self {
            region: region.to_owned(),
            size,
            sets: 0,
            payload_bytes: 0,
            findings: Vec::new(),
            snapshot: None,
            last: None,
            outrun: false,
        }
    }

    /// What could not even be begun: a finding where it is the region that is damaged, else an error.
    pub(super) fn of_failure(region: &str, link: &Link, error: ReadError<PacedError>) -> Result<Self> {
        let (offset, message) = match error {
            ReadError::Source {
                offset,
                source: PacedError::Link(error),
                ..
            } => match link.error(error) {
                error @ Error::Unreadable { .. } => (offset, error.to_string()),
                error => return Err(error),
            },
            ReadError::Source {
                source: PacedError::Stopped,
                ..
            } => return Err(Error::Closed),
            error @ (ReadError::NotACheckpoint | ReadError::Corrupt { .. }) => (0, error.to_string()),
            // Its writer was at it: nothing is known of the region.
            ReadError::Busy { attempts } => {
                return Err(Error::Overwritten {
                    region: region.to_owned(),
                    tries: attempts,
                });
            }
            // Whatever else there is, is a limit of this process or the like, and nothing is known of the region either.
            error => {
                return Err(Error::Limit {
                    reason: error.to_string(),
                });
            }
        };
        let mut report = Self::new(region, link.len());
        report.find(None, Some(offset), true, message);
        Ok(report)
    }

    pub(super) fn metadata(&mut self, wrong: &Option<String>) {
        if let Some(wrong) = wrong {
            self.find(None, None, true, format!("metadata page: {wrong}"));
        }
    }

    pub(super) fn raw(&mut self, unread: &Unread) {
        for (offset, message) in unread.messages() {
            self.find(None, Some(offset), true, message);
        }
    }

    pub(super) fn checkpoint(&mut self, scrubbed: Scrubbed) {
        self.sets = scrubbed.sets;
        self.payload_bytes = scrubbed.bytes;
        self.snapshot = scrubbed.snapshot;
        self.last = Some(scrubbed.last).filter(|last| last.1 > 0);
        self.outrun = scrubbed.outrun;
        for finding in &scrubbed.findings {
            let damaged = !finding.is_harmless();
            self.find(set_of(finding), finding.offset(), damaged, finding.to_string());
        }
    }

    fn find(&mut self, set: Option<ScrubbedSet>, offset: Option<u64>, damaged: bool, message: String) {
        self.findings.push(ScrubFinding {
            set,
            offset,
            damaged,
            message,
        });
    }
}

/// The set that a finding is about, as far as it can be told.
fn set_of(finding: &Finding) -> Option<ScrubbedSet> {
    let of = |kind, generation, sequence| {
        Some(ScrubbedSet {
            kind,
            generation,
            sequence,
        })
    };
    match finding {
        Finding::SnapshotCorrupt {
            generation, sequence, ..
        } => of(SetKind::Snapshot, *generation, *sequence),
        Finding::SnapshotLost { sequence, .. } => of(SetKind::Snapshot, 0, *sequence),
        Finding::Corrupt { after, fault, .. } | Finding::Older { after, fault, .. } => match fault {
            HeaderFault::Payload {
                generation, sequence, ..
            }
            | HeaderFault::UnreadablePayload {
                generation, sequence, ..
            } => of(SetKind::Update, *generation, *sequence),
            _ => of(SetKind::Update, 0, after + 1),
        },
        _ => None,
    }
}
