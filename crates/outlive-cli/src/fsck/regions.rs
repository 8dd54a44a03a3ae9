//! One region: its metadata page against the catalog, then its sets.

use outlive_layout::catalog::RegionEntry;
use outlive_layout::metadata::{AccessEntry, METADATA_PAGE_BYTES};
use outlive_layout::{MetadataPage, RegionKind, Source};

use super::extents::Extents;
use super::{Check, NotChecked};

impl Check {
    pub(super) fn region(&mut self, entry: &RegionEntry) -> Result<(), NotChecked> {
        let mut whole = Extents::new(self.medium.clone(), entry.extents.clone());
        let page = metadata_page(&mut whole)?;
        match page {
            Err(error) => {
                self.report
                    .problem(&entry.name, None, format!("metadata page: {error}"));
            }
            Ok(page) => self.compare(entry, &page),
        }
        if entry.kind == RegionKind::Checkpoint {
            let data = whole.behind(METADATA_PAGE_BYTES as u64);
            self.checkpoint(&entry.name, entry.region, entry.size, data)?;
        }
        Ok(())
    }

    fn compare(&mut self, entry: &RegionEntry, page: &MetadataPage) {
        if page.region != entry.region || page.name != entry.name || page.kind != entry.kind {
            let message = format!(
                "metadata page belongs to {} region {} ({})",
                page.kind, page.name, page.region
            );
            self.report.problem(&entry.name, None, message);
        } else if page.generation != entry.generation || page.size != entry.size {
            // A crash between the catalog's change and the page's leaves this; the next open renews the page.
            let message = format!(
                "metadata page is of generation {} and {} bytes, the catalog of generation {} and {} bytes",
                page.generation, page.size, entry.generation, entry.size
            );
            self.report.note(&entry.name, None, message);
        } else if page.access != entry.access.entries() {
            // So does a crash while access was changed: the catalog is what counts.
            let message = format!(
                "metadata page lists {}, the catalog {}",
                listed(&page.access),
                listed(&entry.access.entries())
            );
            self.report.note(&entry.name, None, message);
        }
    }
}

/// The page that a region begins with, or what is wrong with it.
pub(super) fn metadata_page(region: &mut Extents) -> Result<Result<MetadataPage, String>, NotChecked> {
    let mut page = [0; METADATA_PAGE_BYTES];
    match region.read_at(0, &mut page) {
        Ok(()) => Ok(MetadataPage::decode(&page).map_err(|error| error.to_string())),
        Err(error) if error.is_unreadable() => Ok(Err(super::with_causes(&error))),
        Err(error) => Err(error.into()),
    }
}

/// Who may use a region, for people.
fn listed(access: &[AccessEntry]) -> String {
    let entry = |entry: &AccessEntry| {
        let role = if entry.writable { "owner" } else { "reader" };
        format!("{role} {}", entry.identity)
    };
    match access {
        [] => "nobody".to_owned(),
        access => access.iter().map(entry).collect::<Vec<_>>().join(", "),
    }
}
