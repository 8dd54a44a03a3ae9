//! Checks a closed medium: superblock, catalog, extents, and every region's sets.
//!
//! It reads with `outlive-layout`, as everybody does. It changes nothing unless it is told to repair, and then
//! only rewrites a copy that does not verify from the one that does.

mod extents;
#[cfg(test)]
mod power;
mod regions;
mod report;

use std::path::Path;
use std::sync::Arc;

use outlive_layout::catalog::{Catalog, Extent, Record};
use outlive_layout::geometry::{HEARTBEAT_OFFSET, SEALS_OFFSET};
use outlive_layout::metadata::METADATA_PAGE_BYTES;
use outlive_layout::{ReadError, Reader, Recovery, RecoveryOptions, RegionId, Set, Settling, Start};
use outlive_media::{Copy, FileMedia, MediaError, Medium, Superblock};

pub(crate) use self::extents::Extents;
pub(crate) use self::report::Report;

/// Why a medium could not be checked at all.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct NotChecked(#[from] pub(crate) MediaError);

/// Checks the medium at `path`, and repairs what can be, if asked to.
///
/// # Errors
/// [`NotChecked`] where there is no such medium, or it is in use, or it is none of ours. What is wrong with it
/// stands in the report.
pub(crate) fn check(path: &Path, repair: bool) -> Result<Report, NotChecked> {
    check_medium(
        Medium::new(Box::new(FileMedia::open_for_check(path, repair)?)),
        path,
        repair,
    )
}

fn check_medium(medium: Medium, path: &Path, repair: bool) -> Result<Report, NotChecked> {
    if repair {
        // A killed unit may have left the good copy placed only: power must not take it along with the one that is repaired
        // from it.
        medium.settle()?;
    }
    let mut check = Check {
        medium: Arc::new(medium),
        repair,
        report: Report::new(path),
    };
    if let Some(superblock) = check.superblock()? {
        check.contents(&superblock)?;
    }
    Ok(check.report)
}

struct Check {
    medium: Arc<Medium>,
    repair: bool,
    report: Report,
}

impl Check {
    /// The superblock, unless no copy of it is any good.
    fn superblock(&mut self) -> Result<Option<Superblock>, NotChecked> {
        let copies = Superblock::read_copies(&self.medium);
        let newest = match Superblock::read(&self.medium) {
            Ok(newest) => newest,
            Err(error @ (MediaError::Superblock { .. } | MediaError::WrongLength { .. })) => {
                self.report.problem("superblock", Some(0), error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        for (index, copy) in copies.iter().enumerate() {
            if matches!(copy, Copy::Valid(_)) {
                continue;
            }
            let offset = index as u64 * outlive_media::superblock::BLOCK;
            let finding = self
                .report
                .problem("superblock", Some(offset), format!("copy {index}: {copy}"));
            if self.repair {
                // Copies take turns, so the next sequence goes to the damaged one.
                Superblock {
                    sequence: newest.sequence + 1,
                    ..newest
                }
                .write(&self.medium)?;
                self.report.repaired(
                    finding,
                    format!("superblock copy {index} rewritten from the other one"),
                );
            }
        }
        self.report.unit = newest.geometry.unit.to_string();
        self.report.incarnation = newest.incarnation;
        Ok(Some(newest))
    }

    fn contents(&mut self, superblock: &Superblock) -> Result<(), NotChecked> {
        let geometry = &superblock.geometry;
        let allocatable = Extent {
            start: geometry.allocatable_start,
            len: geometry.allocatable_len,
        };
        let data = Extent {
            start: geometry.catalog_data_start(),
            len: geometry.catalog_data_len(),
        };
        let region = RegionId(geometry.catalog_region);
        self.catalog_page(geometry.catalog_start, region)?;
        let source = Extents::new(self.medium.clone(), vec![data]);
        let Some(recovered) = self.checkpoint("catalog", region, data.len, source)? else {
            return Ok(());
        };
        let Some(catalog) = self.catalog(&recovered, allocatable) else {
            return Ok(());
        };
        for violation in catalog.check() {
            self.report.problem("catalog", None, violation.to_string());
        }
        self.report.regions = catalog.regions().len();
        self.report.free_bytes = catalog.free_bytes();
        self.report.regions_bytes = allocatable.len - catalog.free_bytes();
        catalog
            .regions_by_name()
            .try_for_each(|region| self.region(region))
    }

    /// The page before the catalog's data.
    fn catalog_page(&mut self, start: u64, region: RegionId) -> Result<(), NotChecked> {
        let len = METADATA_PAGE_BYTES as u64;
        let mut extent = Extents::new(self.medium.clone(), vec![Extent { start, len }]);
        match regions::metadata_page(&mut extent)? {
            Err(wrong) => {
                self.report
                    .problem("catalog", None, format!("metadata page: {wrong}"));
            }
            Ok(page) if page.region != region => {
                let message = format!("metadata page belongs to region {} ({})", page.name, page.region);
                self.report.problem("catalog", None, message);
            }
            Ok(_) => {}
        }
        Ok(())
    }

    /// The catalog's state, unless a record in it breaks a rule.
    fn catalog(&mut self, recovered: &Recovery, allocatable: Extent) -> Option<Catalog> {
        match replay(recovered.snapshot.as_ref(), &recovered.updates, allocatable) {
            Ok(catalog) => Some(catalog),
            Err(wrong) => {
                self.report.problem("catalog", None, wrong);
                None
            }
        }
    }

    /// Checks a region in the checkpoint layout: control block copies, every seal, every set. Returns what it holds
    /// where that can be read.
    fn checkpoint(
        &mut self,
        name: &str,
        region: RegionId,
        data_len: u64,
        mut source: Extents,
    ) -> Result<Option<Recovery>, NotChecked> {
        let mut reader = match Reader::open(&mut source, region, data_len) {
            Ok(reader) => reader,
            Err(error) => {
                let message = said(error)?;
                self.report.problem(name, Some(0), message);
                return Ok(None);
            }
        };
        match reader.log(&mut source) {
            Ok((sets, findings)) => {
                self.report.sets += sets.len();
                self.report.layout(name, &findings);
            }
            Err(error) => {
                let message = said(error)?;
                self.report.problem_once(name, message);
            }
        }
        let options = RecoveryOptions {
            accept_loss: false,
            scan_whole: true,
        };
        match reader.recover(&mut source, Start::Everything, &options) {
            Ok(recovered) => {
                self.report.layout(name, &recovered.findings);
                self.renew(name, &recovered, &mut source)?;
                Ok(Some(recovered))
            }
            Err(ReadError::Corrupt { finding }) => {
                self.report.layout(name, &[finding]);
                Ok(None)
            }
            Err(error) => {
                let message = said(error)?;
                self.report.problem_once(name, message);
                Ok(None)
            }
        }
    }

    /// Renews copies that do not verify from those that do, and the heartbeat block, which holds news only, where the device
    /// cannot read it. A slot whose seal cannot be read is left to the region's next owner.
    fn renew(&mut self, name: &str, recovered: &Recovery, source: &mut Extents) -> Result<(), NotChecked> {
        let repairs = recovered.repairs.iter();
        let repairs: Vec<_> = repairs.filter(|(offset, _)| *offset < SEALS_OFFSET).collect();
        if !self.repair || repairs.is_empty() {
            return Ok(());
        }
        recovered.settling().try_for_each(|step| match step {
            Settling::Persist => self.medium.settle(),
            Settling::Write(offset, bytes) if offset < SEALS_OFFSET => source.write_at(offset, bytes),
            Settling::Write(..) => Ok(()),
        })?;
        for (offset, bytes) in &repairs {
            let what = if *offset < HEARTBEAT_OFFSET {
                "control block copy rewritten from the other one"
            } else {
                "heartbeat block, which could not be read, written anew"
            };
            let range = *offset..*offset + bytes.len() as u64;
            let done = format!("{name}: offset {offset}: {what}");
            self.report.repaired_in(name, &range, done);
        }
        Ok(())
    }
}

/// The catalog that these sets make.
pub(crate) fn replay(
    snapshot: Option<&Set>,
    updates: &[Set],
    allocatable: Extent,
) -> Result<Catalog, String> {
    let mut catalog = match snapshot {
        None => Catalog::new(allocatable),
        Some(set) => Catalog::decode(&set.payload, allocatable)
            .map_err(|error| format!("snapshot {}: {error}", set.sequence))?,
    };
    for update in updates {
        let wrong = |error: &dyn std::error::Error| format!("update {}: {error}", update.sequence);
        let records = Record::decode_all(&update.payload).map_err(|error| wrong(&error))?;
        for record in &records {
            catalog.apply(record).map_err(|error| wrong(&error))?;
        }
    }
    Ok(catalog)
}

/// What a reader could not do, unless the whole medium is out of use.
fn said(error: ReadError<MediaError>) -> Result<String, NotChecked> {
    match error {
        ReadError::Source { source: error, .. } if error.is_unreadable() => Ok(with_causes(&error)),
        ReadError::Source { source, .. } => Err(source.into()),
        error => Ok(error.to_string()),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
