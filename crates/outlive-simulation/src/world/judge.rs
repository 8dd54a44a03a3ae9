//! What must hold, and what is known of the numbers that are given out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use outlive_fabric::{ConnectionId, RegionId};

use super::place::Place;
use crate::machine;

/// Ends the run: this does not hold.
pub(super) fn violation(kind: &str, text: impl AsRef<str>) -> ! {
    machine::fail(kind, text.as_ref())
}

/// Remembers every number that must grow, and who may write.
#[derive(Default)]
pub(super) struct Judge {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    incarnation: u64,
    manager_generation: u64,
    regions: BTreeMap<[u8; 16], Owned>,
    told: u64,
}

/// Whose bytes may land in a region.
#[derive(Default)]
struct Owned {
    /// The highest generation that somebody was told to own.
    granted: u64,
    /// To whom.
    owner: Option<Place>,
    /// The newest connection of that generation that may write.
    writer: Option<ConnectionId>,
    landed: u64,
}

impl Judge {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A unit has started.
    pub(super) fn incarnation(&self, incarnation: u64) {
        let before = std::mem::replace(&mut self.state().incarnation, incarnation);
        if incarnation <= before {
            violation(
                "incarnation-twice",
                format!("a unit started with incarnation {incarnation}, and one before with {before}"),
            );
        }
    }

    /// A manager has attached.
    pub(super) fn manager_generation(&self, generation: u64) {
        let before = std::mem::replace(&mut self.state().manager_generation, generation);
        if generation <= before {
            violation(
                "manager-generation-twice",
                format!("a manager attached with generation {generation}, and one before with {before}"),
            );
        }
    }

    /// Somebody was told to own a region.
    pub(super) fn granted(&self, region: RegionId, generation: u64, to: Place) {
        let mut state = self.state();
        let owned = state.regions.entry(region.0).or_default();
        if generation > owned.granted {
            owned.granted = generation;
            owned.writer = None;
            owned.owner = None;
        }
        let before = (generation == owned.granted)
            .then(|| owned.owner.replace(to))
            .flatten();
        state.told += 1;
        drop(state);
        if let Some(before) = before.filter(|before| *before != to) {
            violation(
                "generation-twice",
                format!("generation {generation} of {region} was granted to {before} and then to {to}"),
            );
        }
    }

    /// Somebody was told of another change that must last.
    pub(super) fn told(&self) {
        machine::uninterrupted(|| self.state().told += 1);
    }

    /// How often somebody was told to own something, or of another change that must last.
    pub(super) fn tellings(&self) -> u64 {
        machine::uninterrupted(|| self.state().told)
    }

    /// A connection that may write was let in.
    pub(super) fn admitted(&self, region: RegionId, generation: u64, connection: ConnectionId) {
        let mut state = self.state();
        let owned = state.regions.entry(region.0).or_default();
        if generation >= owned.granted {
            owned.granted = generation;
            owned.writer = Some(connection);
        }
    }

    /// Bytes of a connection land.
    pub(super) fn landed(&self, region: RegionId, generation: u64, connection: ConnectionId) {
        let mut state = self.state();
        let owned = state.regions.entry(region.0).or_default();
        owned.landed += 1;
        let (granted, writer) = (owned.granted, owned.writer);
        drop(state);
        if generation < granted {
            violation(
                "fenced-bytes-land",
                format!(
                    "bytes of generation {generation} land in {region} after generation {granted} was granted"
                ),
            );
        }
        if let Some(writer) = writer.filter(|writer| *writer > connection) {
            violation(
                "two-writers",
                format!(
                    "bytes of connection {} land in {region} after connection {} of the same generation {generation} was let in",
                    connection.0, writer.0
                ),
            );
        }
    }

    /// How many writes landed, in all regions.
    pub(super) fn landings(&self) -> u64 {
        self.state().regions.values().map(|owned| owned.landed).sum()
    }
}
