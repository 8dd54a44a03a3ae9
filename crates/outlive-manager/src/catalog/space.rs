//! Space that is set aside for a region before the catalog names it.

use std::sync::{Arc, RwLockWriteGuard};

use outlive_layout::catalog::{Extent, MAX_EXTENTS, NoSpace, footprint};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use super::{Catalog, Inner, RegionRecord, exists};
use crate::limits;

/// Space, and for a new region its name, that nobody else gets. It is held until [`give_back`](Self::give_back)
/// or [`used`](Self::used), or until the manager attaches anew: an unit that did not answer may still be
/// working on it, and attaching waits for that.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation {
    catalog: Arc<Catalog>,
    generation: u64,
    name: Option<String>,
    /// The new space.
    pub(crate) added: Vec<Extent>,
    /// All of the region's extents with it.
    pub(crate) all: Vec<Extent>,
}

impl Reservation {
    /// Sets name and space for a new region of `size` bytes aside, under the attachment of `generation`.
    ///
    /// # Errors
    /// `REGION_EXISTS`, `NO_SPACE`, `LIMIT`; `UNIT_UNREACHABLE` when the manager has attached anew.
    pub(crate) fn of_new(
        catalog: &Arc<Catalog>,
        generation: u64,
        name: &str,
        size: u64,
    ) -> Result<Self, ControlError> {
        let mut inner = catalog.write_under(generation)?;
        if inner.state.region_named(name).is_some() || inner.creating.contains(name) {
            return Err(exists(name));
        }
        let regions = inner.state.regions().len() + inner.creating.len();
        if regions >= limits::REGIONS {
            let message = format!("there are {regions} regions, which is the limit: delete some");
            return Err(ControlError::new(ErrorCode::Limit, message));
        }
        let bytes = footprint(size).ok_or_else(|| {
            ControlError::new(ErrorCode::Invalid, format!("a region cannot have {size} bytes"))
        })?;
        let added = inner
            .allocator
            .allocate(bytes, MAX_EXTENTS)
            .map_err(|error| no_space(&error))?;
        inner.creating.insert(name.to_owned());
        drop(inner);
        let all = added.clone();
        Ok(Self {
            catalog: Arc::clone(catalog),
            generation,
            name: Some(name.to_owned()),
            added,
            all,
        })
    }

    /// Sets `bytes` more aside for a region: directly behind it where they are free.
    ///
    /// # Errors
    /// `NO_SPACE`; `UNIT_UNREACHABLE` when the manager has attached anew.
    pub(crate) fn of_more(
        catalog: &Arc<Catalog>,
        generation: u64,
        record: &RegionRecord,
        bytes: u64,
    ) -> Result<Self, ControlError> {
        let mut inner = catalog.write_under(generation)?;
        let mut all = record.extents.clone();
        let grown = all
            .last()
            .copied()
            .and_then(|last| Some((last, inner.allocator.extend(last, bytes)?)));
        let added = match grown {
            Some((last, grown)) => {
                all.pop();
                all.push(grown);
                vec![Extent {
                    start: last.start + last.len,
                    len: grown.len - last.len,
                }]
            }
            None => {
                let room = MAX_EXTENTS.saturating_sub(all.len());
                let added = inner
                    .allocator
                    .allocate(bytes, room)
                    .map_err(|error| no_space(&error))?;
                all.extend(&added);
                added
            }
        };
        drop(inner);
        Ok(Self {
            catalog: Arc::clone(catalog),
            generation,
            name: None,
            added,
            all,
        })
    }

    /// The catalog does not name it, and the unit does not work on it.
    pub(crate) fn give_back(self) {
        let mut inner = self.catalog.write();
        if inner.generation == self.generation {
            inner.allocator.release(&self.added);
            self.name.map(|name| inner.creating.remove(&name));
        }
    }

    /// The catalog names it.
    pub(crate) fn used(self) {
        let mut inner = self.catalog.write();
        if inner.generation == self.generation {
            self.name.map(|name| inner.creating.remove(&name));
        }
    }

    /// Whatever became of the change it was made for.
    pub(crate) fn settle(self, outcome: &Result<(), ControlError>) {
        match outcome {
            Ok(()) => self.used(),
            // Nobody knows: it stays set aside until the manager has attached anew.
            Err(error) if matches!(error.code, ErrorCode::UnitUnreachable | ErrorCode::Superseded) => {}
            Err(_) => self.give_back(),
        }
    }
}

impl Catalog {
    /// The state to set space aside in. Under another attachment than its caller works with, whatever was set aside
    /// could be neither used nor given back.
    fn write_under(&self, generation: u64) -> Result<RwLockWriteGuard<'_, Inner>, ControlError> {
        let inner = self.write();
        if inner.generation == generation {
            return Ok(inner);
        }
        Err(ControlError::new(
            ErrorCode::UnitUnreachable,
            "the manager attached anew: try again",
        ))
    }
}

fn no_space(error: &NoSpace) -> ControlError {
    let message = match error {
        NoSpace {
            asked,
            free,
            reachable,
            ..
        } if asked > free => {
            format!(
                "no space: {asked} bytes are needed and {free} are free ({reachable} usable by one region)"
            )
        }
        NoSpace {
            asked,
            free,
            pieces,
            reachable,
        } => format!(
            "the free space is too fragmented: {asked} bytes are needed, {free} are free, and the {pieces} largest ranges \
             hold {reachable}"
        ),
    };
    ControlError::new(ErrorCode::NoSpace, message)
}

#[cfg(test)]
mod tests {
    use outlive_layout::catalog::Catalog as State;

    use super::*;

    #[test]
    fn nothing_is_set_aside_for_a_call_of_an_older_attachment() {
        let catalog = Arc::new(Catalog::default());
        let space = Extent {
            start: 0,
            len: 1 << 20,
        };
        catalog.replace(1, State::new(space), 1 << 16);
        catalog.replace(2, State::new(space), 1 << 16);
        let late = Reservation::of_new(&catalog, 1, "r", 4096).unwrap_err();
        assert_eq!(late.code, ErrorCode::UnitUnreachable);
        // Name and space are there for whoever tries again.
        let all = (1 << 20) - 4096;
        Reservation::of_new(&catalog, 2, "r", all).unwrap().give_back();
    }
}
