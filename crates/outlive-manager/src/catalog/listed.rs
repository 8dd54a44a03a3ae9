//! Which regions name an identity: so that a list for somebody costs what is in it, and not what there is.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use outlive_layout::catalog::{Catalog, RegionEntry};

/// Names of regions by the identities in their lists; follows the catalog.
#[derive(Debug, Default)]
pub(super) struct Listed {
    regions: HashMap<String, BTreeSet<String>>,
}

impl Listed {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut listed = Self::default();
        for entry in catalog.regions() {
            listed.follow(None, Some(entry));
        }
        listed
    }

    /// A region was `before` and is `after`.
    pub(super) fn follow(&mut self, before: Option<&RegionEntry>, after: Option<&RegionEntry>) {
        if let (Some(before), Some(after)) = (before, after)
            && before.access == after.access
        {
            return;
        }
        for (identity, region) in before.into_iter().flat_map(named) {
            if let Some(regions) = self.regions.get_mut(identity) {
                regions.remove(region);
                if regions.is_empty() {
                    self.regions.remove(identity);
                }
            }
        }
        for (identity, region) in after.into_iter().flat_map(named) {
            let regions = self.regions.entry(identity.to_owned()).or_default();
            regions.insert(region.to_owned());
        }
    }

    /// The regions that name an identity, behind `after`.
    pub(super) fn names(&self, identity: &str, after: &str) -> impl Iterator<Item = &str> {
        let regions = self.regions.get(identity).into_iter();
        let behind = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
        regions
            .flat_map(move |regions| regions.range(behind.clone()))
            .map(String::as_str)
    }

    /// How many they are.
    pub(super) fn count(&self, identity: &str) -> usize {
        self.regions.get(identity).map_or(0, BTreeSet::len)
    }
}

fn named(entry: &RegionEntry) -> impl Iterator<Item = (&str, &str)> {
    let identities = entry.access.owners().chain(entry.access.readers());
    identities.map(|identity| (identity, entry.name.as_str()))
}
