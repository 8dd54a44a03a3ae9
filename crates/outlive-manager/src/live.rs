//! What lives beside the catalog: connections, outstanding write tickets, locks, watchers. All of it is rebuilt
//! from the unit when the manager attaches.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outlive_fabric::RegionId;
use outlive_proto::v1::LiveConnection;
use outlive_proto::v1::region_event::Kind;
use tokio::sync::{OwnedMutexGuard, broadcast};
use tokio::time::Instant;

use crate::limits;

/// The live side of all regions that were touched since the manager started; at most one entry per region
/// of the catalog, since entries go with their regions.
#[derive(Debug, Default)]
pub(crate) struct Live {
    regions: Mutex<HashMap<RegionId, Entry>>,
}

/// What is live about one region.
#[derive(Debug, Default)]
struct Entry {
    /// Held across every operation that changes the region, so that races have one winner.
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Taken before the lock by who wants to read only, so that one of them at most waits in front of a takeover.
    readers: Arc<tokio::sync::Mutex<()>>,
    connections: BTreeMap<u64, LiveConnection>,
    ticket: Option<WriteTicket>,
    /// Manager generation under which the translation was programmed.
    programmed: u64,
    /// Manager generation under which the owner was last seen or granted access.
    owner_seen: u64,
    watchers: Option<broadcast::Sender<Kind>>,
}

/// What a region is locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To let somebody read.
    Read,
    /// Anything else.
    Change,
}

/// A region that nobody else changes meanwhile.
#[derive(Debug)]
#[must_use]
pub(crate) struct RegionLock {
    // Given up first, so that whoever waits for it comes before the next reader.
    _lock: OwnedMutexGuard<()>,
    _turn: Option<OwnedMutexGuard<()>>,
}

/// A write ticket that was issued and whose connection was not seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteTicket {
    pub(crate) generation: u64,
    pub(crate) valid_until: Instant,
}

/// Whether a region's owner is there, as far as the unit's events have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    /// A write connection of the generation asked about is alive.
    pub(crate) connected: bool,
    /// A write ticket of that generation may still be redeemed.
    pub(crate) expected: bool,
    /// Read-only connections.
    pub(crate) readers: u32,
}

impl Live {
    /// Takes the lock under which a region is changed.
    pub(crate) async fn lock_region(&self, region: RegionId, purpose: Purpose) -> RegionLock {
        let (lock, readers) = {
            let mut regions = self.lock();
            let entry = regions.entry(region).or_default();
            (Arc::clone(&entry.lock), Arc::clone(&entry.readers))
        };
        let turn = match purpose {
            Purpose::Read => Some(readers.lock_owned().await),
            Purpose::Change => None,
        };
        RegionLock {
            _lock: lock.lock_owned().await,
            _turn: turn,
        }
    }

    /// Replaces every connection by what the unit says is alive, and forgets tickets: the unit that they
    /// were issued at may be gone.
    pub(crate) fn replace_connections(&self, manager_generation: u64, connections: Vec<LiveConnection>) {
        let mut regions = self.lock();
        for entry in regions.values_mut() {
            entry.connections.clear();
            entry.ticket = None;
        }
        // Whoever is connected needs no time to reconnect, and has none once the connection is lost.
        for connection in connections {
            if let Some(region) = region_of(&connection) {
                let entry = regions.entry(region).or_default();
                if connection.writable {
                    entry.owner_seen = manager_generation;
                }
                entry.connections.insert(connection.connection, connection);
            }
        }
    }

    /// Takes a new connection in. A write connection redeems the ticket of its generation.
    pub(crate) fn opened(&self, region: RegionId, manager_generation: u64, connection: LiveConnection) {
        let mut regions = self.lock();
        let entry = regions.entry(region).or_default();
        if connection.writable {
            entry.owner_seen = manager_generation;
        }
        if connection.writable
            && entry
                .ticket
                .is_some_and(|ticket| ticket.generation == connection.generation)
        {
            entry.ticket = None;
        }
        entry.connections.insert(connection.connection, connection);
    }

    /// Takes a connection out. Returns whether it was there.
    pub(crate) fn closed(&self, region: RegionId, connection: u64) -> bool {
        let mut regions = self.lock();
        regions
            .get_mut(&region)
            .is_some_and(|entry| entry.connections.remove(&connection).is_some())
    }

    /// Who is there, for a region whose current generation is `generation`.
    pub(crate) fn presence(&self, region: RegionId, generation: u64) -> Presence {
        let regions = self.lock();
        let Some(entry) = regions.get(&region) else {
            return Presence {
                connected: false,
                expected: false,
                readers: 0,
            };
        };
        let mut alive = entry.connections.values();
        let connected = alive.any(|connection| connection.writable && connection.generation == generation);
        let readers = entry
            .connections
            .values()
            .filter(|connection| !connection.writable)
            .count();
        let ticket = entry.ticket.filter(|ticket| ticket.generation == generation);
        Presence {
            connected,
            expected: ticket.is_some_and(|ticket| ticket.valid_until > Instant::now()),
            readers: u32::try_from(readers).unwrap_or(u32::MAX),
        }
    }

    /// Notes that a write ticket is being issued, or was: for so long its owner counts as alive.
    pub(crate) fn expect_owner(
        &self,
        region: RegionId,
        manager_generation: u64,
        generation: u64,
        valid: Duration,
    ) -> WriteTicket {
        let ticket = WriteTicket {
            generation,
            valid_until: Instant::now() + valid,
        };
        let mut regions = self.lock();
        let entry = regions.entry(region).or_default();
        entry.ticket = Some(ticket);
        entry.owner_seen = manager_generation;
        ticket
    }

    /// Whether the region's owner was seen, or granted access, under this manager generation.
    pub(crate) fn owner_was_seen(&self, region: RegionId, manager_generation: u64) -> bool {
        self.lock()
            .get(&region)
            .is_some_and(|entry| entry.owner_seen == manager_generation)
    }

    /// Takes back that a write ticket was issued, if it still is `ticket`. Returns whether it was.
    pub(crate) fn forget_ticket(&self, region: RegionId, ticket: WriteTicket) -> bool {
        let mut regions = self.lock();
        regions.get_mut(&region).is_some_and(|entry| {
            let same = entry.ticket == Some(ticket);
            if same {
                entry.ticket = None;
            }
            same
        })
    }

    /// Whether the region's translation was programmed under this manager generation.
    pub(crate) fn is_programmed(&self, region: RegionId, manager_generation: u64) -> bool {
        self.lock()
            .get(&region)
            .is_some_and(|entry| entry.programmed == manager_generation)
    }

    /// Notes under which manager generation the region's translation was programmed; 0: it must be again.
    pub(crate) fn set_programmed(&self, region: RegionId, manager_generation: u64) {
        self.lock().entry(region).or_default().programmed = manager_generation;
    }

    /// Watches a region.
    pub(crate) fn watch(&self, region: RegionId) -> broadcast::Receiver<Kind> {
        let mut regions = self.lock();
        let watchers = &mut regions.entry(region).or_default().watchers;
        watchers
            .get_or_insert_with(|| broadcast::channel(limits::WATCH_LAG).0)
            .subscribe()
    }

    /// Tells a region's watchers. Nobody watching is no error.
    pub(crate) fn tell(&self, region: RegionId, kind: Kind) {
        let mut regions = self.lock();
        if let Some(entry) = regions.get_mut(&region)
            && let Some(watchers) = &entry.watchers
            && watchers.send(kind).is_err()
        {
            entry.watchers = None;
        }
    }

    /// The regions that somebody watches.
    pub(crate) fn watched(&self) -> Vec<RegionId> {
        let mut regions = self.lock();
        for entry in regions.values_mut() {
            entry.watchers.take_if(|watchers| watchers.receiver_count() == 0);
        }
        regions
            .iter()
            .filter(|(_, entry)| entry.watchers.is_some())
            .map(|(region, _)| *region)
            .collect()
    }

    /// Forgets a deleted region; its watchers' streams end.
    pub(crate) fn forget(&self, region: RegionId) {
        self.lock().remove(&region);
    }

    /// Forgets every region that `exists` does not know.
    pub(crate) fn forget_unless(&self, exists: impl Fn(RegionId) -> bool) {
        self.lock().retain(|region, _| exists(*region));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RegionId, Entry>> {
        // Every change leaves the table valid, so a panic elsewhere in the task spoils nothing.
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The region a connection names, or `None` where the unit named none.
pub(crate) fn region_of(connection: &LiveConnection) -> Option<RegionId> {
    Some(RegionId(connection.region.as_slice().try_into().ok()?))
}
