//! The reading side of a checkpoint region, and the takeover.

mod options;
mod takeover;

pub use options::{BackupOptions, Follow, LoadOptions, TakeoverOptions};
pub use takeover::TakenOver;

use std::time::Duration;

use crate::{Error, RegionView, Result, Set, SetInfo, Sets};

/// What a backup had not read before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fresh {
    /// Snapshots, updates and clears in order of sequence: whoever applies them in turn (a snapshot
    /// replaces, an update changes, a clear empties) has the primary's state.
    pub sets: Vec<Set>,
    /// Sets that were overwritten before they were read. Then `sets` goes on with the snapshot that covers them.
    pub overrun: Option<Overrun>,
    /// Whether more is there already: one call returns a bounded number of bytes.
    pub more: bool,
}

/// Sequences that were overwritten before a backup read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The last sequence read before the gap, plus one.
    pub from: u64,
    /// The last sequence that is missing.
    pub to: u64,
}

/// Why the primary seems to have failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// Its connection to the unit broke: its process is gone, or its network is.
    OwnerLost,
    /// It has not written its heartbeat word for this long, though the unit could be read.
    Silent {
        /// Since its last sign of life.
        since: Duration,
    },
    /// It gave the region up in good order.
    Closed,
}

/// A reader of a checkpoint region. The primary never notices it. Used from one thread at a time.
///
/// It keeps a cursor: [`read_new`](Self::read_new) returns what came after it.
pub struct Backup {}

impl Backup {
    /// The newest snapshot and all updates after it. Sets the cursor behind them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the set that does not verify; [`Error::Overwritten`] when the primary overwrote
    /// it each time; [`Error::Unreachable`].
    pub fn read_all(&mut self) -> Result<Sets> {
        todo!()
    }

    /// What came after the cursor, which moves behind it. The first call begins with the newest snapshot.
    ///
    /// # Errors
    /// As for [`read_all`](Self::read_all).
    pub fn read_new(&mut self) -> Result<Fresh> {
        todo!()
    }

    /// Loads without touching the cursor: an earlier set, only what is after a sequence, or what was cleared.
    ///
    /// # Errors
    /// [`Error::NoSuchSet`], and as for [`read_all`](Self::read_all).
    pub fn load(&mut self, options: &LoadOptions) -> Result<Sets> {
        let _ = options;
        todo!()
    }

    /// Every set that is kept, snapshots and journal, with what checking it found, in order of sequence.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Overwritten`]. Broken sets are findings, not errors.
    pub fn log(&mut self) -> Result<Vec<SetInfo>> {
        todo!()
    }

    /// Whether the primary seems to have failed, from what is known now: never blocks.
    pub fn suspicion(&mut self) -> Option<Suspicion> {
        todo!()
    }

    /// Waits up to `timeout` for a reason to suspect the primary, reading its heartbeat word meanwhile.
    /// A broken connection of the primary ends the wait at once.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`] when the region was deleted; [`Error::Unreachable`] when the backup itself
    /// cannot read for longer than `retry_for`: then nothing can be said about the primary.
    pub fn await_failure(&mut self, timeout: Duration) -> Result<Option<Suspicion>> {
        let _ = timeout;
        todo!()
    }

    /// Takes the region over: the old primary is fenced, the rest is read and made persistent at the
    /// region's level, and this process owns the region.
    ///
    /// # Errors
    /// [`Error::LostRace`] when another one was faster (this one stays backup and can go on);
    /// [`Error::FenceUnconfirmed`]; [`Error::Corrupt`] unless `accept_loss` (then the region is owned by nobody
    /// and can be taken over again).
    pub fn takeover(&mut self, options: &TakeoverOptions) -> Result<TakenOver> {
        let _ = options;
        todo!()
    }

    /// The last sequence behind the cursor.
    pub fn sequence(&self) -> u64 {
        todo!()
    }

    /// The region as the manager last told it: owner, generation, and so on.
    pub fn region(&self) -> RegionView {
        todo!()
    }

    /// The unit's incarnation that it is connected to, or was last.
    pub fn incarnation(&self) -> u64 {
        todo!()
    }
}

#[allow(dead_code)]
fn used(_: &Error) {}
