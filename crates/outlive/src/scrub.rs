//! Verifying what regions hold while they are in use.
//!
//! It reads one-sidedly with a reader's right, as a backup does: the unit takes no part in it, and primaries do not notice. A set
//! that is overwritten meanwhile is no damage. Reading is bounded in bytes per second, so that it can go on all day.

mod pace;
mod report;
mod source;

use std::ops::ControlFlow;
use std::time::Duration;

use outlive_layout::metadata::METADATA_PAGE_BYTES;
use outlive_layout::{ReadError, Reader};

pub use self::pace::Pace;
pub use self::report::{ScrubFinding, ScrubReport, ScrubbedSet};
use self::source::{Paced, PacedError};
use crate::control::Backoff;
use crate::link::{Granted, Link, LinkError, describe};
use crate::{Error, RegionKind, Result, Session};

/// How often a metadata page is looked at before it counts as damaged: its unit may just be writing it.
const LOOKS: usize = 3;

/// How to scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Most bytes that are read in a second; `None`: as fast as it goes.
    pub rate: Option<u64>,
}

impl ScrubOptions {
    /// What is read in a second unless something else is said: 10 GiB in five and a half minutes, for a quarter of a
    /// gigabit link and a few hundredths of a core.
    pub const DEFAULT_RATE: u64 = 32 << 20;
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            rate: Some(Self::DEFAULT_RATE),
        }
    }
}

/// Scrubs regions one after the other, at one rate for all. Used from one thread at a time.
///
/// ```
/// # mod server { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/server.rs")); }
/// # fn main() -> Result<(), outlive::Error> {
/// # use std::ops::ControlFlow;
/// # use outlive::{OpenOptions, RegionSpec, ScrubOptions, Scrubber};
/// # let server = server::Server::in_memory("64MiB");
/// # let session = server.session();
/// # session.create("r", &RegionSpec::checkpoint(1 << 20))?;
/// let primary = session.primary("r", &OpenOptions::default())?;
/// primary.append(b"one")?.wait()?;
/// let mut scrubber = Scrubber::new(&session, ScrubOptions::default());
/// let report = scrubber.region("r", &mut |_| ControlFlow::Continue(()))?;
/// assert!(report.is_clean() && report.sets >= 2);
/// # Ok(())
/// # }
/// ```
pub struct Scrubber {
    session: Session,
    pace: Pace,
}

/// Told how many bytes were just read, also while nothing is; ends the scrub with [`ControlFlow::Break`].
pub type ScrubProgress<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

impl Scrubber {
    /// A scrubber for what this session may read.
    pub fn new(session: &Session, options: ScrubOptions) -> Self {
        Self {
            session: session.clone(),
            pace: Pace::new(options.rate),
        }
    }

    /// Bytes read up to now.
    pub fn bytes_read(&self) -> u64 {
        self.pace.bytes()
    }

    /// Verifies everything that a region holds. A lost connection is made again, and the region begun anew.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`], [`Error::NoAccess`]; [`Error::Unreachable`] when the unit stays away for longer than the
    /// session tries; [`Error::Closed`] where `progress` ended it. Damage is in the report.
    pub fn region(&mut self, name: &str, progress: &mut ScrubProgress<'_>) -> Result<ScrubReport> {
        self.scrub(name, progress, &mut |session| {
            session.open_reader(name, session.options().retry_for)
        })
    }

    /// Verifies the unit's catalog. For administrators.
    ///
    /// # Errors
    /// As for [`region`](Self::region).
    pub fn catalog(&mut self, progress: &mut ScrubProgress<'_>) -> Result<ScrubReport> {
        self.scrub("the catalog", progress, &mut |session| session.open_catalog())
    }

    fn scrub(
        &mut self,
        name: &str,
        progress: &mut ScrubProgress<'_>,
        open: &mut dyn FnMut(&Session) -> Result<Granted>,
    ) -> Result<ScrubReport> {
        let mut backoff = Backoff::new(self.session.options().retry_for);
        loop {
            let mut link = open(&self.session)?.link;
            let size = link.len();
            let before = self.pace.bytes();
            let lost = match self.over(name, &mut link, progress) {
                Ok(report) => return Ok(report),
                Err(ReadError::Source {
                    source: PacedError::Stopped,
                    ..
                }) => return Err(Error::Closed),
                Err(ReadError::Source {
                    source: PacedError::Link(LinkError::Lost(error)),
                    ..
                }) => describe(&error),
                // A region that has grown is described by blocks that this connection cannot take.
                Err(ReadError::NotACheckpoint)
                    if self.session.describe(name).is_ok_and(|now| now.size > size) =>
                {
                    "the region has grown".to_owned()
                }
                Err(error) => return ScrubReport::of_failure(name, &link, error),
            };
            if self.pace.bytes() > before {
                backoff = Backoff::new(self.session.options().retry_for);
            }
            let Some(pause) = backoff.next() else {
                return Err(Error::Unreachable {
                    what: "the unit",
                    address: link.address.clone(),
                    tried: backoff.tried(),
                    reason: lost,
                });
            };
            if progress(0).is_break() {
                return Err(Error::Closed);
            }
            std::thread::sleep(pause);
        }
    }

    fn over(
        &mut self,
        name: &str,
        link: &mut Link,
        progress: &mut ScrubProgress<'_>,
    ) -> std::result::Result<ScrubReport, ReadError<PacedError>> {
        let mut report = ScrubReport::new(name, link.len());
        report.metadata(&metadata(link)?);
        let raw = link.region.kind == RegionKind::Raw;
        let (id, len) = (link.layout_id(), link.len());
        let mut source = Paced {
            link,
            pace: &mut self.pace,
            progress,
        };
        if raw {
            report.raw(&outlive_layout::raw::scan(&mut source, len)?);
        } else {
            let mut reader = Reader::open(&mut source, id, len)?;
            report.checkpoint(reader.scrub(&mut source, &mut |_| {})?);
        }
        Ok(report)
    }
}

/// What is wrong with the metadata page, seen each time it was looked at.
fn metadata(link: &mut Link) -> std::result::Result<Option<String>, ReadError<PacedError>> {
    let mut wrong = None;
    for _ in 0..LOOKS {
        match link.check_metadata() {
            Ok(None) => return Ok(None),
            Ok(message) => wrong = message,
            Err(error) => {
                return Err(ReadError::Source {
                    offset: 0,
                    len: METADATA_PAGE_BYTES as u64,
                    source: PacedError::Link(error),
                });
            }
        }
    }
    Ok(wrong)
}

/// A pause that ends early where `stop` says so.
fn sleep(pause: Duration, stop: &mut ScrubProgress<'_>) -> ControlFlow<()> {
    /// Longest time in which a stop goes unnoticed.
    const SLICE: Duration = Duration::from_millis(50);
    let mut left = pause;
    while !left.is_zero() {
        stop(0)?;
        let now = left.min(SLICE);
        std::thread::sleep(now);
        left -= now;
    }
    ControlFlow::Continue(())
}
