//! Regions whose bytes mean what their owner says.

use std::time::{Duration, Instant};

use crate::control::Backoff;
use crate::link::{Granted, Link, LinkError, describe};
use crate::{Error, Level, Receipt, RegionId, RegionKind, RegionMetadata, Result, Session};

/// How long a dropped owner tries to give the region up: a drop must not hang, and an owner whose
/// connection is gone can be succeeded anyway.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);

/// How a raw region is opened for writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawOptions {
    /// Take the region over from an owner that is alive.
    pub take_over: bool,
    /// What to tell others about this owner: an address, or a label.
    pub owner: String,
}

/// A region as plain memory: any offset, any length. Used from one thread at a time. Dropping it
/// gives up ownership.
///
/// A lost connection is made again by the next call, which then repeats its own operation only: writes are
/// placed when `write` returns, so nothing is outstanding between calls.
///
/// ```
/// # mod server { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/server.rs")); }
/// # fn main() -> Result<(), outlive::Error> {
/// # use outlive::{OpenOptions, RegionSpec, TakeoverOptions, RawOptions};
/// # let server = server::Server::in_memory("64MiB");
/// # let session = server.session();
/// session.create("table", &RegionSpec::raw(1 << 20))?;
/// let mut raw = session.raw("table", &RawOptions::default())?;
/// raw.write(12_345, b"any offset, any length")?;
/// let mut found = [0; 3];
/// raw.read(12_349, &mut found)?;
/// assert_eq!(&found, b"off");
/// # Ok(())
/// # }
/// ```
pub struct RawRegion {
    session: Session,
    name: String,
    id: RegionId,
    link: Option<Link>,
    size: u64,
    generation: u64,
    writable: bool,
    /// The incarnation in which the writes since the last persist were placed; another one may have lost them.
    placed_in: Option<u64>,
    ended: Option<Error>,
}

pub(crate) fn open(session: &Session, name: &str, options: &RawOptions) -> Result<RawRegion> {
    let region = session.describe(name)?;
    if region.kind != RegionKind::Raw {
        let reason = "it is a checkpoint region; raw writes could damage its sets".to_owned();
        return Err(Error::Range {
            region: name.to_owned(),
            reason,
        });
    }
    let retry_for = session.options().retry_for;
    let granted = session.open_primary(name, options.take_over, &options.owner, retry_for)?;
    Ok(RawRegion::over(session, name, granted, true))
}

pub(crate) fn open_reader(session: &Session, name: &str) -> Result<RawRegion> {
    let granted = session.open_reader(name, session.options().retry_for)?;
    Ok(RawRegion::over(session, name, granted, false))
}

impl RawRegion {
    /// Bytes of the region.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Generation under which it was opened.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Writes `bytes` at `offset`; when it returns they are placed.
    ///
    /// # Errors
    /// [`Error::Range`], [`Error::Fenced`], [`Error::NoAccess`] on a reader.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if !self.writable {
            return Err(Error::NoAccess {
                reason: format!("{} was opened for reading only", self.name),
                missing: Some("owner".into()),
            });
        }
        self.check(offset, bytes.len() as u64)?;
        let incarnation = self.with_link(|link| link.write(offset, bytes).map(|()| link.incarnation))?;
        self.placed_in.get_or_insert(incarnation);
        Ok(())
    }

    /// Reads `into.len()` bytes at `offset`.
    ///
    /// # Errors
    /// [`Error::Range`].
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len() as u64)?;
        self.with_link(|link| link.read(offset, into))
    }

    /// Makes everything that was written before persistent.
    ///
    /// # Errors
    /// [`Error::Level`] where the medium cannot promise it; [`Error::Restarted`] where the unit was restarted
    /// since the first write that was not persistent yet, so that nobody knows what it still has.
    pub fn persist(&mut self) -> Result<Receipt> {
        if !self.writable {
            return Err(Error::NoAccess {
                reason: format!("{} was opened for reading only", self.name),
                missing: Some("owner".into()),
            });
        }
        let began = Instant::now();
        let (incarnation, method) = self.with_link(|link| {
            link.persist()?;
            Ok((link.incarnation, link.persist))
        })?;
        if self.placed_in.take().is_some_and(|placed| placed != incarnation) {
            return Err(Error::Restarted {
                region: self.name.clone(),
            });
        }
        Ok(Receipt {
            region: self.id,
            level: Level::Persistent,
            method,
            incarnation,
            generation: self.generation,
            sequence: 0,
            bytes: self.size,
            took: began.elapsed(),
        })
    }

    /// What the region's metadata page says, read one-sidedly from the unit's memory.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn metadata(&mut self) -> Result<RegionMetadata> {
        self.with_link(Link::read_metadata).map(RegionMetadata::from)
    }

    /// Gives up ownership (a reader just disconnects).
    ///
    /// # Errors
    /// [`Error::Unreachable`] within `timeout`.
    pub fn close(mut self, timeout: Duration) -> Result<()> {
        self.release(timeout)
    }
}

impl RawRegion {
    fn over(session: &Session, name: &str, granted: Granted, writable: bool) -> Self {
        let link = granted.link;
        Self {
            session: session.clone(),
            name: name.to_owned(),
            id: link.data.region,
            size: link.len(),
            generation: link.data.generation,
            writable,
            placed_in: None,
            link: Some(link),
            ended: None,
        }
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::Range {
                region: self.name.clone(),
                reason: format!(
                    "{len} bytes at offset {offset} do not lie inside its {} bytes",
                    self.size
                ),
            }),
        }
    }

    /// Does something on the connection; a lost one is made again, within the session's `retry_for`, and it is
    /// done again: the same bytes at the same place.
    fn with_link<T>(
        &mut self,
        mut act: impl FnMut(&mut Link) -> std::result::Result<T, LinkError>,
    ) -> Result<T> {
        let mut backoff = Backoff::new(self.session.options().retry_for);
        loop {
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            let mut link = match self.link.take() {
                Some(link) => link,
                None => self.reconnect()?,
            };
            match act(&mut link) {
                Ok(done) => {
                    self.link = Some(link);
                    return Ok(done);
                }
                Err(LinkError::Refused(refusal)) => {
                    let error = Error::from_refusal(&refusal, &self.name);
                    if error.is_fenced() {
                        self.ended = Some(error.clone());
                    } else {
                        self.link = Some(link);
                    }
                    return Err(error);
                }
                Err(LinkError::Lost(error)) => {
                    let Some(pause) = backoff.next() else {
                        return Err(Error::Unreachable {
                            what: "the unit",
                            address: link.address.clone(),
                            tried: backoff.tried(),
                            reason: describe(&error),
                        });
                    };
                    drop(link);
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn reconnect(&mut self) -> Result<Link> {
        let retry_for = self.session.options().retry_for;
        let granted = if self.writable {
            self.session
                .reconnect_primary(&self.name, self.generation, retry_for)
        } else {
            self.session.open_reader(&self.name, retry_for)
        };
        match granted {
            Ok(granted) => Ok(granted.link),
            Err(error) => {
                if error.is_fenced() {
                    self.ended = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    fn release(&mut self, timeout: Duration) -> Result<()> {
        let owned = self.writable && self.ended.is_none();
        self.ended = Some(Error::Closed);
        // First the manager is told, then the connection ends: the other way round it would look like a failure.
        let closed = if owned {
            self.session.close_region(&self.name, self.generation, timeout)
        } else {
            Ok(())
        };
        self.link = None;
        closed
    }
}

impl Drop for RawRegion {
    fn drop(&mut self) {
        if let Err(error) = self.release(DROP_TIMEOUT) {
            tracing::debug!(region = self.name, %error, "dropped without giving up ownership");
        }
    }
}
