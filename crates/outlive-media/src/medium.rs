//! A backend as everybody uses it: flushes shared, failures remembered.

use std::io;
use std::os::fd::BorrowedFd;

use crate::{FlushGroup, Media, MediaError, Persistence};

/// How bytes of a medium came to be there when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Made just now, or left half-formatted: there is nothing to keep.
    New,
    /// It was there.
    Before,
}

/// A [`Media`] with its [`FlushGroup`]. Every operation fails once a flush has failed.
pub struct Medium {
    media: Box<dyn Media>,
    group: FlushGroup,
}

impl Medium {
    /// Takes a backend into use. There must be one `Medium` for one backend.
    pub fn new(media: Box<dyn Media>) -> Self {
        Self {
            media,
            group: FlushGroup::default(),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.media.len()
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.media.is_empty()
    }

    /// The strongest promise.
    pub fn persistence(&self) -> Persistence {
        self.media.persistence()
    }

    /// What and where it is, for people.
    pub fn describe(&self) -> String {
        self.media.describe()
    }

    /// As [`Media::store`].
    ///
    /// # Errors
    /// As there, and [`MediaError::Poisoned`].
    pub fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        self.group.check()?;
        self.media.store(at, bytes)
    }

    /// As [`Media::load`].
    ///
    /// # Errors
    /// As there, and [`MediaError::Poisoned`].
    pub fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.group.check()?;
        self.media.load(at, into)
    }

    /// As [`Media::receive`].
    ///
    /// # Errors
    /// As there, and [`MediaError::Poisoned`].
    pub fn receive(
        &self,
        at: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<io::Result<usize>>, MediaError> {
        self.group.check()?;
        self.media.receive(at, len, socket)
    }

    /// As [`Media::zero`].
    ///
    /// # Errors
    /// As there, and [`MediaError::Poisoned`].
    pub fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.group.check()?;
        self.media.zero(at, len)
    }

    /// Makes everything that was placed before this call persistent. Blocks for a flush, which concurrent
    /// callers share.
    ///
    /// # Errors
    /// [`MediaError::NotPersistent`] where the medium cannot, [`MediaError::Poisoned`].
    pub fn persist(&self) -> Result<(), MediaError> {
        match self.media.persistence() {
            Persistence::PlacedOnly => Err(MediaError::NotPersistent),
            Persistence::AfterFlush => self.group.persist(|| self.media.flush()),
        }
    }

    /// Makes everything as durable as the medium can: persistent where it offers that, else nothing.
    ///
    /// # Errors
    /// [`MediaError::Poisoned`].
    pub fn settle(&self) -> Result<(), MediaError> {
        match self.persist() {
            Err(MediaError::NotPersistent) => Ok(()),
            outcome => outcome,
        }
    }

    /// Why everything is refused, once a flush has failed.
    pub fn failure(&self) -> Option<String> {
        self.group.failure()
    }

    /// Persists asked for since it was opened.
    pub fn persists(&self) -> u64 {
        self.group.asked()
    }

    /// Flushes begun since it was opened.
    pub fn flushes(&self) -> u64 {
        self.group.flushes()
    }
}

impl std::fmt::Debug for Medium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Medium")
            .field("media", &self.describe())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
