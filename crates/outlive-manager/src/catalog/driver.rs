//! Moves the catalog's bytes: plans of the layout become posts, and posts are awaited.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use outlive_fabric::{Completion, Endpoint, ExposedPart, FabricError, Outcome, Refusal, RemoteKey};
use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::{HeaderWrite, SealedSnapshot, SetPlan, SnapshotPlan, Source};
use thiserror::Error;

use crate::limits;

/// Bytes of one operation, where the endpoint takes as many.
const PIECE_BYTES: usize = 1 << 20;
/// How long what the device could not read is left alone before it is asked for again: longer than a hiccup of a path or a
/// controller, and little beside what a takeover with damage costs anyway.
const BEFORE_LOOKING_AGAIN: Duration = Duration::from_millis(20);

/// The catalog's data connection, used from the catalog's thread only. Every failure leaves the outcome of
/// what was in flight unknown: the driver is then given up.
pub(crate) struct Driver {
    endpoint: Box<dyn Endpoint>,
    key: RemoteKey,
    len: u64,
    completions: Vec<Completion>,
}

/// Why catalog bytes could not be moved.
#[derive(Debug, Error)]
pub(crate) enum DriveError {
    #[error("the connection to the catalog failed")]
    Fabric(#[from] FabricError),
    #[error("the unit refused an operation on the catalog: {0}")]
    Refused(Refusal),
    #[error("no progress on the catalog for {} s", limits::CATALOG_OP.as_secs())]
    TimedOut,
    #[error("the connection does not give access to the catalog")]
    NoAccess,
    #[error("a read of the catalog returned {got} bytes instead of {expected}")]
    Short { expected: usize, got: usize },
}

impl Driver {
    /// Drives the catalog over `endpoint`.
    pub(crate) fn new(endpoint: Box<dyn Endpoint>) -> Result<Self, DriveError> {
        let data = endpoint
            .session()
            .access
            .iter()
            .find(|access| access.part == ExposedPart::Data);
        let data = data
            .filter(|access| access.rights.allows_write())
            .ok_or(DriveError::NoAccess)?;
        let (key, len) = (data.key, data.len);
        Ok(Self {
            endpoint,
            key,
            len,
            completions: Vec::new(),
        })
    }

    /// Bytes of the catalog region.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Posts a set; it is committed by the next [`commit`](Self::commit).
    pub(crate) fn post_set(&mut self, plan: &SetPlan, payload: &[u8]) -> Result<(), DriveError> {
        if let Some(HeaderWrite { offset, header }) = &plan.wrap {
            self.post(*offset, &[header])?;
        }
        self.post(plan.offset, &[&plan.header, payload])
    }

    /// Makes everything posted durable at the strongest level that the medium offers, and awaits it.
    pub(crate) fn commit(&mut self) -> Result<(), DriveError> {
        #[cfg(feature = "deliberate-bugs")]
        if crate::bugs::Bug::ReplyBeforePersist.is_made() {
            while self.endpoint.outstanding() > 0 {
                self.collect()?;
            }
            return self.check_completions();
        }
        if self.endpoint.session().persist.is_some() {
            self.endpoint.post_persist(self.key, 0, self.len)?;
        }
        while self.endpoint.outstanding() > 0 {
            self.collect()?;
        }
        self.check_completions()
    }

    /// Places the floor record, so that damage to what was committed last is told from a set that never was. News only: it
    /// becomes durable with the next commit.
    pub(crate) fn tell_floor(&mut self, record: &[u8]) -> Result<(), DriveError> {
        self.post(FLOOR_OFFSET, &[record])?;
        while self.endpoint.outstanding() > 0 {
            self.collect()?;
        }
        self.check_completions()
    }

    /// Writes a snapshot and publishes its seal, in the layout's three phases.
    pub(crate) fn write_snapshot(
        &mut self,
        plan: &SnapshotPlan,
        payload: &[u8],
    ) -> Result<SealedSnapshot, DriveError> {
        let (offset, bytes) = plan.invalidate();
        self.post(offset, &[&bytes])?;
        self.commit()?;
        let mut checksum = plan.checksum();
        let mut at = plan.payload_offset();
        for piece in payload.chunks(PIECE_BYTES) {
            checksum.update(piece);
            self.post(at, &[piece])?;
            at += piece.len() as u64;
        }
        self.commit()?;
        let sealed = plan.seal(&checksum);
        let (offset, bytes) = sealed.publish();
        self.post(offset, &[&bytes])?;
        self.commit()?;
        Ok(sealed)
    }

    /// Reads a snapshot back and compares.
    pub(crate) fn verify_snapshot(&mut self, sealed: &SealedSnapshot) -> Result<bool, DriveError> {
        let (offset, published) = sealed.publish();
        let mut seal = vec![0; published.len()];
        self.read_at(offset, &mut seal)?;
        let (offset, len) = sealed.payload();
        let mut checksum = sealed.checksum();
        let mut piece = vec![0; PIECE_BYTES];
        let mut done = 0;
        while done < len {
            let step = usize::try_from(len - done)
                .unwrap_or(PIECE_BYTES)
                .min(PIECE_BYTES);
            self.read_at(offset + done, &mut piece[..step])?;
            checksum.update(&piece[..step]);
            done += step as u64;
        }
        Ok(sealed.verify(&seal, &checksum))
    }

    /// Takes back the seal of a snapshot that does not read back as it was written: else the next manager would find a
    /// damaged catalog, where the snapshot before it and the journal hold everything.
    pub(crate) fn withdraw_snapshot(&mut self, sealed: &SealedSnapshot) -> Result<(), DriveError> {
        let (offset, bytes) = sealed.withdraw();
        self.post(offset, &[&bytes])?;
        self.commit()
    }

    /// Posts raw bytes.
    pub(crate) fn post(&mut self, offset: u64, parts: &[&[u8]]) -> Result<(), DriveError> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total <= self.max_op() {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            self.endpoint.post_write(self.key, offset, &slices)?;
            return Ok(());
        }
        let whole = parts.concat();
        let mut at = offset;
        for piece in whole.chunks(self.max_op()) {
            self.endpoint.post_write(self.key, at, &[IoSlice::new(piece)])?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn max_op(&self) -> usize {
        usize::try_from(self.endpoint.max_op_bytes())
            .unwrap_or(PIECE_BYTES)
            .clamp(1, PIECE_BYTES)
    }

    /// Waits for at least one completion.
    fn collect(&mut self) -> Result<(), DriveError> {
        let begun = Instant::now();
        while self.endpoint.wait(&mut self.completions, limits::CATALOG_OP)? == 0 {
            if begun.elapsed() >= limits::CATALOG_OP {
                return Err(DriveError::TimedOut);
            }
        }
        Ok(())
    }

    fn check_completions(&mut self) -> Result<(), DriveError> {
        self.completions
            .drain(..)
            .try_for_each(|completion| match completion.result {
                Ok(_) => Ok(()),
                Err(refusal) => Err(DriveError::Refused(refusal)),
            })
    }
}

impl Source for Driver {
    type Error = DriveError;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DriveError> {
        let mut at = offset;
        for piece in into.chunks_mut(self.max_op()) {
            // At most PIECE_BYTES, which fits.
            let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            self.endpoint.post_read(self.key, at, len)?;
            while self.endpoint.outstanding() > 0 {
                self.collect()?;
            }
            let outcome = self
                .completions
                .drain(..)
                .next_back()
                .map(|completion| completion.result);
            let bytes = match outcome {
                Some(Ok(Outcome::Read(bytes))) => bytes,
                Some(Err(refusal)) => return Err(DriveError::Refused(refusal)),
                _ => {
                    return Err(DriveError::Short {
                        expected: piece.len(),
                        got: 0,
                    });
                }
            };
            if bytes.len() != piece.len() {
                return Err(DriveError::Short {
                    expected: piece.len(),
                    got: bytes.len(),
                });
            }
            piece.copy_from_slice(&bytes);
            at += len as u64;
        }
        Ok(())
    }

    fn is_unreadable(error: &DriveError) -> bool {
        matches!(error, DriveError::Refused(Refusal::Unreadable(_)))
    }

    fn pause(&mut self) {
        std::thread::sleep(BEFORE_LOOKING_AGAIN);
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
