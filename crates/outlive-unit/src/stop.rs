//! Fences and withdrawals: connections are stopped, and nothing is granted before each has confirmed.

use std::sync::Arc;
use std::time::Instant;

use outlive_fabric::{Connection, ConnectionId, Refusal, RegionId};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::core::Core;
use crate::programming::no_such_region;
use crate::registry::Registry;

/// Connections that were told to stop.
type Stopping = Vec<(ConnectionId, Arc<dyn Connection>)>;

/// Which of a region's writers a fence stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of generations below the new minimum.
    Below,
    /// Those of the new minimum as well: a reconnect in the same generation.
    Through,
}

impl Core {
    /// Raises the region's minimum generation, voids write tickets, and stops the writers it reaches. Returns
    /// how many once none of their bytes can land any more. Blocks, bounded by the stop time-out.
    pub(crate) fn fence(&self, id: RegionId, min_generation: u64, reach: Reach) -> Result<u32, ControlError> {
        let begun = Instant::now();
        let stopping = self.begin_fence(&mut self.registry(), id, min_generation, reach)?;
        let stopped = self.await_stopped(id, stopping)?;
        tracing::info!(region = %id, min_generation, stopped, took = ?begun.elapsed(), "region fenced");
        Ok(stopped)
    }

    /// Stops every connection of the region and forgets it. A region that is not there counts as withdrawn.
    pub(crate) fn withdraw(&self, id: RegionId) -> Result<u32, ControlError> {
        if id == self.catalog_id() {
            return Err(ControlError::new(
                ErrorCode::Invalid,
                "the catalog's region cannot be withdrawn",
            ));
        }
        let stopping = {
            let mut registry = self.registry();
            let Some(region) = registry.regions.get_mut(&id) else {
                return Ok(0);
            };
            region.withdrawn = true;
            registry.tickets.void(|ticket| ticket.region == id);
            stop(&registry, id, &Refusal::Withdrawn, |_, _| true)
        };
        let stopped = self.await_stopped(id, stopping)?;
        let mut registry = self.registry();
        // Programmed anew meanwhile, it is another's.
        if registry.regions.get(&id).is_some_and(|region| region.withdrawn)
            && let Some(region) = registry.regions.remove(&id)
        {
            registry.occupied.remove(&region.translation);
        }
        drop(registry);
        tracing::info!(region = %id, stopped, "region withdrawn");
        Ok(stopped)
    }

    /// Stops everything for good.
    pub(crate) fn stop_all(&self) {
        let mut registry = self.registry();
        registry.closing = true;
        registry.tickets.void(|_| true);
        for live in registry.connections.values() {
            live.stop(&Refusal::ShuttingDown);
        }
    }

    fn begin_fence(
        &self,
        registry: &mut Registry,
        id: RegionId,
        min_generation: u64,
        reach: Reach,
    ) -> Result<Stopping, ControlError> {
        let region = registry.regions.get_mut(&id).ok_or_else(|| no_such_region(id))?;
        if min_generation < region.min_generation {
            let reason = format!(
                "the region is fenced at generation {} already",
                region.min_generation
            );
            return Err(ControlError::new(ErrorCode::Fenced, reason).at_generation(region.min_generation));
        }
        region.min_generation = min_generation;
        let reached = |generation: u64| {
            generation < min_generation || reach == Reach::Through && generation == min_generation
        };
        registry
            .tickets
            .void(|ticket| ticket.region == id && ticket.writable && reached(ticket.generation));
        let reason = Refusal::Fenced {
            generation: min_generation,
        };
        Ok(stop(registry, id, &reason, |writable, generation| {
            writable && reached(generation)
        }))
    }

    fn await_stopped(&self, id: RegionId, stopping: Stopping) -> Result<u32, ControlError> {
        let deadline = Instant::now() + self.options.stop_timeout;
        let asked = stopping.len();
        let mut unconfirmed = Vec::new();
        for (number, connection) in stopping {
            if connection.await_stopped(deadline.saturating_duration_since(Instant::now())) {
                self.forget(number);
            } else {
                unconfirmed.push(number.0);
            }
        }
        let mut registry = self.registry();
        // One may have ended just now.
        unconfirmed.retain(|number| registry.connections.contains_key(&ConnectionId(*number)));
        if unconfirmed.is_empty() {
            registry.settle(id);
            return Ok(u32::try_from(asked).unwrap_or(u32::MAX));
        }
        if let Some(region) = registry.regions.get_mut(&id) {
            region.unconfirmed = true;
        }
        drop(registry);
        tracing::error!(region = %id, connections = ?unconfirmed, "connections did not confirm that they stopped");
        let reason = format!(
            "{} of {asked} connections did not confirm within {} ms that they stopped; nothing is granted",
            unconfirmed.len(),
            self.options.stop_timeout.as_millis()
        );
        Err(ControlError::new(ErrorCode::FenceUnconfirmed, reason))
    }
}

/// Stops those connections of a region that `reached` names by writability and generation, and names those again
/// that are being stopped already: who waits for a stop waits for all of them.
fn stop(
    registry: &Registry,
    id: RegionId,
    reason: &Refusal,
    reached: impl Fn(bool, u64) -> bool,
) -> Stopping {
    registry
        .of_region(id)
        .filter(|live| live.is_stopping() || reached(live.writable, live.generation))
        .map(|live| {
            live.stop(reason);
            (live.connection.id(), Arc::clone(&live.connection))
        })
        .collect()
}
