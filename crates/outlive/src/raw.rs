//! Regions whose bytes mean what their owner says.

use std::time::Duration;

use crate::{Receipt, Result};

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
pub struct RawRegion {}

impl RawRegion {
    /// Bytes of the region.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// Generation under which it was opened.
    pub fn generation(&self) -> u64 {
        todo!()
    }

    /// Writes `bytes` at `offset`; when it returns they are placed.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range), [`Error::Fenced`](crate::Error::Fenced),
    /// [`Error::NoAccess`](crate::Error::NoAccess) on a reader.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let _ = (offset, bytes);
        todo!()
    }

    /// Reads `into.len()` bytes at `offset`.
    ///
    /// # Errors
    /// [`Error::Range`](crate::Error::Range).
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let _ = (offset, into);
        todo!()
    }

    /// Makes everything that was written before persistent.
    ///
    /// # Errors
    /// [`Error::Level`](crate::Error::Level) where the medium cannot promise it.
    pub fn persist(&mut self) -> Result<Receipt> {
        todo!()
    }

    /// The region's metadata page, read one-sidedly: 4 KiB as the unit holds it.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub fn metadata_page(&mut self) -> Result<Vec<u8>> {
        todo!()
    }

    /// Gives up ownership (a reader just disconnects).
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable) within `timeout`.
    pub fn close(self, timeout: Duration) -> Result<()> {
        let _ = timeout;
        todo!()
    }
}
