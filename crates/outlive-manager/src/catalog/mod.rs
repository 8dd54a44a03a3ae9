//! The catalog: which regions there are, where they lie, who owns them; durable on the unit, applied here.

mod driver;
mod entry;
mod recover;
mod space;
mod writer;

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use outlive_fabric::RegionId;
use outlive_layout::catalog::{Allocator, Catalog as State, CatalogError, Extent, Record, RegionEntry};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

pub(crate) use entry::{RegionRecord, layout_id, unit_extents};
pub(crate) use recover::Recovered;
pub(crate) use space::Reservation;
pub(crate) use writer::{CatalogWriter, CommitError};

/// The state as the last attachment recovered it and its writer has changed it since.
#[derive(Debug)]
pub(crate) struct Catalog {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Manager generation whose writer may change it.
    generation: u64,
    state: State,
    allocator: Allocator,
    /// Names of regions that are being created.
    creating: HashSet<String>,
    /// About how many bytes a snapshot of the state takes.
    snapshot_bytes: u64,
    /// The most that a snapshot may take.
    max_snapshot: u64,
}

impl Default for Catalog {
    /// Nothing, on no medium.
    fn default() -> Self {
        let nothing = State::new(Extent { start: 0, len: 0 });
        Self {
            inner: RwLock::new(Inner::new(0, nothing, 0)),
        }
    }
}

impl Catalog {
    /// Puts a recovered state in place. Writers of generations before change it no more, and what was set
    /// aside under them is free again.
    pub(crate) fn replace(&self, generation: u64, state: State, max_snapshot: u64) {
        *self.write() = Inner::new(generation, state, max_snapshot);
    }

    /// A region by its name.
    ///
    /// # Errors
    /// `NO_SUCH_REGION`.
    pub(crate) fn named(&self, name: &str) -> Result<RegionRecord, ControlError> {
        let inner = self.read();
        inner
            .state
            .region_named(name)
            .map(RegionRecord::from)
            .ok_or_else(|| no_such_region(name))
    }

    /// A region by its identity.
    pub(crate) fn identified(&self, region: RegionId) -> Option<RegionRecord> {
        self.read()
            .state
            .region(layout_id(region))
            .map(RegionRecord::from)
    }

    /// Up to `limit` regions whose names sort behind `after`.
    pub(crate) fn page(&self, after: &str, limit: usize) -> Vec<RegionRecord> {
        let inner = self.read();
        let behind = inner
            .state
            .regions_by_name()
            .skip_while(|entry| entry.name.as_str() <= after);
        behind.take(limit).map(RegionRecord::from).collect()
    }

    /// How many regions there are.
    pub(crate) fn count(&self) -> u64 {
        self.read().state.regions().len() as u64
    }

    /// Bytes that no region covers.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.read().state.free_bytes()
    }

    /// Whether a change is to be found in the state. Its caller holds the region's lock, so nobody else has
    /// changed the region since.
    pub(crate) fn reflects(&self, change: &Record) -> bool {
        let inner = self.read();
        let region = |region| inner.state.region(region);
        match change {
            Record::RegionCreated { region: id, .. } => region(*id).is_some(),
            Record::Opened {
                region: id,
                generation,
                owner,
            } => region(*id)
                .is_some_and(|entry| entry.generation == *generation && entry.owner.as_ref() == Some(owner)),
            Record::Closed {
                region: id,
                generation,
            } => region(*id).is_some_and(|entry| entry.generation == *generation && entry.owner.is_none()),
            Record::Resized {
                region: id, extents, ..
            } => region(*id).is_some_and(|entry| entry.extents == *extents),
            Record::Deleted { region: id } => region(*id).is_none(),
            Record::ManagerGeneration { .. } => false,
        }
    }

    /// Refuses a change that a later snapshot could not hold, where changes that take `planned` bytes of it are on
    /// their way already. Returns the bytes that this one takes.
    ///
    /// # Errors
    /// `LIMIT` with figures.
    fn check(&self, change: &Record, planned: u64) -> Result<u64, ControlError> {
        let inner = self.read();
        let (is_creation, more) = match change {
            Record::RegionCreated { name, extents, .. } => (true, entry_bytes(name, extents.len(), 0)),
            Record::Opened { owner, .. } => (false, owner.len() as u64),
            Record::Resized { extents, .. } => (false, extents.len() as u64 * 16),
            Record::Closed { .. } | Record::Deleted { .. } | Record::ManagerGeneration { .. } => {
                return Ok(0);
            }
        };
        // An eighth is kept for the owners of the regions that exist: a takeover must not fail for want of it.
        let bound = if is_creation {
            inner.max_snapshot / 8 * 7
        } else {
            inner.max_snapshot
        };
        if inner.snapshot_bytes + planned + more <= bound {
            return Ok(more);
        }
        let message = format!(
            "the catalog is full: {} regions take {} of the {bound} bytes it may hold; delete some",
            inner.state.regions().len(),
            inner.snapshot_bytes
        );
        Err(ControlError::new(ErrorCode::Limit, message))
    }

    /// Applies a change that is durable.
    ///
    /// # Errors
    /// `Unknown` when another attachment has replaced the state meanwhile; `Refused` when it breaks a rule.
    fn apply(&self, generation: u64, change: &Record) -> Result<(), CommitError> {
        let mut inner = self.write();
        if inner.generation != generation {
            return Err(CommitError::Unknown("the manager attached anew".into()));
        }
        inner.apply(change).map_err(|error| {
            // Checked before it was written, so this is a defect; recovery will stop at it and say so.
            tracing::error!(%error, ?change, "a change that was made durable breaks a rule of the catalog");
            CommitError::Refused(ControlError::new(ErrorCode::Invalid, error.to_string()))
        })
    }

    /// Whether a change breaks no rule.
    fn try_apply(&self, change: &Record) -> Result<(), ControlError> {
        self.read().try_apply(change)
    }

    /// The payload of a snapshot.
    fn snapshot(&self) -> Vec<u8> {
        self.read().state.encode()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Every change leaves the state valid, so a panic elsewhere in the thread spoils nothing.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new(generation: u64, state: State, max_snapshot: u64) -> Self {
        let allocator = Allocator::new(&state);
        let snapshot_bytes = state.regions().map(bytes_of).sum();
        Self {
            generation,
            state,
            allocator,
            creating: HashSet::new(),
            snapshot_bytes,
            max_snapshot,
        }
    }

    fn apply(&mut self, change: &Record) -> Result<(), CatalogError> {
        let region = subject(change);
        let before = region.and_then(|region| self.state.region(region)).cloned();
        self.state.apply(change)?;
        let after = region
            .and_then(|region| self.state.region(region))
            .map_or(0, bytes_of);
        self.snapshot_bytes =
            (self.snapshot_bytes + after).saturating_sub(before.as_ref().map_or(0, bytes_of));
        if let (Record::Deleted { .. }, Some(entry)) = (change, before) {
            self.allocator.release(&entry.extents);
        }
        Ok(())
    }

    /// The cheap part of what applying would check: the rest holds by how changes are made.
    fn try_apply(&self, change: &Record) -> Result<(), ControlError> {
        let known = |region| {
            let missing = || ControlError::new(ErrorCode::NoSuchRegion, format!("region {region} is gone"));
            self.state.region(region).ok_or_else(missing)
        };
        match change {
            Record::RegionCreated { name, .. } if self.state.region_named(name).is_some() => {
                Err(exists(name))
            }
            Record::RegionCreated { .. } | Record::ManagerGeneration { .. } => Ok(()),
            Record::Opened {
                region, generation, ..
            } if known(*region)?.generation >= *generation => Err(ControlError::new(
                ErrorCode::LostRace,
                format!("generation {generation} has passed"),
            )),
            Record::Closed { region, generation } if known(*region)?.generation != *generation => Err(
                ControlError::new(ErrorCode::Fenced, format!("generation {generation} has passed")),
            ),
            Record::Opened { region, .. }
            | Record::Closed { region, .. }
            | Record::Resized { region, .. }
            | Record::Deleted { region } => known(*region).map(drop),
        }
    }
}

/// The region that a change is about.
fn subject(change: &Record) -> Option<outlive_layout::RegionId> {
    match change {
        Record::ManagerGeneration { .. } => None,
        Record::RegionCreated { region, .. }
        | Record::Opened { region, .. }
        | Record::Closed { region, .. }
        | Record::Resized { region, .. }
        | Record::Deleted { region } => Some(*region),
    }
}

fn bytes_of(entry: &RegionEntry) -> u64 {
    entry_bytes(
        &entry.name,
        entry.extents.len(),
        entry.owner.as_ref().map_or(0, String::len),
    )
}

/// At least what a region takes in a snapshot.
fn entry_bytes(name: &str, extents: usize, owner: usize) -> u64 {
    const FIXED: usize = 80;
    (FIXED + name.len() + extents * 16 + owner) as u64
}

pub(crate) fn no_such_region(name: &str) -> ControlError {
    ControlError::new(ErrorCode::NoSuchRegion, format!("there is no region {name:?}"))
}

fn exists(name: &str) -> ControlError {
    ControlError::new(
        ErrorCode::RegionExists,
        format!("a region {name:?} exists already"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_on_their_way_count_against_the_room_of_a_snapshot() {
        let catalog = Catalog::default();
        let space = Extent {
            start: 0,
            len: 1 << 20,
        };
        catalog.replace(1, State::new(space), 2_000);
        let change = Record::Opened {
            region: outlive_layout::RegionId([1; 16]),
            generation: 1,
            owner: "x".repeat(300),
        };
        let mut planned = 0;
        let outcome = (0..10).try_for_each(|_| {
            planned += catalog.check(&change, planned)?;
            Ok::<_, ControlError>(())
        });
        assert_eq!(outcome.unwrap_err().code, ErrorCode::Limit);
        assert_eq!(planned, 1_800);
    }
}
