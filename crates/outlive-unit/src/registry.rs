//! What is programmed, admitted and connected. One lock over all of it, taken by control calls, by the beginning and
//! the end of a connection, and never by data.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use outlive_fabric::{Connection, ConnectionId, Refusal, RegionId};
use outlive_proto::v1::LiveConnection;

use crate::exposure::Gauges;
use crate::tickets::Tickets;
use crate::translation::{Extent, Translation};

/// Length of the metadata page that begins every region.
pub(crate) const METADATA_LEN: u64 = outlive_media::superblock::BLOCK;

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) regions: HashMap<RegionId, Region>,
    pub(crate) connections: HashMap<ConnectionId, Live>,
    pub(crate) tickets: Tickets,
    pub(crate) occupied: Occupied,
    /// Extents that calls in progress are zeroing and writing.
    pub(crate) preparing: Vec<Extent>,
    /// Set for good when the unit ends.
    pub(crate) closing: bool,
}

/// A region whose translation is programmed.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) translation: Arc<Translation>,
    pub(crate) data_len: u64,
    /// Writers of generations below are refused.
    pub(crate) min_generation: u64,
    /// Connections were told to stop and did not confirm: nothing is granted.
    pub(crate) unconfirmed: bool,
    /// It is being withdrawn: nothing is granted any more.
    pub(crate) withdrawn: bool,
}

/// An admitted connection that has not ended.
pub(crate) struct Live {
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) region: RegionId,
    pub(crate) identity: String,
    pub(crate) writable: bool,
    pub(crate) generation: u64,
}

impl Live {
    /// Begins to stop it. Never blocks.
    pub(crate) fn stop(&self, reason: &Refusal) {
        let _ = self.gauges.stopped.set(reason.clone());
        self.connection.stop(reason.clone());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.gauges.stopped.get().is_some()
    }

    /// As managers see it.
    pub(crate) fn describe(&self) -> LiveConnection {
        LiveConnection {
            connection: self.connection.id().0,
            region: self.region.0.to_vec(),
            peer: self.connection.peer(),
            identity: self.identity.clone(),
            writable: self.writable,
            generation: self.generation,
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("connection", &self.connection.id())
            .finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn new(tickets: Tickets) -> Self {
        Self {
            regions: HashMap::new(),
            connections: HashMap::new(),
            tickets,
            occupied: Occupied::default(),
            preparing: Vec::new(),
            closing: false,
        }
    }

    /// The live connections of a region.
    pub(crate) fn of_region(&self, region: RegionId) -> impl Iterator<Item = &Live> {
        self.connections
            .values()
            .filter(move |live| live.region == region)
    }

    /// Once none of its connections is stopping any more, a region may be granted again.
    pub(crate) fn settle(&mut self, id: RegionId) {
        if self.of_region(id).any(Live::is_stopping) {
            return;
        }
        if let Some(region) = self.regions.get_mut(&id) {
            region.unconfirmed = false;
        }
    }
}

/// Which extents belong to which region: so that no two regions share a byte, whatever a manager asks.
#[derive(Debug, Default)]
pub(crate) struct Occupied {
    /// By first byte.
    extents: BTreeMap<u64, (Extent, RegionId)>,
}

impl Occupied {
    /// The region that has a byte of `extent`, `except` not counted.
    pub(crate) fn owner(&self, extent: Extent, except: Option<RegionId>) -> Option<RegionId> {
        // They do not overlap, so only those that begin before its end can reach it, the last of them first.
        self.extents
            .range(..extent.end())
            .rev()
            .take_while(|(_, (held, _))| held.end() > extent.start)
            .map(|(_, (_, region))| *region)
            .find(|region| Some(*region) != except)
    }

    pub(crate) fn add(&mut self, region: RegionId, translation: &Translation) {
        self.extents.extend(
            translation
                .extents()
                .map(|extent| (extent.start, (extent, region))),
        );
    }

    pub(crate) fn remove(&mut self, translation: &Translation) {
        for extent in translation.extents() {
            self.extents.remove(&extent.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_byte_is_found() {
        let extent = |start, len| Extent { start, len };
        let (first, second) = (RegionId([1; 16]), RegionId([2; 16]));
        let mut occupied = Occupied::default();
        let held = Translation::new(&[extent(100, 50), extent(10, 10)]).unwrap();
        occupied.add(first, &held);
        occupied.add(second, &Translation::new(&[extent(20, 10)]).unwrap());
        assert_eq!(occupied.owner(extent(0, 10), None), None);
        assert_eq!(occupied.owner(extent(0, 11), None), Some(first));
        assert_eq!(occupied.owner(extent(30, 70), None), None);
        assert_eq!(occupied.owner(extent(120, 1), None), Some(first));
        assert_eq!(occupied.owner(extent(0, 25), Some(first)), Some(second));
        assert_eq!(occupied.owner(extent(0, 20), Some(first)), None);
        assert_eq!(occupied.owner(extent(0, 200), Some(second)), Some(first));
        occupied.remove(&held);
        assert_eq!(occupied.owner(extent(100, 50), None), None);
        assert_eq!(occupied.owner(extent(0, 200), None), Some(second));
    }
}
