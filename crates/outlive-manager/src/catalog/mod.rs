//! The catalog: which regions there are, where they lie, who may use them and who owns them, and which identities are
//! known; durable on the unit, applied here.

mod driver;
mod entry;
mod listed;
mod recover;
mod space;
mod writer;

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use outlive_fabric::RegionId;
use outlive_identity::Caller;
use outlive_layout::catalog::{
    AccessList, Allocator, Catalog as State, CatalogError, Extent, IdentityEntry, Record, RegionEntry,
};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;
use tokio::sync::watch;

use crate::access::{self, Leave, Sight, Verdict, Want};
use crate::limits;
use listed::Listed;

pub(crate) use entry::{RegionRecord, layout_id, unit_extents};
pub(crate) use recover::Recovered;
pub(crate) use space::Reservation;
pub(crate) use writer::{CatalogWriter, CommitError, now_ms};

/// The state as the last attachment recovered it and its writer has changed it since.
#[derive(Debug)]
pub(crate) struct Catalog {
    inner: RwLock<Inner>,
    /// Counts the changes of who may do what.
    rights: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// Manager generation whose writer may change it.
    generation: u64,
    state: State,
    allocator: Allocator,
    listed: Listed,
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
            rights: watch::Sender::new(0),
        }
    }
}

impl Catalog {
    /// Puts a recovered state in place. Writers of generations before change it no more, and what was set
    /// aside under them is free again.
    pub(crate) fn replace(&self, generation: u64, state: State, max_snapshot: u64) {
        *self.write() = Inner::new(generation, state, max_snapshot);
        self.rights.send_modify(|changes| *changes += 1);
    }

    /// Tells of every change of who may do what, once it holds.
    pub(crate) fn rights(&self) -> watch::Receiver<u64> {
        self.rights.subscribe()
    }

    /// That a caller may have what it wants, now.
    ///
    /// # Errors
    /// As for [`Verdict::check`](access::Verdict::check).
    pub(crate) fn authorise(&self, caller: &Caller, want: &Want<'_>) -> Result<(), ControlError> {
        access::decide(&self.read().state, caller, want).check(caller, want)
    }

    /// The region that a caller wants something of, and may have it.
    ///
    /// # Errors
    /// As for [`authorise`](Self::authorise); `NO_SUCH_REGION` also where no region is asked about.
    pub(crate) fn authorised(&self, caller: &Caller, want: &Want<'_>) -> Result<RegionRecord, ControlError> {
        let inner = self.read();
        access::decide(&inner.state, caller, want).check(caller, want)?;
        let name = want.region().unwrap_or_default();
        inner
            .state
            .region_named(name)
            .map(RegionRecord::from)
            .ok_or_else(|| no_such_region(name))
    }

    /// Whether a caller may see a region.
    pub(crate) fn shows(&self, caller: &Caller, region: &str) -> bool {
        access::decide(&self.read().state, caller, &Want::See(region)) == Verdict::Allowed
    }

    /// Whether a caller may do what only administrators may.
    pub(crate) fn is_administrator(&self, caller: &Caller) -> bool {
        access::decide(&self.read().state, caller, &Want::Administer) == Verdict::Allowed
    }

    /// What an identity's connections to a region (`None`: to the catalog) may keep.
    pub(crate) fn leave(&self, identity: &str, region: Option<RegionId>) -> Leave {
        access::leave(&self.read().state, identity, region)
    }

    /// What is known of an identity.
    pub(crate) fn identity(&self, name: &str) -> Option<IdentityEntry> {
        self.read().state.identity(name).cloned()
    }

    /// All identities that something is known of, by name.
    pub(crate) fn identities(&self) -> Vec<IdentityEntry> {
        self.read().state.identities().cloned().collect()
    }

    /// The regions whose lists name an identity.
    pub(crate) fn listing(&self, identity: &str) -> Vec<RegionRecord> {
        let inner = self.read();
        let names = inner.listed.names(identity, "");
        names.filter_map(|name| inner.record(name)).collect()
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

    /// Up to `limit` of the regions that a caller may see, whose names sort behind `after`.
    pub(crate) fn page(&self, caller: &Caller, after: &str, limit: usize) -> Vec<RegionRecord> {
        let inner = self.read();
        match access::sight(&inner.state, caller) {
            Sight::All => {
                let all = inner.state.regions_by_name();
                let behind = all.skip_while(|entry| entry.name.as_str() <= after);
                behind.take(limit).map(RegionRecord::from).collect()
            }
            Sight::Listed(identity) => {
                let names = inner.listed.names(identity, after).take(limit);
                names.filter_map(|name| inner.record(name)).collect()
            }
        }
    }

    /// Up to `limit` regions, whoever may see them.
    pub(crate) fn first(&self, limit: usize) -> Vec<RegionRecord> {
        let inner = self.read();
        let all = inner.state.regions_by_name();
        all.take(limit).map(RegionRecord::from).collect()
    }

    /// How many regions a caller may see.
    pub(crate) fn count_for(&self, caller: &Caller) -> u64 {
        let inner = self.read();
        match access::sight(&inner.state, caller) {
            Sight::All => inner.state.regions().len() as u64,
            Sight::Listed(identity) => inner.listed.count(identity) as u64,
        }
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
                identity,
            } => region(*id).is_some_and(|entry| {
                let held = entry.owner.as_ref();
                entry.generation == *generation
                    && held.is_some_and(|held| held.label == *owner && held.identity == *identity)
            }),
            Record::Closed {
                region: id,
                generation,
            } => region(*id).is_some_and(|entry| entry.generation == *generation && entry.owner.is_none()),
            Record::Resized {
                region: id, extents, ..
            } => region(*id).is_some_and(|entry| entry.extents == *extents),
            Record::Deleted { region: id } => region(*id).is_none(),
            Record::ManagerGeneration { .. } => false,
            Record::IdentitySet { identity } => inner.state.identity(&identity.name) == Some(identity),
            Record::AccessChanged {
                region: id,
                identity,
                right,
                allowed,
            } => region(*id).is_some_and(|entry| entry.access.names(identity, *right) == *allowed),
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
            Record::RegionCreated {
                name,
                extents,
                access,
                ..
            } => (true, entry_bytes(name, extents.len(), 0) + access_bytes(access)),
            Record::Opened { owner, identity, .. } => (false, (owner.len() + identity.len()) as u64),
            Record::Resized { extents, .. } => (false, extents.len() as u64 * 16),
            Record::IdentitySet { identity } => {
                let is_urgent = identity.revoked || identity.administrator;
                (!is_urgent, identity_bytes(identity))
            }
            Record::AccessChanged {
                identity,
                allowed: true,
                ..
            } => (true, name_bytes(identity)),
            Record::AccessChanged { allowed: false, .. }
            | Record::Closed { .. }
            | Record::Deleted { .. }
            | Record::ManagerGeneration { .. } => {
                return Ok(0);
            }
        };
        // An eighth is kept for the owners of the regions that exist: a takeover must not fail for want of it, nor a
        // revocation, nor letting in who can make room.
        let bound = if is_creation {
            inner.max_snapshot / 8 * 7
        } else {
            inner.max_snapshot
        };
        if inner.snapshot_bytes + planned + more <= bound {
            return Ok(more);
        }
        let message = format!(
            "the catalog is full: {} regions and {} identities take {} of the {bound} bytes it may hold; delete some",
            inner.state.regions().len(),
            inner.state.identities().len(),
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
        let applied = inner.apply(change).map_err(|error| {
            // Checked before it was written, so this is a defect; recovery will stop at it and say so.
            tracing::error!(%error, ?change, "a change that was made durable breaks a rule of the catalog");
            CommitError::Refused(ControlError::new(ErrorCode::Invalid, error.to_string()))
        });
        drop(inner);
        if matches!(
            change,
            Record::IdentitySet { .. } | Record::AccessChanged { .. } | Record::Deleted { .. }
        ) {
            self.rights.send_modify(|changes| *changes += 1);
        }
        applied
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
        let identities: u64 = state.identities().map(identity_bytes).sum();
        let snapshot_bytes = state.regions().map(bytes_of).sum::<u64>() + identities;
        let listed = Listed::of(&state);
        Self {
            generation,
            state,
            allocator,
            listed,
            creating: HashSet::new(),
            snapshot_bytes,
            max_snapshot,
        }
    }

    fn record(&self, name: &str) -> Option<RegionRecord> {
        self.state.region_named(name).map(RegionRecord::from)
    }

    fn apply(&mut self, change: &Record) -> Result<(), CatalogError> {
        if let Record::IdentitySet { identity } = change {
            let before = self.state.identity(&identity.name).map_or(0, identity_bytes);
            self.state.apply(change)?;
            self.snapshot_bytes = (self.snapshot_bytes + identity_bytes(identity)).saturating_sub(before);
            return Ok(());
        }
        let region = subject(change);
        let before = region.and_then(|region| self.state.region(region)).cloned();
        self.state.apply(change)?;
        let after = region.and_then(|region| self.state.region(region));
        self.listed.follow(before.as_ref(), after);
        self.snapshot_bytes = (self.snapshot_bytes + after.map_or(0, bytes_of))
            .saturating_sub(before.as_ref().map_or(0, bytes_of));
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
            // The lock under which identities are changed lets one change be on its way.
            Record::IdentitySet { identity } => self.state.accepts_identity(identity).map_err(refused),
            Record::AccessChanged {
                region,
                identity,
                right,
                allowed,
            } => {
                let mut access = known(*region)?.access.clone();
                access.change(identity, *right, *allowed).map_err(refused)
            }
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
        Record::ManagerGeneration { .. } | Record::IdentitySet { .. } => None,
        Record::RegionCreated { region, .. }
        | Record::Opened { region, .. }
        | Record::Closed { region, .. }
        | Record::Resized { region, .. }
        | Record::AccessChanged { region, .. }
        | Record::Deleted { region } => Some(*region),
    }
}

fn bytes_of(entry: &RegionEntry) -> u64 {
    let owner = entry
        .owner
        .as_ref()
        .map_or(0, |owner| owner.label.len() + owner.identity.len());
    entry_bytes(&entry.name, entry.extents.len(), owner) + access_bytes(&entry.access)
}

fn access_bytes(access: &AccessList) -> u64 {
    access.owners().chain(access.readers()).map(name_bytes).sum()
}

fn identity_bytes(identity: &IdentityEntry) -> u64 {
    const FIXED: u64 = 20;
    let serials: u64 = identity
        .serials
        .iter()
        .map(|serial| serial.len() as u64 + 1)
        .sum();
    FIXED + identity.name.len() as u64 + serials
}

/// Bytes of a name with its length in front.
fn name_bytes(name: &str) -> u64 {
    name.len() as u64 + 2
}

/// A change that breaks a rule of the catalog which its caller can do something about.
fn refused(error: CatalogError) -> ControlError {
    let code = match error {
        CatalogError::AccessFull | CatalogError::IdentitiesFull => ErrorCode::Limit,
        _ => ErrorCode::Invalid,
    };
    ControlError::new(code, error.to_string())
}

/// At least what a region takes in a snapshot.
fn entry_bytes(name: &str, extents: usize, owner: usize) -> u64 {
    const FIXED: usize = 80;
    (FIXED + name.len() + extents * 16 + owner) as u64
}

pub(crate) fn no_such_region(name: &str) -> ControlError {
    let name = clipped(name);
    ControlError::new(ErrorCode::NoSuchRegion, format!("there is no region {name:?}"))
}

/// A name that somebody sent, and that may be anything: of one that is too long its beginning.
pub(crate) fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(limits::NAME_BYTES)]
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
            identity: String::new(),
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
