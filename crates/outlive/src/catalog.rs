//! The unit's catalog, read one-sidedly, for administrators.

use crate::{RegionView, Result};

/// Read-only access to the catalog in the unit's own memory: no code of the manager runs when it is read.
pub struct CatalogView {}

impl CatalogView {
    /// The regions that the catalog holds now, by name. `owner_alive` and `readers` are not in the
    /// catalog and are false and 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the catalog does not verify;
    /// [`Error::Unreachable`](crate::Error::Unreachable) where the unit is gone.
    pub fn regions(&mut self) -> Result<Vec<RegionView>> {
        todo!()
    }
}
