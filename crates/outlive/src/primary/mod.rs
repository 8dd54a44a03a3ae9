//! The writing side of a checkpoint region.

mod commit;
mod options;

pub use commit::{Commit, Confirm};
pub use options::OpenOptions;

use crate::{Result, Sets};

/// How full the journal is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalUsage {
    /// Bytes that sets since the covering snapshot take.
    pub used: u64,
    /// Bytes that sets can take.
    pub capacity: u64,
}

/// The owner of a checkpoint region. Used from any number of threads; `append` from several is
/// ordered as the calls return.
///
/// Sets are sent at once and committed in order; [`Commit`] tells when. A lost connection is made
/// again in the background, and sets that were not committed are compared and sent again; only
/// [`Error::Fenced`](crate::Error::Fenced), a failed medium, or a unit that stays away longer than
/// `retry_for` end it. Dropping it gives up ownership where the manager can be reached at once.
pub struct Primary {}

impl Primary {
    /// Saves a full set: it replaces everything before it once it is committed and verified by
    /// reading it back. Appends go on meanwhile. One save at a time; a second waits for the first.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge), and what ended this primary.
    pub fn save(&self, bytes: impl Into<Vec<u8>>) -> Result<Commit> {
        let _ = bytes.into();
        todo!()
    }

    /// Appends a set. Returns when it is on its way; waits, within `retry_for`, while too many bytes are.
    ///
    /// # Errors
    /// [`Error::JournalFull`](crate::Error::JournalFull), [`Error::TooLarge`](crate::Error::TooLarge), and
    /// what ended this primary.
    pub fn append(&self, bytes: impl AsRef<[u8]>) -> Result<Commit> {
        let _ = bytes.as_ref();
        todo!()
    }

    /// Clears all sets before it. The last verified checkpoint stays loadable
    /// ([`LoadOptions::cleared`](crate::LoadOptions::cleared)) until a newer one is verified.
    ///
    /// # Errors
    /// [`Error::JournalFull`](crate::Error::JournalFull), and what ended this primary.
    pub fn clear(&self) -> Result<Commit> {
        todo!()
    }

    /// Begins an ownership confirmation: an operation on this primary's own write connection that begins now.
    /// When it succeeds, no other primary had been granted the region when this was called.
    ///
    /// # Errors
    /// What ended this primary.
    pub fn confirm(&self) -> Result<Confirm> {
        todo!()
    }

    /// What is in the region: the newest snapshot and the updates after it, read now.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), and what ended this primary.
    pub fn read_all(&self) -> Result<Sets> {
        todo!()
    }

    /// Sequence up to which all sets are committed.
    pub fn committed(&self) -> u64 {
        todo!()
    }

    /// How full the journal is.
    pub fn usage(&self) -> JournalUsage {
        todo!()
    }

    /// Largest snapshot in bytes.
    pub fn max_snapshot(&self) -> u64 {
        todo!()
    }

    /// Generation of ownership.
    pub fn generation(&self) -> u64 {
        todo!()
    }

    /// The unit's incarnation that it is connected to, or was last.
    pub fn incarnation(&self) -> u64 {
        todo!()
    }

    /// Grows the region to `size` bytes; the journal gets the room. Waits for what is outstanding.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) where it would shrink; [`Error::NoSpace`](crate::Error::NoSpace).
    pub fn resize(&self, size: u64) -> Result<()> {
        let _ = size;
        todo!()
    }

    /// What ended this primary for good, if something did.
    pub fn ended(&self) -> Option<crate::Error> {
        todo!()
    }

    /// Commits what is outstanding and gives up ownership, so that anyone can open the region.
    ///
    /// # Errors
    /// What ended this primary.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}
