//! The catalog's state and the rules for changing it.

use std::collections::BTreeMap;

use super::{
    AccessList, CatalogError, EXTENT_ALIGN, Extent, IdentityEntry, MAX_EXTENTS, MAX_IDENTITIES,
    MAX_OWNER_BYTES, Record, Violation, footprint, valid_identity, valid_name,
};
use crate::{Geometry, RegionId, RegionKind};

/// The regions of one unit, and the identities that it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    allocatable: Extent,
    manager_generation: u64,
    regions: BTreeMap<RegionId, RegionEntry>,
    names: BTreeMap<String, RegionId>,
    extents: BTreeMap<u64, (u64, RegionId)>,
    identities: BTreeMap<String, IdentityEntry>,
}

/// One region as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionEntry {
    /// Its identity.
    pub region: RegionId,
    /// Its name.
    pub name: String,
    /// What its bytes mean.
    pub kind: RegionKind,
    /// Bytes of its data.
    pub size: u64,
    /// Snapshot slots; 0 for a raw region.
    pub slots: u32,
    /// Largest snapshot in bytes; 0 for a raw region.
    pub max_snapshot: u64,
    /// Where it lies, side by side; the first begins with the metadata page.
    pub extents: Vec<Extent>,
    /// When it was created: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Generation of ownership; 0 before the first open.
    pub generation: u64,
    /// The owner, until it closes.
    pub owner: Option<Owner>,
    /// Who may use it.
    pub access: AccessList,
}

/// The primary of a region's generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Advertised address or label.
    pub label: String,
    /// Its identity.
    pub identity: String,
}

impl Catalog {
    /// An empty catalog over the allocatable bytes of a medium.
    pub fn new(allocatable: Extent) -> Self {
        Self {
            allocatable,
            manager_generation: 0,
            regions: BTreeMap::new(),
            names: BTreeMap::new(),
            extents: BTreeMap::new(),
            identities: BTreeMap::new(),
        }
    }

    /// Changes the state.
    ///
    /// # Errors
    /// The rule that the record breaks; nothing changed.
    pub fn apply(&mut self, record: &Record) -> Result<(), CatalogError> {
        match record {
            Record::ManagerGeneration { generation } => {
                rises(*generation, self.manager_generation)?;
                self.manager_generation = *generation;
                Ok(())
            }
            Record::RegionCreated {
                region,
                name,
                kind,
                size,
                slots,
                max_snapshot,
                extents,
                created_ms,
                access,
            } => self.insert(RegionEntry {
                region: *region,
                name: name.clone(),
                kind: *kind,
                size: *size,
                slots: *slots,
                max_snapshot: *max_snapshot,
                extents: extents.clone(),
                created_ms: *created_ms,
                generation: 0,
                owner: None,
                access: access.clone(),
            }),
            Record::Opened {
                region,
                generation,
                owner,
                identity,
            } => {
                let owner = Owner {
                    label: owner.clone(),
                    identity: identity.clone(),
                };
                check_owner(&owner)?;
                let entry = self.entry_mut(*region)?;
                rises(*generation, entry.generation)?;
                entry.generation = *generation;
                entry.owner = Some(owner);
                Ok(())
            }
            Record::Closed { region, generation } => {
                let entry = self.entry_mut(*region)?;
                if *generation != entry.generation {
                    return Err(CatalogError::Generation {
                        generation: *generation,
                        current: entry.generation,
                    });
                }
                entry.owner = None;
                Ok(())
            }
            Record::Resized {
                region,
                size,
                extents,
            } => self.resize(*region, *size, extents),
            Record::Deleted { region } => self.remove(*region),
            Record::IdentitySet { identity } => self.set_identity(identity.clone()),
            Record::AccessChanged {
                region,
                identity,
                right,
                allowed,
            } => self.entry_mut(*region)?.access.change(identity, *right, *allowed),
        }
    }

    /// The allocatable bytes.
    pub fn allocatable(&self) -> Extent {
        self.allocatable
    }

    /// Highest manager generation.
    pub fn manager_generation(&self) -> u64 {
        self.manager_generation
    }

    /// All regions, by identity.
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &RegionEntry> {
        self.regions.values()
    }

    /// All regions, by name.
    pub fn regions_by_name(&self) -> impl ExactSizeIterator<Item = &RegionEntry> {
        self.names.values().map(|region| &self.regions[region])
    }

    /// A region by its identity.
    pub fn region(&self, region: RegionId) -> Option<&RegionEntry> {
        self.regions.get(&region)
    }

    /// A region by its name.
    pub fn region_named(&self, name: &str) -> Option<&RegionEntry> {
        self.names.get(name).and_then(|region| self.regions.get(region))
    }

    /// What is known of an identity; `None`: it has no role, and was not revoked.
    pub fn identity(&self, name: &str) -> Option<&IdentityEntry> {
        self.identities.get(name)
    }

    /// Whether an identity may be set to this entry.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn accepts_identity(&self, identity: &IdentityEntry) -> Result<(), CatalogError> {
        identity.check()?;
        let is_new = !self.identities.contains_key(&identity.name);
        if is_new && self.identities.len() >= MAX_IDENTITIES {
            return Err(CatalogError::IdentitiesFull);
        }
        Ok(())
    }

    /// All identities that something is known of, by name.
    pub fn identities(&self) -> impl ExactSizeIterator<Item = &IdentityEntry> {
        self.identities.values()
    }

    /// Bytes that no extent covers.
    pub fn free_bytes(&self) -> u64 {
        self.allocatable.len - self.extents.values().map(|(len, _)| len).sum::<u64>()
    }

    /// Ranges that no extent covers, in order.
    pub fn free_ranges(&self) -> Vec<Extent> {
        let mut free = Vec::new();
        let mut at = self.allocatable.start;
        let end = self.allocatable.start + self.allocatable.len;
        for (start, (len, _)) in &self.extents {
            if *start > at {
                free.push(Extent {
                    start: at,
                    len: start - at,
                });
            }
            at = start + len;
        }
        if end > at {
            free.push(Extent {
                start: at,
                len: end - at,
            });
        }
        free
    }

    /// Checks every invariant anew, from the regions' entries alone. Empty when all hold.
    pub fn check(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut rebuilt = Self::new(self.allocatable);
        for entry in self.regions.values() {
            if let Err(error) = rebuilt.insert(entry.clone()) {
                violations.push(match error {
                    CatalogError::Overlap { start, with, .. } => Violation::Overlap {
                        first: start,
                        first_region: entry.region,
                        second: self.extent_start(with, start),
                        second_region: with,
                    },
                    error => Violation::Entry {
                        region: entry.region,
                        error,
                    },
                });
            }
        }
        for identity in self.identities.values() {
            if let Err(error) = rebuilt.insert_identity(identity.clone()) {
                let identity = identity.name.clone();
                violations.push(Violation::Identity { identity, error });
            }
        }
        if violations.is_empty() {
            // The index from which free space is derived must be what the entries say.
            for (start, (len, _)) in &self.extents {
                if rebuilt.extents.get(start).is_none_or(|(real, _)| real != len) {
                    violations.push(Violation::Leaked {
                        start: *start,
                        bytes: *len,
                    });
                }
            }
            for (start, (len, _)) in &rebuilt.extents {
                if self.extents.get(start).is_none_or(|(known, _)| known != len) {
                    violations.push(Violation::Shared {
                        start: *start,
                        bytes: *len,
                    });
                }
            }
        }
        violations
    }

    /// Puts a whole entry in, as a snapshot or a creation has it.
    pub(super) fn insert(&mut self, entry: RegionEntry) -> Result<(), CatalogError> {
        if !valid_name(&entry.name) {
            return Err(CatalogError::Name { name: entry.name });
        }
        if self.names.contains_key(&entry.name) {
            return Err(CatalogError::NameTaken { name: entry.name });
        }
        if self.regions.contains_key(&entry.region) {
            return Err(CatalogError::Exists { region: entry.region });
        }
        entry.owner.as_ref().map_or(Ok(()), check_owner)?;
        check_layout(&entry)?;
        self.check_extents(entry.region, entry.size, &entry.extents)?;
        for extent in &entry.extents {
            self.extents.insert(extent.start, (extent.len, entry.region));
        }
        self.names.insert(entry.name.clone(), entry.region);
        self.regions.insert(entry.region, entry);
        Ok(())
    }

    /// Puts an identity in that is not there yet, as a snapshot has it.
    pub(super) fn insert_identity(&mut self, identity: IdentityEntry) -> Result<(), CatalogError> {
        if self.identities.contains_key(&identity.name) {
            return Err(CatalogError::Identity {
                identity: identity.name,
            });
        }
        self.set_identity(identity)
    }

    fn set_identity(&mut self, identity: IdentityEntry) -> Result<(), CatalogError> {
        self.accepts_identity(&identity)?;
        self.identities.insert(identity.name.clone(), identity);
        Ok(())
    }

    pub(super) fn set_manager_generation(&mut self, generation: u64) {
        self.manager_generation = generation;
    }

    fn resize(&mut self, region: RegionId, size: u64, extents: &[Extent]) -> Result<(), CatalogError> {
        let entry = self
            .regions
            .get(&region)
            .ok_or(CatalogError::NoSuchRegion { region })?;
        let total = extents
            .iter()
            .map(|extent| extent.len)
            .fold(0, u64::saturating_add);
        if size < entry.size || !keeps(&entry.extents, extents) {
            return Err(CatalogError::Extents {
                count: extents.len(),
                total,
                size,
            });
        }
        self.check_extents(region, size, extents)?;
        let old = self.entry_mut(region)?;
        old.size = size;
        let before = std::mem::replace(&mut old.extents, extents.to_vec());
        for extent in before {
            self.extents.remove(&extent.start);
        }
        for extent in extents {
            self.extents.insert(extent.start, (extent.len, region));
        }
        Ok(())
    }

    fn remove(&mut self, region: RegionId) -> Result<(), CatalogError> {
        let entry = self
            .regions
            .remove(&region)
            .ok_or(CatalogError::NoSuchRegion { region })?;
        self.names.remove(&entry.name);
        for extent in &entry.extents {
            self.extents.remove(&extent.start);
        }
        Ok(())
    }

    /// Checks a region's extents against the medium, each other and everybody else's.
    fn check_extents(&self, region: RegionId, size: u64, extents: &[Extent]) -> Result<(), CatalogError> {
        let total = extents
            .iter()
            .map(|extent| extent.len)
            .fold(0, u64::saturating_add);
        if extents.is_empty() || extents.len() > MAX_EXTENTS || Some(total) != footprint(size) {
            return Err(CatalogError::Extents {
                count: extents.len(),
                total,
                size,
            });
        }
        let mut sorted = extents.to_vec();
        sorted.sort_unstable();
        let mut previous_end = 0;
        for Extent { start, len } in sorted {
            let end = self
                .end_within(start, len)
                .ok_or(CatalogError::Extent { start, len })?;
            if start < previous_end {
                return Err(CatalogError::Overlap {
                    start,
                    end,
                    with: region,
                });
            }
            previous_end = end;
            let mut others = self
                .extents
                .range(..end)
                .rev()
                .filter(|(_, (_, owner))| *owner != region);
            if let Some((other, (other_len, with))) = others.next()
                && other + other_len > start
            {
                return Err(CatalogError::Overlap {
                    start,
                    end,
                    with: *with,
                });
            }
        }
        Ok(())
    }

    fn end_within(&self, start: u64, len: u64) -> Option<u64> {
        let end = start.checked_add(len)?;
        let limit = self.allocatable.end()?;
        let aligned = start.is_multiple_of(EXTENT_ALIGN) && len.is_multiple_of(EXTENT_ALIGN) && len > 0;
        (aligned && start >= self.allocatable.start && end <= limit).then_some(end)
    }

    fn extent_start(&self, region: RegionId, near: u64) -> u64 {
        let extents = self
            .regions
            .get(&region)
            .map(|entry| entry.extents.as_slice())
            .unwrap_or_default();
        extents
            .iter()
            .map(|extent| extent.start)
            .min_by_key(|start| start.abs_diff(near))
            .unwrap_or(near)
    }

    fn entry_mut(&mut self, region: RegionId) -> Result<&mut RegionEntry, CatalogError> {
        self.regions
            .get_mut(&region)
            .ok_or(CatalogError::NoSuchRegion { region })
    }
}

fn rises(generation: u64, current: u64) -> Result<(), CatalogError> {
    if generation > current {
        Ok(())
    } else {
        Err(CatalogError::Generation { generation, current })
    }
}

fn check_owner(owner: &Owner) -> Result<(), CatalogError> {
    if owner.label.len() > MAX_OWNER_BYTES {
        return Err(CatalogError::Owner);
    }
    if !valid_identity(&owner.identity) {
        let identity = owner.identity.clone();
        return Err(CatalogError::Identity { identity });
    }
    Ok(())
}

fn check_layout(entry: &RegionEntry) -> Result<(), CatalogError> {
    let holds = match entry.kind {
        // A region grows behind its layout's back until its owner resizes it, never the other way round.
        RegionKind::Checkpoint => {
            entry.slots > 0 && Geometry::new(entry.size, entry.slots, entry.max_snapshot).is_ok()
        }
        RegionKind::Raw => entry.slots == 0 && entry.max_snapshot == 0 && entry.size > 0,
    };
    if holds { Ok(()) } else { Err(CatalogError::Layout) }
}

/// Whether `now` begins with all that was there before; only the last extent may have grown in place.
fn keeps(before: &[Extent], now: &[Extent]) -> bool {
    let Some((last, front)) = before.split_last() else {
        return true;
    };
    now.len() >= before.len()
        && now[..front.len()] == *front
        && now[front.len()].start == last.start
        && now[front.len()].len >= last.len
}
