//! One data connection to a region: an endpoint, and the access it was granted.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive_fabric::tcp::{ConnectOptions, PinnedCertificate, TlsPolicy};
use outlive_fabric::{
    AccessInfo, Completion, Endpoint, ExposedPart, FabricError, Outcome, PersistMethod, Refusal, RegionId,
    Rights, Terms, Ticket, TicketId, TicketSecret,
};
use outlive_layout::{MetadataPage, ReadError, Source};
use outlive_proto::v1;

use crate::control::Backoff;
use crate::{Error, RegionView, Result, Transport};

/// Reads and writes of a link are split into operations of at most this: large enough that a split
/// costs nothing measurable, small enough that heartbeats and journal sets get in between.
pub(crate) const CHUNK_BYTES: u32 = 1 << 20;
/// Operations of one large read or write that are in flight at a time: they cover the round trip, and
/// bound what is buffered.
const CHUNKS_IN_FLIGHT: usize = 8;
/// How long a synchronous operation waits for its completion before the connection counts as lost. The
/// endpoint itself gives up earlier when nothing at all arrives.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long what the device could not read is left alone before it is asked for again: longer than a hiccup of a path or a
/// controller, and little beside what a takeover with damage costs anyway.
const BEFORE_LOOKING_AGAIN: Duration = Duration::from_millis(20);

/// Why an operation on a link failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The connection is lost; another one may work.
    #[error("the connection to the unit is lost")]
    Lost(#[source] FabricError),
    /// The target refused, or the connection was stopped for good.
    #[error("the unit refused")]
    Refused(#[source] Refusal),
}

impl From<FabricError> for LinkError {
    /// A fence is final, and so is a refusal, but for that of a unit that ends: it may be back. Any other stop (the unit ends, a limit) may be over at the next attempt. So may a revocation:
    /// the manager is asked again, and says which right is missing.
    fn from(error: FabricError) -> Self {
        match error {
            error @ FabricError::Refused(Refusal::ShuttingDown) => Self::Lost(error),
            FabricError::Refused(refusal) => Self::Refused(refusal),
            FabricError::Stopped(refusal @ (Refusal::Fenced { .. } | Refusal::Media(_))) => {
                Self::Refused(refusal)
            }
            error => Self::Lost(error),
        }
    }
}

/// A connection bound to one region.
pub(crate) struct Link {
    pub(crate) endpoint: Box<dyn Endpoint>,
    /// A second descriptor of the connection, so that it can be waited for without the lock that guards the endpoint.
    readiness: Option<Arc<OwnedFd>>,
    pub(crate) data: AccessInfo,
    metadata: Option<AccessInfo>,
    /// Where the unit is, for errors.
    pub(crate) address: String,
    pub(crate) region: RegionView,
    pub(crate) incarnation: u64,
    /// How the unit persists, where it can.
    pub(crate) persist: Option<PersistMethod>,
}

/// A link, and what the manager said when it granted it.
pub(crate) struct Granted {
    pub(crate) link: Link,
    pub(crate) fenced_generation: u64,
    pub(crate) fence: Duration,
}

/// Asks for a grant with `open` and connects with it; asks again, within `retry_for`, while the unit
/// cannot be reached: a ticket is for one attempt only.
pub(crate) fn connect(
    transport: &dyn Transport,
    name: &str,
    retry_for: Duration,
    mut open: impl FnMut(Duration) -> Result<v1::Opened>,
) -> Result<Granted> {
    let mut backoff = Backoff::new(retry_for);
    loop {
        let opened = open(retry_for.saturating_sub(backoff.tried()))?;
        let address = opened.data_address.clone();
        let failure = match Link::granted(transport, name, opened) {
            Ok(granted) => return Ok(granted),
            Err(failure) => failure,
        };
        // A ticket can expire on a slow machine; a new one is asked for.
        let reason = match failure {
            LinkError::Refused(refusal) if refusal != Refusal::Ticket => {
                return Err(Error::from_refusal(&refusal, name));
            }
            LinkError::Refused(refusal) => refusal.to_string(),
            LinkError::Lost(error) => describe(&error),
        };
        let Some(pause) = backoff.next() else {
            return Err(Error::Unreachable {
                what: "the unit",
                address,
                tried: backoff.tried(),
                reason,
            });
        };
        std::thread::sleep(pause);
    }
}

impl Link {
    fn granted(
        transport: &dyn Transport,
        name: &str,
        mut opened: v1::Opened,
    ) -> std::result::Result<Granted, LinkError> {
        let broken = |what: &str| LinkError::Refused(Refusal::Protocol(what.to_owned()));
        let options = ConnectOptions {
            tls: pinned(&opened),
            ..ConnectOptions::default()
        };
        let ticket = take_ticket(&mut opened).ok_or_else(|| broken("a ticket of another length"))?;
        let endpoint = transport
            .data(&opened.data_address, &ticket, &options)
            .map_err(LinkError::from)?;
        let session = endpoint.session().clone();
        let part = |part| session.access.iter().find(|access| access.part == part).cloned();
        let data = part(ExposedPart::Data).ok_or_else(|| broken("no access to the region's data"))?;
        let mut region = RegionView::from(opened.region.unwrap_or_default());
        if region.name.is_empty() {
            name.clone_into(&mut region.name);
        }
        let readiness = endpoint
            .readiness()
            .and_then(|fd| fd.try_clone_to_owned().ok())
            .map(Arc::new);
        let link = Self {
            endpoint,
            readiness,
            address: opened.data_address,
            metadata: part(ExposedPart::Metadata),
            data,
            region,
            incarnation: session.incarnation,
            persist: session.persist,
        };
        Ok(Granted {
            link,
            fenced_generation: opened.fenced_generation,
            fence: Duration::from_micros(opened.fence_us),
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.data.len
    }

    /// The region, as the layout names it.
    pub(crate) fn layout_id(&self) -> outlive_layout::RegionId {
        outlive_layout::RegionId(self.data.region.0)
    }

    /// Becomes readable when there is something to poll for.
    pub(crate) fn readiness(&self) -> Option<Arc<OwnedFd>> {
        self.readiness.clone()
    }

    /// The failure as this crate's error. A lost connection becomes `Unreachable`, tried once.
    pub(crate) fn error(&self, error: LinkError) -> Error {
        match error {
            LinkError::Lost(error) => Error::Unreachable {
                what: "the unit",
                address: self.address.clone(),
                tried: Duration::ZERO,
                reason: describe(&error),
            },
            LinkError::Refused(refusal) => Error::from_refusal(&refusal, &self.region.name),
        }
    }

    /// As [`error`](Self::error), for what a layout reader says.
    pub(crate) fn read_error(&self, error: ReadError<LinkError>) -> Error {
        match error {
            ReadError::Source { source, .. } => self.error(source),
            error => Error::from_read(error, &self.region.name),
        }
    }

    /// Largest operation to post.
    pub(crate) fn chunk_bytes(&self) -> u32 {
        CHUNK_BYTES.min(self.endpoint.max_op_bytes())
    }

    /// Reads `into.len()` bytes at `offset` of the region's data, in pipelined chunks. A refusal ends it once all answers
    /// are there, so that the link can be used on.
    pub(crate) fn read(&mut self, offset: u64, into: &mut [u8]) -> std::result::Result<(), LinkError> {
        let key = self.data.key;
        let chunk = self.chunk_bytes() as usize;
        let mut posted = 0;
        let mut done = 0;
        let mut refused = None;
        while done < into.len() && (refused.is_none() || self.endpoint.outstanding() > 0) {
            while refused.is_none() && posted < into.len() && self.endpoint.outstanding() < CHUNKS_IN_FLIGHT {
                let len = chunk.min(into.len() - posted);
                self.endpoint
                    .post_read(key, offset + posted as u64, as_u32(len))?;
                posted += len;
            }
            for completion in self.next_completions()? {
                match expect_read(completion) {
                    Err(LinkError::Refused(refusal)) => {
                        refused.get_or_insert(refusal);
                    }
                    // What comes behind a refusal belongs behind a gap.
                    Ok(_) if refused.is_some() => {}
                    Ok(bytes) => {
                        let Some(place) = into.get_mut(done..done + bytes.len()) else {
                            return Err(LinkError::Lost(FabricError::Protocol(
                                "a read longer than asked for".into(),
                            )));
                        };
                        place.copy_from_slice(&bytes);
                        done += bytes.len();
                    }
                    Err(lost) => return Err(lost),
                }
            }
        }
        refused.map_or(Ok(()), |refusal| Err(LinkError::Refused(refusal)))
    }

    /// What is wrong with the region's metadata page. One that is not granted is none of ours.
    pub(crate) fn check_metadata(&mut self) -> std::result::Result<Option<String>, LinkError> {
        if self.metadata.is_none() {
            return Ok(None);
        }
        match self.read_metadata() {
            Ok(_) => Ok(None),
            Err(LinkError::Refused(refusal @ (Refusal::Protocol(_) | Refusal::Unreadable(_)))) => {
                Ok(Some(refusal.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the region's metadata page.
    pub(crate) fn read_metadata(&mut self) -> std::result::Result<MetadataPage, LinkError> {
        let missing = || LinkError::Refused(Refusal::Protocol("no access to the metadata page".into()));
        let access = self.metadata.clone().ok_or_else(missing)?;
        self.endpoint
            .post_read(access.key, 0, u32::try_from(access.len).unwrap_or(u32::MAX))?;
        let mut page = Vec::new();
        while self.endpoint.outstanding() > 0 {
            for completion in self.next_completions()? {
                page = expect_read(completion)?;
            }
        }
        MetadataPage::decode(&page)
            .map_err(|error| LinkError::Refused(Refusal::Protocol(format!("the metadata page: {error}"))))
    }

    /// Writes `bytes` at `offset` of the region's data and waits until they are placed.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> std::result::Result<(), LinkError> {
        let key = self.data.key;
        let mut at = offset;
        let mut refused = None;
        for chunk in bytes.chunks(self.chunk_bytes() as usize) {
            while self.endpoint.outstanding() >= CHUNKS_IN_FLIGHT {
                note_refusal(self.next_completions()?, &mut refused);
            }
            self.endpoint.post_write(key, at, &[IoSlice::new(chunk)])?;
            at += chunk.len() as u64;
        }
        self.drain(refused)
    }

    /// Makes everything written before on this link persistent.
    pub(crate) fn persist(&mut self) -> std::result::Result<(), LinkError> {
        self.endpoint.post_persist(self.data.key, 0, self.data.len)?;
        self.drain(None)
    }

    fn drain(&mut self, mut refused: Option<Refusal>) -> std::result::Result<(), LinkError> {
        while self.endpoint.outstanding() > 0 {
            note_refusal(self.next_completions()?, &mut refused);
        }
        refused.map_or(Ok(()), |refusal| Err(LinkError::Refused(refusal)))
    }

    /// Waits for at least one completion.
    fn next_completions(&mut self) -> std::result::Result<Vec<Completion>, LinkError> {
        let deadline = Instant::now() + OPERATION_TIMEOUT;
        let mut completions = Vec::new();
        while completions.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let ms = u64::try_from(OPERATION_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
                return Err(LinkError::Lost(FabricError::TimedOut { ms }));
            }
            self.endpoint.wait(&mut completions, left)?;
        }
        Ok(completions)
    }
}

impl Source for Link {
    type Error = LinkError;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> std::result::Result<(), LinkError> {
        self.read(offset, into)
    }

    fn is_unreadable(error: &LinkError) -> bool {
        matches!(error, LinkError::Refused(Refusal::Unreadable(_)))
    }

    fn pause(&mut self) {
        std::thread::sleep(BEFORE_LOOKING_AGAIN);
    }
}

/// The unit's certificate, where the connection to it is encrypted.
fn pinned(opened: &v1::Opened) -> Option<PinnedCertificate> {
    let policy = match opened.data_tls() {
        v1::DataTls::Require => TlsPolicy::Require,
        v1::DataTls::Allow => TlsPolicy::Allow,
        v1::DataTls::Off | v1::DataTls::Unspecified => TlsPolicy::Off,
    };
    let certificate = || PinnedCertificate::new(opened.data_certificate.clone());
    policy.encrypts(&opened.data_address).then(certificate)
}

/// The ticket that the manager granted; its secret is left nowhere else. `None` where it is not one.
fn take_ticket(opened: &mut v1::Opened) -> Option<Ticket> {
    let region = opened.region.as_ref()?.id.as_slice();
    Some(Ticket {
        id: TicketId(opened.ticket_id.as_slice().try_into().ok()?),
        secret: TicketSecret::take_from(std::mem::take(&mut opened.ticket_secret))?,
        terms: Terms {
            identity: std::mem::take(&mut opened.identity),
            region: RegionId(region.try_into().ok()?),
            generation: opened.generation,
            rights: if opened.writable {
                Rights::ReadWrite
            } else {
                Rights::Read
            },
            incarnation: opened.incarnation,
        },
    })
}

fn note_refusal(completions: Vec<Completion>, refused: &mut Option<Refusal>) {
    for completion in completions {
        if let Err(refusal) = completion.result {
            refused.get_or_insert(refusal);
        }
    }
}

fn expect_read(completion: Completion) -> std::result::Result<Vec<u8>, LinkError> {
    match completion.result {
        Ok(Outcome::Read(bytes)) => Ok(bytes),
        Ok(_) => Err(LinkError::Lost(FabricError::Protocol(
            "another completion than a read's".into(),
        ))),
        Err(refusal) => Err(LinkError::Refused(refusal)),
    }
}

/// The error with its cause, in one line.
pub(crate) fn describe(error: &FabricError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn as_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a chunk is at most a MiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_ends_may_be_back_and_a_fence_is_final() {
        let passing = [
            FabricError::Refused(Refusal::ShuttingDown),
            FabricError::Stopped(Refusal::ShuttingDown),
            FabricError::Stopped(Refusal::Revoked),
        ];
        for error in passing {
            let error = LinkError::from(error);
            assert!(matches!(error, LinkError::Lost(_)), "{error:?}");
        }
        let last = [
            FabricError::Refused(Refusal::Fenced { generation: 2 }),
            FabricError::Stopped(Refusal::Fenced { generation: 2 }),
        ];
        for error in last {
            let error = LinkError::from(error);
            assert!(matches!(error, LinkError::Refused(_)), "{error:?}");
        }
    }
}
