//! The writing side of a checkpoint region.

mod bounds;
mod commit;
mod driver;
mod engine;
mod open;
mod options;
mod reconnect;
mod resize;
mod shared;
mod snapshot;

pub use commit::{Commit, Confirm};
pub use options::OpenOptions;

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use outlive_layout::{SetPlan, WriteError, Writer};

use self::commit::Pending;
use self::engine::{Engine, Target};
use self::shared::Shared;
use self::snapshot::SnapshotRun;
use crate::set::now_ns;
use crate::{Error, Result, Sets};

pub(crate) use open::{Recovered, give_up, recover, start};

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
/// [`Error::Fenced`], a failed medium, or a unit that stays away longer than `retry_for` end it. Dropping
/// it gives up ownership where the manager can be reached at once.
///
/// Sets that nobody waits for are sent with the next append, wait or heartbeat.
pub struct Primary {
    shared: Arc<Shared>,
    driver: Option<JoinHandle<()>>,
}

impl Primary {
    /// Saves a full set: it replaces everything before it once it is committed and verified by
    /// reading it back. Appends go on meanwhile. One save at a time; a second waits for the first.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and what ended this primary.
    pub fn save(&self, bytes: impl Into<Vec<u8>>) -> Result<Commit> {
        let (bytes, began) = (bytes.into(), Instant::now());
        let length = bytes.len() as u64;
        let outcome = Arc::new(OnceLock::new());
        loop {
            self.await_turn(|engine| !engine.paused && engine.snapshot.is_none())?;
            let mut engine = self.shared.lock();
            Shared::check(&engine)?;
            if engine.paused || engine.snapshot.is_some() {
                continue;
            }
            let plan = match engine.writer.begin_snapshot(length, now_ns()) {
                Ok(plan) => plan,
                Err(WriteError::VerifyFirst { slot }) => {
                    drop(engine);
                    self.verify_slot(slot)?;
                    continue;
                }
                Err(error) => return Err(self.refused(error)),
            };
            let sequence = plan.sequence();
            engine.snapshot = Some(SnapshotRun::new(plan, bytes, Arc::clone(&outcome)));
            engine.snapshots_begun += 1;
            let target = Target::Snapshot(engine.snapshots_begun);
            engine.turn();
            drop(engine);
            self.shared.announce();
            let pending = Pending::new(&self.shared, target);
            return Ok(Commit {
                pending,
                sequence,
                bytes: length,
                began,
                snapshot: Some(outcome),
            });
        }
    }

    /// Appends a set. Returns when it is on its way; waits while too many bytes are.
    ///
    /// ```
    /// # mod server { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/server.rs")); }
    /// # fn main() -> Result<(), outlive::Error> {
    /// # use outlive::{OpenOptions, RegionSpec, TakeoverOptions, RawOptions};
    /// # let server = server::Server::in_memory("64MiB");
    /// # let session = server.session();
    /// # session.create("r", &RegionSpec::checkpoint(1 << 20))?;
    /// let primary = session.primary("r", &OpenOptions::default())?;
    /// // Pipelined: all three are on their way before the first is waited for.
    /// let commits = [b"a", b"b", b"c"].map(|set| primary.append(set));
    /// for commit in commits {
    ///     let receipt = commit?.wait()?;
    ///     assert_eq!(receipt.bytes, 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::JournalFull`], [`Error::TooLarge`], and what ended this primary.
    pub fn append(&self, bytes: impl AsRef<[u8]>) -> Result<Commit> {
        let bytes = bytes.as_ref();
        self.write_set(bytes, |writer| writer.append(bytes, now_ns()))
    }

    /// Clears all sets before it. The last verified checkpoint stays loadable
    /// ([`LoadOptions::cleared`](crate::LoadOptions::cleared)) until a newer one is verified.
    ///
    /// # Errors
    /// [`Error::JournalFull`], and what ended this primary.
    pub fn clear(&self) -> Result<Commit> {
        self.write_set(&[], |writer| writer.clear(now_ns()))
    }

    /// Begins an ownership confirmation: an operation on this primary's own write connection that begins now.
    /// When it succeeds, no other primary had been granted the region when this was called.
    ///
    /// # Errors
    /// What ended this primary.
    pub fn confirm(&self) -> Result<Confirm> {
        loop {
            let mut engine = self.shared.lock();
            Shared::check(&engine)?;
            if let Some(number) = engine.ask_confirm() {
                drop(engine);
                return Ok(Confirm {
                    pending: Pending::new(&self.shared, Target::Confirm(number)),
                });
            }
            drop(engine);
            self.await_turn(Engine::takes_confirm)?;
        }
    }

    /// What is in the region: the newest snapshot and the updates after it, read now.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and what ended this primary.
    pub fn read_all(&self) -> Result<Sets> {
        Shared::check(&self.shared.lock())?;
        self.shared.session.backup(&self.shared.name)?.read_all()
    }

    /// Sequence up to which all sets are committed.
    pub fn committed(&self) -> u64 {
        self.shared.lock().writer.floor()
    }

    /// How full the journal is.
    pub fn usage(&self) -> JournalUsage {
        let usage = self.shared.lock().writer.usage();
        JournalUsage {
            used: usage.used,
            capacity: usage.capacity,
        }
    }

    /// Largest snapshot in bytes.
    pub fn max_snapshot(&self) -> u64 {
        self.shared.lock().writer.geometry().max_snapshot
    }

    /// Largest update in bytes.
    pub fn max_update(&self) -> u64 {
        self.shared.lock().writer.geometry().max_update()
    }

    /// Generation of ownership.
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// The region's identity.
    pub fn region(&self) -> crate::RegionId {
        self.shared.id
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The level of its commits.
    pub fn level(&self) -> crate::Level {
        self.shared.lock().level
    }

    /// The unit's incarnation that it is connected to, or was last.
    pub fn incarnation(&self) -> u64 {
        self.shared.lock().incarnation
    }

    /// Grows the region to `size` bytes; the journal gets the room. Waits for what is outstanding.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it would shrink, or grow by too little while the journal is wrapped;
    /// [`Error::NoSpace`].
    pub fn resize(&self, size: u64) -> Result<()> {
        resize::resize(&self.shared, size)
    }

    /// What ended this primary for good, if something did.
    pub fn ended(&self) -> Option<Error> {
        self.shared.lock().ended.clone()
    }

    /// Commits what is outstanding and gives up ownership, so that anyone can open the region.
    ///
    /// # Errors
    /// What ended this primary.
    pub fn close(mut self) -> Result<()> {
        self.shared.lock().paused = true;
        self.await_turn(|engine| !engine.is_busy())?;
        self.shared.lock().beat_durably();
        self.confirm()?.wait()?;
        driver::stop(&self.shared, self.driver.take(), self.shared.retry_for)
    }
}

impl Primary {
    fn write_set(
        &self,
        payload: &[u8],
        plan: impl FnOnce(&mut Writer) -> std::result::Result<SetPlan, WriteError>,
    ) -> Result<Commit> {
        let began = Instant::now();
        let mut engine = self.shared.lock();
        while engine.ended.is_none() && (engine.paused || engine.is_full(payload.len())) {
            drop(engine);
            self.await_turn(|engine| !engine.paused && !engine.is_full(payload.len()))?;
            engine = self.shared.lock();
        }
        Shared::check(&engine)?;
        engine.take_owed();
        let plan = plan(&mut engine.writer).map_err(|error| self.refused(error))?;
        let index = engine.take(&plan, payload);
        drop(engine);
        let pending = Pending::new(&self.shared, Target::Set(index));
        Ok(Commit {
            pending,
            sequence: plan.sequence,
            bytes: plan.length,
            began,
            snapshot: None,
        })
    }

    /// Waits, driving the connection, until `ready` or until this primary has ended. The wait is bounded: a unit that
    /// stays away ends the primary.
    fn await_turn(&self, mut ready: impl FnMut(&Engine) -> bool) -> Result<()> {
        let decided = self
            .shared
            .wait_until(None, |engine| match Shared::check(engine) {
                Err(error) => Some(Err(error)),
                Ok(()) => ready(engine).then_some(Ok(())),
            });
        decided.unwrap_or(Err(Error::Closed))
    }

    /// Checks the newest snapshot, found at open, before the other slots may be overwritten.
    fn verify_slot(&self, slot: u32) -> Result<()> {
        let shared = &self.shared;
        let verifies = open::slot_verifies(shared, slot)?;
        let mut engine = shared.lock();
        engine.writer.slot_checked(slot, verifies);
        Ok(())
    }

    fn refused(&self, error: WriteError) -> Error {
        Error::from_write(error, &self.shared.name)
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver::abandon(&self.shared, Some(driver));
        }
    }
}
