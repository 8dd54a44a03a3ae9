//! The way to the manager.

use std::time::Duration;

use crate::status::{AddressContext, MemberReport, RegionView, StatusView, SwitchoverView};
use crate::{
    Backup, BackupOptions, CatalogView, Context, OpenOptions, Primary, RawOptions, RawRegion, RegionSpec,
    Result,
};

/// How a session behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// For how long calls are tried again while the manager or the unit cannot be reached.
    pub retry_for: Duration,
}

impl Default for SessionOptions {
    /// Ten seconds: a restarting unit is back by then, and a person still waits.
    fn default() -> Self {
        Self {
            retry_for: Duration::from_secs(10),
        }
    }
}

/// A connection to a manager. Cheap to clone; used from any thread, also from inside async code
/// (calls block the thread for one answer of the manager).
#[derive(Clone)]
pub struct Session {}

impl Session {
    /// Connects with default options.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable), [`Error::NoAccess`](crate::Error::NoAccess).
    pub fn connect(context: &Context) -> Result<Self> {
        Self::connect_with(context, SessionOptions::default())
    }

    /// Connects.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub fn connect_with(context: &Context, options: SessionOptions) -> Result<Self> {
        let _ = (context, options);
        todo!()
    }

    /// Creates a region.
    ///
    /// # Errors
    /// [`Error::RegionExists`](crate::Error::RegionExists), [`Error::NoSpace`](crate::Error::NoSpace),
    /// [`Error::Invalid`](crate::Error::Invalid).
    pub fn create(&self, name: &str, spec: &RegionSpec) -> Result<RegionView> {
        let _ = (name, spec);
        todo!()
    }

    /// All regions, by name.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub fn regions(&self) -> Result<Vec<RegionView>> {
        todo!()
    }

    /// One region.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`](crate::Error::NoSuchRegion).
    pub fn describe(&self, name: &str) -> Result<RegionView> {
        let _ = name;
        todo!()
    }

    /// Deletes a region and all that it holds. The one way in which the last verified checkpoint ends.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`](crate::Error::NoSuchRegion), [`Error::Owned`](crate::Error::Owned)
    /// while its primary is alive.
    pub fn delete(&self, name: &str) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// What is mapped where, by whom, with which rights.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`](crate::Error::NoSuchRegion).
    pub fn address_context(&self, name: &str) -> Result<AddressContext> {
        let _ = name;
        todo!()
    }

    /// Units, regions and pairs.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub fn status(&self) -> Result<StatusView> {
        todo!()
    }

    /// Asks a pair's primary to hand over to its backup, and waits until it has.
    ///
    /// # Errors
    /// [`Error::NoSuchPair`](crate::Error::NoSuchPair); [`Error::Limit`](crate::Error::Limit) after `timeout`.
    pub fn switchover(&self, pair: &str, timeout: Duration) -> Result<SwitchoverView> {
        let _ = (pair, timeout);
        todo!()
    }

    /// Tells the manager how a pair's member is. True asks it to hand over.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable). Tried once, not again: the next report follows soon.
    pub fn report_member(&self, report: &MemberReport) -> Result<bool> {
        let _ = report;
        todo!()
    }

    /// Opens a checkpoint region for writing.
    ///
    /// # Errors
    /// [`Error::Owned`](crate::Error::Owned) while another primary is alive and `take_over` is not set;
    /// [`Error::NoSuchRegion`](crate::Error::NoSuchRegion); [`Error::NotCheckpoint`](crate::Error::NotCheckpoint);
    /// [`Error::Corrupt`](crate::Error::Corrupt); [`Error::Level`](crate::Error::Level) where the medium cannot promise the level.
    pub fn primary(&self, name: &str, options: &OpenOptions) -> Result<Primary> {
        let _ = (name, options);
        todo!()
    }

    /// Opens a checkpoint region for reading, with default options.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`](crate::Error::NoSuchRegion); [`Error::NotCheckpoint`](crate::Error::NotCheckpoint).
    pub fn backup(&self, name: &str) -> Result<Backup> {
        self.backup_with(name, &BackupOptions::default())
    }

    /// Opens a checkpoint region for reading.
    ///
    /// # Errors
    /// As for [`backup`](Self::backup).
    pub fn backup_with(&self, name: &str, options: &BackupOptions) -> Result<Backup> {
        let _ = (name, options);
        todo!()
    }

    /// Opens a raw region for writing and reading.
    ///
    /// # Errors
    /// As for [`primary`](Self::primary); [`Error::Range`](crate::Error::Range) where it is a checkpoint region.
    pub fn raw(&self, name: &str, options: &RawOptions) -> Result<RawRegion> {
        let _ = (name, options);
        todo!()
    }

    /// Opens a region of any kind for raw reads only.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`](crate::Error::NoSuchRegion).
    pub fn raw_reader(&self, name: &str) -> Result<RawRegion> {
        let _ = name;
        todo!()
    }

    /// Opens the unit's catalog for one-sided reading.
    ///
    /// # Errors
    /// [`Error::NoAccess`](crate::Error::NoAccess).
    pub fn catalog(&self) -> Result<CatalogView> {
        todo!()
    }
}
