//! Translations and tickets, as a manager programs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive_fabric::{RegionId, TicketId, TicketSecret};
use outlive_media::MediaError;
use outlive_media::superblock::{BLOCK, BLOCK_BYTES};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::core::Core;
use crate::exposure::with_causes;
use crate::registry::{METADATA_LEN, Region, Registry};
use crate::tickets::{Ticket, TicketError};
use crate::translation::{Extent, Translation};

/// Translations held. The most regions that a manager keeps is 100,000; this only bounds one gone wild.
const MAX_REGIONS: usize = 1 << 20;
/// Extents of one region. The allocator needs more only on media fragmented beyond use.
const MAX_EXTENTS: usize = 1 << 16;
/// The longest life of a ticket: a client connects right after it was given one.
const MAX_TICKET_LIFE: Duration = Duration::from_secs(60);
/// The longest identity that is kept of a client.
const MAX_IDENTITY_BYTES: usize = 256;

/// What a manager lets one connection do.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) ticket: TicketId,
    pub(crate) secret: TicketSecret,
    pub(crate) region: RegionId,
    pub(crate) identity: String,
    pub(crate) writable: bool,
    pub(crate) generation: u64,
    pub(crate) valid: Duration,
}

/// Bytes zeroed between two flushes, which everybody's commits share: a large region must not hold them
/// up. Also how soon a call gives way to a manager that attaches.
const ZEROED_AT_ONCE: usize = 8 << 20;

impl Core {
    /// Zeroes extents that belong to no region, places `writes` (offsets count through the extents side by side), and makes all of
    /// it as durable as the medium can.
    pub(crate) fn prepare(&self, extents: &[Extent], writes: &[(u64, Vec<u8>)]) -> Result<(), ControlError> {
        let translation = self.check_extents(extents)?;
        for (offset, bytes) in writes {
            let end = offset.checked_add(bytes.len() as u64);
            if end.is_none_or(|end| end > translation.len()) {
                return Err(invalid(format!(
                    "a write at {offset} lies outside the {} bytes prepared",
                    translation.len()
                )));
            }
        }
        let _preparing = Preparing::begin(self, extents)?;
        self.place_new(&translation, writes)
    }

    /// Programs a region's translation, or replaces it (resize).
    pub(crate) fn program(
        &self,
        id: RegionId,
        extents: &[Extent],
        data_len: u64,
        min_generation: u64,
    ) -> Result<(), ControlError> {
        if id == self.catalog_id() {
            return Err(invalid("the catalog's region is fixed by the superblock"));
        }
        let translation = self.check_extents(extents)?;
        if data_len == 0
            || METADATA_LEN
                .checked_add(data_len)
                .is_none_or(|len| len > translation.len())
        {
            return Err(invalid(format!(
                "{data_len} bytes of data and a metadata page do not fit the {} bytes mapped",
                translation.len()
            )));
        }
        let mut registry = self.registry();
        check_free(&registry, extents, Some(id))?;
        if registry.regions.len() >= MAX_REGIONS && !registry.regions.contains_key(&id) {
            return Err(ControlError::new(
                ErrorCode::Limit,
                format!("the unit holds {MAX_REGIONS} regions at most"),
            ));
        }
        let mut region = Region {
            translation: Arc::new(translation),
            data_len,
            min_generation,
            unconfirmed: false,
            withdrawn: false,
        };
        if let Some(before) = registry.regions.get(&id) {
            check_replaceable(&registry, id, before, &region)?;
            region.min_generation = region.min_generation.max(before.min_generation);
            region.unconfirmed = before.unconfirmed;
            let before = Arc::clone(&before.translation);
            registry.occupied.remove(&before);
        }
        registry.occupied.add(id, &region.translation);
        registry.regions.insert(id, region);
        tracing::info!(region = %id, extents = extents.len(), data_len, min_generation, "translation programmed");
        Ok(())
    }

    /// Lets one connection in, once.
    pub(crate) fn admit_ticket(&self, grant: Grant) -> Result<(), ControlError> {
        let Grant {
            ticket,
            secret,
            region,
            identity,
            writable,
            generation,
            valid,
        } = grant;
        if valid.is_zero() || valid > MAX_TICKET_LIFE {
            let most = MAX_TICKET_LIFE.as_millis();
            return Err(invalid(format!(
                "a ticket lives 1 to {most} ms, not {}",
                valid.as_millis()
            )));
        }
        if identity.len() > MAX_IDENTITY_BYTES {
            return Err(invalid(format!(
                "an identity has at most {MAX_IDENTITY_BYTES} bytes"
            )));
        }
        let mut registry = self.registry();
        let programmed = registry
            .regions
            .get(&region)
            .ok_or_else(|| no_such_region(region))?;
        if programmed.withdrawn {
            return Err(no_such_region(region));
        }
        if programmed.unconfirmed {
            let reason =
                "connections of the region were told to stop and did not confirm; nothing is granted";
            return Err(ControlError::new(ErrorCode::FenceUnconfirmed, reason));
        }
        let min_generation = programmed.min_generation;
        if writable && generation < min_generation {
            let reason = format!("the region is fenced at generation {min_generation}");
            return Err(ControlError::new(ErrorCode::Fenced, reason).at_generation(min_generation));
        }
        let now = Instant::now();
        let granted = Ticket {
            secret,
            region,
            identity,
            writable,
            generation,
            expires: now + valid,
            wrong_answers: 0,
        };
        registry
            .tickets
            .add(ticket, granted, now)
            .map_err(|error| match error {
                TicketError::Full => {
                    let bound = self.options.max_tickets;
                    ControlError::new(
                        ErrorCode::Limit,
                        format!("{bound} tickets wait to be used already"),
                    )
                }
                TicketError::FullForIdentity => {
                    let bound = self.options.max_tickets_per_identity;
                    ControlError::new(
                        ErrorCode::Limit,
                        format!("{bound} tickets of this identity wait to be used already"),
                    )
                }
                TicketError::Taken => invalid("a ticket with this id waits to be used already"),
            })
    }

    /// Rewrites a region's metadata page and makes it as durable as the medium can.
    pub(crate) fn describe(&self, id: RegionId, page: &[u8]) -> Result<(), ControlError> {
        let mut whole = [0; BLOCK_BYTES];
        let part = whole.get_mut(..page.len());
        let part =
            part.ok_or_else(|| invalid(format!("a metadata page has at most {METADATA_LEN} bytes")))?;
        part.copy_from_slice(page);
        let translation = {
            let registry = self.registry();
            let region = registry.regions.get(&id).filter(|region| !region.withdrawn);
            Arc::clone(&region.ok_or_else(|| no_such_region(id))?.translation)
        };
        let placed = self
            .store(&translation, 0, &whole)
            .and_then(|()| self.volume.medium().settle());
        placed.map_err(|error| self.media_error(&error))
    }

    fn check_extents(&self, extents: &[Extent]) -> Result<Translation, ControlError> {
        if extents.is_empty() || extents.len() > MAX_EXTENTS {
            return Err(invalid(format!(
                "a region has 1 to {MAX_EXTENTS} extents, not {}",
                extents.len()
            )));
        }
        let geometry = self.volume.geometry();
        let allocatable = geometry.allocatable_start..geometry.allocatable_start + geometry.allocatable_len;
        for Extent { start, len } in extents {
            let inside = *start >= allocatable.start
                && start.checked_add(*len).is_some_and(|end| end <= allocatable.end);
            if !inside || *len == 0 || start % BLOCK != 0 || len % BLOCK != 0 {
                return Err(invalid(format!(
                    "the extent of {len} bytes at {start} is not made of blocks of {BLOCK} bytes inside {allocatable:?}"
                )));
            }
        }
        let mut sorted: Vec<Extent> = extents.to_vec();
        sorted.sort_unstable_by_key(|extent| extent.start);
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].end() > pair[1].start) {
            return Err(invalid(format!(
                "the extents at {} and {} overlap",
                pair[0].start, pair[1].start
            )));
        }
        Translation::new(extents).ok_or_else(|| invalid("the extents cannot be put side by side"))
    }

    fn place_new(&self, translation: &Translation, writes: &[(u64, Vec<u8>)]) -> Result<(), ControlError> {
        let failed = |error: MediaError| self.media_error(&error);
        let medium = self.volume.medium();
        for extent in translation.extents() {
            for start in (extent.start..extent.end()).step_by(ZEROED_AT_ONCE) {
                let len = (extent.end() - start).min(ZEROED_AT_ONCE as u64);
                medium.zero(start, len).map_err(failed)?;
                medium.settle().map_err(failed)?;
                if self.gate.is_awaited() {
                    return Err(ControlError::new(
                        ErrorCode::Superseded,
                        "another manager is attaching",
                    ));
                }
            }
        }
        for (offset, bytes) in writes {
            self.store(translation, *offset, bytes).map_err(failed)?;
        }
        medium.settle().map_err(failed)
    }

    fn store(&self, translation: &Translation, offset: u64, mut bytes: &[u8]) -> Result<(), MediaError> {
        for piece in translation.pieces(offset..offset + bytes.len() as u64) {
            let (now, rest) = bytes.split_at(usize::try_from(piece.len).expect("a piece of a slice"));
            self.volume.medium().store(piece.start, now)?;
            bytes = rest;
        }
        Ok(())
    }

    pub(crate) fn media_error(&self, error: &MediaError) -> ControlError {
        self.events.note_media(error);
        tracing::error!(error = %with_causes(error), "the medium failed a control call");
        ControlError::new(ErrorCode::MediaFailed, with_causes(error))
    }
}

/// Keeps everybody else off extents that a call is zeroing, even where its manager has given up on it.
struct Preparing<'a> {
    core: &'a Core,
    extents: &'a [Extent],
}

impl<'a> Preparing<'a> {
    fn begin(core: &'a Core, extents: &'a [Extent]) -> Result<Self, ControlError> {
        let mut registry = core.registry();
        check_free(&registry, extents, None)?;
        registry.preparing.extend_from_slice(extents);
        Ok(Self { core, extents })
    }
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        // No two calls prepare the same extent at once.
        self.core
            .registry()
            .preparing
            .retain(|extent| !self.extents.contains(extent));
    }
}

/// A translation may be replaced while connections keep the one before, if that maps nothing
/// which the new one leaves free.
fn check_replaceable(
    registry: &Registry,
    id: RegionId,
    before: &Region,
    after: &Region,
) -> Result<(), ControlError> {
    if registry.of_region(id).next().is_none() {
        return Ok(());
    }
    if before.withdrawn {
        return Err(ControlError::new(
            ErrorCode::FenceUnconfirmed,
            "the region was withdrawn and its connections did not confirm that they stopped",
        ));
    }
    let kept = |extent: Extent| {
        after
            .translation
            .extents()
            .any(|new| new.start <= extent.start && extent.end() <= new.end())
    };
    if before.translation.extents().all(kept) {
        return Ok(());
    }
    Err(invalid(
        "connections still use extents that the new translation leaves free; withdraw the region first",
    ))
}

fn check_free(registry: &Registry, extents: &[Extent], except: Option<RegionId>) -> Result<(), ControlError> {
    for extent in extents {
        if let Some(owner) = registry.occupied.owner(*extent, except) {
            return Err(invalid(format!(
                "the extent at {} belongs to region {owner}",
                extent.start
            )));
        }
        if registry.preparing.iter().any(|other| other.overlaps(extent)) {
            return Err(invalid(format!(
                "the extent at {} is being prepared",
                extent.start
            )));
        }
    }
    Ok(())
}

pub(crate) fn no_such_region(id: RegionId) -> ControlError {
    ControlError::new(
        ErrorCode::NoSuchRegion,
        format!("region {id} is not programmed on this unit"),
    )
}

pub(crate) fn invalid(reason: impl Into<String>) -> ControlError {
    ControlError::new(ErrorCode::Invalid, reason)
}
