//! A medium with its superblock.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use outlive_layout::{Geometry as CheckpointGeometry, MetadataPage, RegionId, RegionKind};

use crate::superblock::{BLOCK, Copy, Geometry, Superblock, UnitId};
use crate::{MediaError, Medium, Stored};

/// How the catalog's region is called.
const CATALOG_NAME: &str = "catalog";
const CATALOG_SLOTS: u32 = 2;

/// A medium in service: its geometry is known, its incarnation raised and as durable as the medium can.
#[derive(Debug)]
pub struct Volume {
    medium: Arc<Medium>,
    geometry: Geometry,
    incarnation: u64,
    superblock: Mutex<Superblock>,
}

impl Volume {
    /// Formats the medium if it is new, reads its superblock, and raises the incarnation.
    ///
    /// # Errors
    /// Those of [`Superblock::read`] and of the medium.
    pub fn start(medium: Medium, stored: Stored) -> Result<Self, MediaError> {
        let superblock = match stored {
            Stored::New => format(&medium)?,
            Stored::Before => {
                // A unit that was killed may have left its newest copy placed only. The other one is about to be
                // overwritten: power must not take both.
                medium.settle()?;
                Superblock::read(&medium)?
            }
        };
        Self::serve(medium, superblock)
    }

    /// What lies where.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// How often the medium was opened to be served, this time included.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The generation of the manager that attached last; 0 before the first.
    pub fn manager_generation(&self) -> u64 {
        self.lock().manager_generation
    }

    /// Raises the manager generation, makes it as durable as the medium can, and returns it.
    ///
    /// # Errors
    /// The medium's; then the generation is what it was.
    pub fn raise_manager_generation(&self) -> Result<u64, MediaError> {
        let mut superblock = self.lock();
        let mut next = *superblock;
        next.manager_generation += 1;
        next.renew(&self.medium)?;
        *superblock = next;
        Ok(next.manager_generation)
    }

    /// What is wrong with the superblock's copies, in words; the other one serves, and the next start writes both anew. Reads them,
    /// and holds nobody up meanwhile. Nothing where the medium has failed: it says so itself, and serves no reads.
    pub fn superblock_problems(&self) -> Vec<String> {
        // What is written meanwhile is looked at again.
        let mut current = *self.lock();
        let copies = loop {
            let copies = Superblock::read_copies(&self.medium);
            let now = *self.lock();
            if now == current {
                break copies;
            }
            current = now;
        };
        if self.medium.failure().is_some() {
            return Vec::new();
        }
        let wrong = copies.iter().enumerate().filter_map(|(index, copy)| {
            let problem = match copy {
                Copy::Valid(found) if same_numbers(found, &current) => return None,
                Copy::Valid(_) => "is of an earlier start, or of another medium".to_owned(),
                copy => copy.to_string(),
            };
            let offset = index as u64 * BLOCK;
            Some(format!("superblock copy {index} at offset {offset}: {problem}"))
        });
        wrong.collect()
    }

    /// The medium.
    pub fn medium(&self) -> &Arc<Medium> {
        &self.medium
    }

    pub(crate) fn serve(medium: Medium, mut superblock: Superblock) -> Result<Self, MediaError> {
        superblock.incarnation += 1;
        superblock.renew(&medium)?;
        Ok(Self {
            medium: Arc::new(medium),
            geometry: superblock.geometry,
            incarnation: superblock.incarnation,
            superblock: Mutex::new(superblock),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Superblock> {
        self.superblock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_numbers(one: &Superblock, other: &Superblock) -> bool {
    let numbers = |superblock: &Superblock| {
        (
            superblock.geometry,
            superblock.incarnation,
            superblock.manager_generation,
        )
    };
    numbers(one) == numbers(other)
}

/// Writes an empty catalog, then both copies of the superblock, the first of them last: until that is
/// persistent, the mark of an unfinished medium stands there.
fn format(medium: &Medium) -> Result<Superblock, MediaError> {
    let geometry = Geometry::lay_out(medium.len(), UnitId(random()?), random()?)?;
    medium.zero(geometry.catalog_start, geometry.catalog_len)?;
    write_catalog(medium, &geometry)?;
    medium.settle()?;
    let first = Superblock {
        geometry,
        incarnation: 0,
        manager_generation: 0,
        sequence: 1,
    };
    first.write(medium)?;
    let second = Superblock { sequence: 2, ..first };
    second.write(medium)?;
    Ok(second)
}

/// The catalog's region: a metadata page and an empty checkpoint in the layout of everybody's. Three eighths for each of two
/// snapshots and a quarter for the journal: what is kept is mostly state.
fn write_catalog(medium: &Medium, geometry: &Geometry) -> Result<(), MediaError> {
    let unfit = |error: &dyn std::error::Error| MediaError::Catalog(error.to_string());
    let region = RegionId(geometry.catalog_region);
    let size = geometry.catalog_data_len();
    let max_snapshot = size / 8 * 3 / BLOCK * BLOCK;
    let checkpoint =
        CheckpointGeometry::new(size, CATALOG_SLOTS, max_snapshot).map_err(|error| unfit(&error))?;
    for (offset, bytes) in checkpoint.format(region) {
        medium.store(geometry.catalog_data_start() + offset, &bytes)?;
    }
    let page = MetadataPage {
        region,
        name: CATALOG_NAME.to_owned(),
        kind: RegionKind::Checkpoint,
        size,
        slots: CATALOG_SLOTS,
        max_snapshot,
        generation: 0,
        owner: String::new(),
        created_ms: since_epoch_ms(),
        ranges: vec![(0, size)],
        access: Vec::new(),
    };
    medium.store(
        geometry.catalog_start,
        &page.encode().map_err(|error| unfit(&error))?,
    )
}

fn since_epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn random() -> Result<[u8; 16], MediaError> {
    let mut bytes = [0; 16];
    let action = "get random bytes";
    getrandom::fill(&mut bytes).map_err(|error| MediaError::System {
        action,
        source: io::Error::other(error),
    })?;
    Ok(bytes)
}
