//! The unit's catalog, read one-sidedly, for administrators.

use outlive_layout::catalog::{Catalog, Extent, Record, RegionEntry};
use outlive_layout::{ReadOptions, Reader, Reading};

use crate::control::Backoff;
use crate::link::{Link, LinkError, describe};
use crate::{Error, RegionKind, RegionView, Result, Session};

/// The whole medium may hold extents; where regions really may lie is the unit's and the manager's business.
const ANYWHERE: Extent = Extent {
    start: 0,
    len: 1 << 62,
};

/// Read-only access to the catalog in the unit's own memory: no code of the manager runs when it is read.
pub struct CatalogView {
    session: Session,
    link: Option<Link>,
}

impl CatalogView {
    pub(crate) fn open(session: &Session) -> Result<Self> {
        let link = session.open_catalog()?.link;
        Ok(Self {
            session: session.clone(),
            link: Some(link),
        })
    }

    /// The regions that the catalog holds now, by name. `owner_alive` and `readers` are not in the
    /// catalog and are false and 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the catalog does not verify; [`Error::Unreachable`] where the unit is gone.
    pub fn regions(&mut self) -> Result<Vec<RegionView>> {
        let catalog = self.read()?;
        Ok(catalog.regions_by_name().map(view).collect())
    }

    /// Bytes of the medium that regions hold, their metadata pages included.
    ///
    /// # Errors
    /// As for [`regions`](Self::regions).
    pub fn allocated_bytes(&mut self) -> Result<u64> {
        let catalog = self.read()?;
        let extents = catalog.regions().flat_map(|entry| &entry.extents);
        Ok(extents.map(|extent| extent.len).sum())
    }

    fn read(&mut self) -> Result<Catalog> {
        let mut backoff = Backoff::new(self.session.options().retry_for);
        loop {
            let link = self
                .link
                .take()
                .map_or_else(|| self.session.open_catalog().map(|granted| granted.link), Ok);
            let mut link = link?;
            let (id, len) = (link.layout_id(), link.len());
            let read = Reader::open(&mut link, id, len)
                .and_then(|mut reader| reader.read(&mut link, &ReadOptions::default()));
            match read {
                Ok(reading) => {
                    self.link = Some(link);
                    return replay(&reading);
                }
                Err(outlive_layout::ReadError::Source {
                    source: LinkError::Lost(error),
                    ..
                }) => {
                    let Some(pause) = backoff.next() else {
                        return Err(Error::Unreachable {
                            what: "the unit",
                            address: link.address.clone(),
                            tried: backoff.tried(),
                            reason: describe(&error),
                        });
                    };
                    std::thread::sleep(pause);
                }
                Err(error) => return Err(link.read_error(error)),
            }
        }
    }
}

fn replay(reading: &Reading) -> Result<Catalog> {
    let broken = |reason: String| Error::Protocol {
        reason: format!("the catalog cannot be understood: {reason}"),
    };
    let mut catalog = match &reading.snapshot {
        Some(set) => Catalog::decode(&set.payload, ANYWHERE).map_err(|error| broken(error.to_string()))?,
        None => Catalog::new(ANYWHERE),
    };
    for update in &reading.updates {
        let records = Record::decode_all(&update.payload).map_err(|error| broken(error.to_string()))?;
        for record in records {
            catalog
                .apply(&record)
                .map_err(|error| broken(error.to_string()))?;
        }
    }
    Ok(catalog)
}

fn view(entry: &RegionEntry) -> RegionView {
    RegionView {
        name: entry.name.clone(),
        id: crate::RegionId(entry.region.0),
        kind: RegionKind::from_layout(entry.kind),
        size: entry.size,
        slots: entry.slots,
        max_snapshot: entry.max_snapshot,
        generation: entry.generation,
        owner: entry
            .owner
            .as_ref()
            .map(|owner| owner.label.clone())
            .unwrap_or_default(),
        owner_alive: false,
        extents: u32::try_from(entry.extents.len()).unwrap_or(u32::MAX),
        readers: 0,
        created_unix_ms: entry.created_ms,
        may_own: entry.access.owners().map(str::to_owned).collect(),
        may_read: entry.access.readers().map(str::to_owned).collect(),
        owner_identity: entry
            .owner
            .as_ref()
            .map(|owner| owner.identity.clone())
            .unwrap_or_default(),
    }
}
