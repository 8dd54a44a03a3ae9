//! A backup's read connection, made again when it is lost.

use std::time::Duration;

use outlive_layout::heartbeat::WORD_OFFSET;
use outlive_layout::{ReadError, Reader};

use crate::control::Backoff;
use crate::link::{Link, LinkError, describe};
use crate::{Error, RegionView, Result, Session};

/// A link and the layout's reader over it. The region may have grown, or been laid out anew, in between: a new link
/// gets a new reader.
pub(super) struct Connection {
    session: Session,
    name: String,
    retry_for: Duration,
    open: Option<(Link, Reader)>,
    region: RegionView,
    incarnation: u64,
}

impl Connection {
    pub(super) fn open(session: &Session, name: &str, retry_for: Duration) -> Result<Self> {
        let mut connection = Self {
            session: session.clone(),
            name: name.to_owned(),
            retry_for,
            open: None,
            region: session.describe(name)?,
            incarnation: 0,
        };
        connection.with(|_, _| Ok(()))?;
        Ok(connection)
    }

    pub(super) fn region(&self) -> RegionView {
        self.region.clone()
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Reads; again, on a new connection, when the connection is lost or the region has grown.
    pub(super) fn with<T>(
        &mut self,
        mut read: impl FnMut(&mut Reader, &mut Link) -> std::result::Result<T, ReadError<LinkError>>,
    ) -> Result<T> {
        let mut backoff = Backoff::new(self.retry_for);
        loop {
            let (mut link, mut reader) = match self.open.take() {
                Some(open) => open,
                None => match self.connect(&backoff)? {
                    Some(open) => open,
                    None => {
                        self.pause(&mut backoff, "the connection broke at once")?;
                        continue;
                    }
                },
            };
            match read(&mut reader, &mut link) {
                Ok(done) => {
                    self.open = Some((link, reader));
                    return Ok(done);
                }
                Err(ReadError::Source {
                    source: LinkError::Lost(error),
                    ..
                }) => {
                    self.pause(&mut backoff, &describe(&error))?;
                }
                // A region that has grown is described by blocks that an old connection cannot take.
                Err(ReadError::NotACheckpoint) if self.session.describe(&self.name)?.size > link.len() => {
                    self.pause(&mut backoff, "the region has grown")?;
                }
                Err(error) => {
                    let error = link.read_error(error);
                    self.open = Some((link, reader));
                    return Err(error);
                }
            }
        }
    }

    /// As [`with`](Self::with), without the layout.
    pub(super) fn with_link<T>(
        &mut self,
        mut act: impl FnMut(&mut Link) -> std::result::Result<T, LinkError>,
    ) -> Result<T> {
        self.with(|_, link| {
            act(link).map_err(|source| ReadError::Source {
                offset: 0,
                len: 0,
                source,
            })
        })
    }

    pub(super) fn heartbeat(&mut self) -> Result<u64> {
        let mut word = [0; 8];
        self.with_link(|link| link.read(WORD_OFFSET, &mut word))?;
        Ok(u64::from_le_bytes(word))
    }

    /// `None` when the new connection was lost again.
    fn connect(&mut self, backoff: &Backoff) -> Result<Option<(Link, Reader)>> {
        let left = self.retry_for.saturating_sub(backoff.tried());
        let mut link = self.session.open_reader(&self.name, left)?.link;
        self.region = link.region.clone();
        let (id, len) = (link.layout_id(), link.len());
        match Reader::open(&mut link, id, len) {
            Ok(reader) => {
                self.incarnation = link.incarnation;
                Ok(Some((link, reader)))
            }
            Err(ReadError::Source {
                source: LinkError::Lost(_),
                ..
            }) => Ok(None),
            Err(error) => Err(link.read_error(error)),
        }
    }

    fn pause(&self, backoff: &mut Backoff, reason: &str) -> Result<()> {
        let Some(pause) = backoff.next() else {
            return Err(Error::Unreachable {
                what: "the unit",
                address: self.session.control().address().to_owned(),
                tried: backoff.tried(),
                reason: reason.to_owned(),
            });
        };
        std::thread::sleep(pause);
        Ok(())
    }
}
