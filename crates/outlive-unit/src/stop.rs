//! Fences, withdrawals and revocations: connections are stopped, and nothing is granted before each has confirmed.

use std::sync::Arc;
use std::time::Instant;

use outlive_audit::Act;
use outlive_fabric::{Connection, Refusal, RegionId};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::auditing::right;
use crate::core::Core;
use crate::programming::{invalid, no_such_region};
use crate::registry::{Live, Registry};

/// A connection that was told to stop.
struct Stopping {
    region: RegionId,
    connection: Arc<dyn Connection>,
}

/// Whose connections a revocation stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) identity: String,
    /// `None`: every region.
    pub(crate) region: Option<RegionId>,
    pub(crate) kept: Kept,
}

/// What is left to an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// Reading.
    Reading,
}

impl Revocation {
    fn reaches(&self, identity: &str, region: RegionId, writable: bool) -> bool {
        self.identity == identity
            && self.region.is_none_or(|id| id == region)
            && (writable || self.kept == Kept::Nothing)
    }
}

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
        let stopped = self.audit_stop(self.await_stopped(stopping), Act::Fence, |entry| {
            entry.region(id).generation(min_generation)
        })?;
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
            stop(registry.of_region(id), &Refusal::Withdrawn, |_| true)
        };
        let stopped = self.await_stopped(stopping);
        let stopped = self.audit_stop(stopped, Act::Withdraw, |entry| entry.region(id))?;
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

    /// Voids the tickets that the revocation names and stops the connections; returns how many once none of their bytes
    /// can land any more. A region that is not programmed has none. The manager's own way to the catalog is never cut:
    /// it is in charge, whatever its name. Blocks, bounded by the stop time-out.
    pub(crate) fn revoke(&self, revocation: &Revocation) -> Result<u32, ControlError> {
        if revocation.identity.is_empty() {
            return Err(invalid("a revocation names an identity"));
        }
        let catalog = self.catalog_id();
        let reaches = |identity: &str, region: RegionId, writable: bool| {
            revocation.reaches(identity, region, writable) && !(writable && region == catalog)
        };
        let stopping = {
            let mut registry = self.registry();
            registry
                .tickets
                .void(|ticket| reaches(&ticket.identity, ticket.region, ticket.writable));
            stop(registry.connections.values(), &Refusal::Revoked, |live| {
                reaches(&live.identity, live.region, live.writable)
            })
        };
        let stopped = self.audit_stop(self.await_stopped(stopping), Act::Revoke, |entry| {
            let entry = entry
                .about(&revocation.identity)
                .right(right(revocation.kept == Kept::Reading));
            match revocation.region {
                Some(region) => entry.region(region),
                None => entry,
            }
        })?;
        tracing::info!(identity = revocation.identity, region = ?revocation.region, stopped, "rights revoked");
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
    ) -> Result<Vec<Stopping>, ControlError> {
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
        #[cfg(feature = "deliberate-bugs")]
        let voids = !crate::bugs::Bug::TicketsOutliveFence.is_made();
        #[cfg(not(feature = "deliberate-bugs"))]
        let voids = true;
        registry
            .tickets
            .void(|ticket| voids && ticket.region == id && ticket.writable && reached(ticket.generation));
        let reason = Refusal::Fenced {
            generation: min_generation,
        };
        #[cfg(feature = "deliberate-bugs")]
        if crate::bugs::Bug::FenceStopsNobody.is_made() {
            return Ok(Vec::new());
        }
        // Who waits for a stop waits for all of them.
        Ok(stop(registry.of_region(id), &reason, |live| {
            live.is_stopping() || live.writable && reached(live.generation)
        }))
    }

    fn await_stopped(&self, stopping: Vec<Stopping>) -> Result<u32, ControlError> {
        let deadline = Instant::now() + self.options.stop_timeout;
        let asked = stopping.len();
        let mut unconfirmed = Vec::new();
        for Stopping { region, connection } in stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if connection.await_stopped(left) {
                self.forget(connection.id(), None);
            } else {
                unconfirmed.push((region, connection.id()));
            }
        }
        let mut registry = self.registry();
        // One may have ended just now.
        unconfirmed.retain(|(_, id)| registry.connections.contains_key(id));
        for (region, _) in &unconfirmed {
            if let Some(region) = registry.regions.get_mut(region) {
                region.unconfirmed = true;
            }
        }
        drop(registry);
        if unconfirmed.is_empty() {
            return Ok(u32::try_from(asked).unwrap_or(u32::MAX));
        }
        tracing::error!(connections = ?unconfirmed, "connections did not confirm that they stopped");
        let reason = format!(
            "{} of {asked} connections did not confirm within {} ms that they stopped; nothing is granted",
            unconfirmed.len(),
            self.options.stop_timeout.as_millis()
        );
        Err(ControlError::new(ErrorCode::FenceUnconfirmed, reason))
    }
}

/// Stops those of the connections that `reached` chooses. Telling one again does no harm.
fn stop<'a>(
    connections: impl Iterator<Item = &'a Live>,
    reason: &Refusal,
    reached: impl Fn(&Live) -> bool,
) -> Vec<Stopping> {
    connections
        .filter(|live| reached(live))
        .map(|live| {
            live.stop(reason);
            Stopping {
                region: live.region,
                connection: Arc::clone(&live.connection),
            }
        })
        .collect()
}
