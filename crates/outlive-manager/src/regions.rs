//! Making, growing and deleting regions.

use outlive_audit::Act;
use outlive_fabric::RegionId;
use outlive_identity::Caller;
use outlive_layout::Geometry;
use outlive_layout::catalog::{AccessList, Extent, Record, RegionEntry, valid_name};
use outlive_proto::ControlError;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{
    CreateRegionRequest, DeleteRegionRequest, DeleteRegionResponse, ErrorCode, Region, RegionKind,
    ResizeRegionRequest, Write,
};

use crate::access::Want;
use crate::call::Call;
use crate::catalog::{RegionRecord, Reservation, layout_id, now_ms, unit_extents};
use crate::shared::{Attachment, Shared};
use crate::{account, limits};

/// The metadata page, and the unit in which regions are sized and placed.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// The smallest raw region.
const MIN_BYTES: u64 = PAGE_BYTES;

impl Shared {
    /// Creates a region: space set aside, prepared by the unit, durable in the catalog, visible.
    ///
    /// # Errors
    /// `INVALID`, `REGION_EXISTS`, `NO_SPACE`, `LIMIT`, each with figures.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        request: CreateRegionRequest,
    ) -> Result<Region, ControlError> {
        let plan = Plan::of(&request, caller)?;
        let attachment = self.attachment().await?;
        let id = RegionId(*uuid::Uuid::new_v4().as_bytes());
        let reservation = Reservation::of_new(
            &self.catalog,
            attachment.manager_generation(),
            &request.name,
            plan.size,
        )?;
        let entry = plan.entry(id, request.name, reservation.all.clone());
        let outcome = async {
            self.prepare(&attachment, &reservation, plan.first_bytes(&entry))
                .await?;
            // Preparing may take minutes.
            self.catalog.authorise(caller, &Want::Administer)?;
            self.commit(&attachment, created(&entry)).await
        };
        let outcome = outcome.await;
        reservation.settle(&outcome);
        outcome?;
        let record = self.catalog.identified(id);
        let record = record.ok_or_else(|| crate::catalog::no_such_region("that was just created"))?;
        tracing::info!(name = record.name, region = %id, size = record.size, extents = record.extents.len(), "created a region");
        let entry = account::done(Act::CreateRegion, caller).region(&record.name);
        self.options.audit.record(&entry.len(record.size));
        Ok(self.region_of(&record))
    }

    /// Deletes a region: every connection stopped, gone from the catalog, its space free.
    ///
    /// # Errors
    /// `NO_SUCH_REGION`; `OWNED` while its owner is alive; `FENCE_UNCONFIRMED` when a connection did not confirm that it stopped.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        request: &DeleteRegionRequest,
    ) -> Result<DeleteRegionResponse, ControlError> {
        let attachment = self.attachment().await?;
        let (_lock, record) = self.locked(caller, &request.want()).await?;
        self.check_unowned(&attachment, &record).await?;
        self.live.set_programmed(record.id, 0);
        attachment.checked(attachment.unit.withdraw(record.id).await)?;
        self.commit(
            &attachment,
            Record::Deleted {
                region: record.region,
            },
        )
        .await?;
        self.live.tell(record.id, Kind::Deleted);
        self.live.forget(record.id);
        // Whoever makes a region of this name next must not see, or ask, the members of this one's pair.
        self.pairs.forget(&record.name);
        tracing::info!(name = record.name, region = %record.id, "deleted a region");
        let entry = account::done(Act::DeleteRegion, caller).region(&record.name);
        self.options
            .audit
            .record(&entry.generation(record.generation).len(record.size));
        Ok(DeleteRegionResponse {})
    }

    /// Grows a region, for its owner.
    ///
    /// # Errors
    /// `FENCED` for another generation than the current one; `INVALID` for a smaller size; `NO_SPACE`.
    pub(crate) async fn resize(
        &self,
        caller: &Caller,
        request: &ResizeRegionRequest,
    ) -> Result<Region, ControlError> {
        let attachment = self.attachment().await?;
        let record = self.catalog.authorised(caller, &request.want())?;
        crate::grant::check_generation(&record, request.generation)?;
        let size = rounded(request.size)?;
        if size < record.size {
            let message = format!(
                "region {:?} has {} bytes and cannot shrink to {size}: create a smaller one and copy",
                record.name, record.size
            );
            return Err(ControlError::new(ErrorCode::Invalid, message));
        }
        if size == record.size {
            return Ok(self.region_of(&record));
        }
        let generation = attachment.manager_generation();
        let reservation = Reservation::of_more(&self.catalog, generation, &record, size - record.size)?;
        let mut lock = None;
        let outcome = async {
            // Zeroing may take minutes: a takeover must not wait for it.
            self.prepare(&attachment, &reservation, Vec::new()).await?;
            let (locked, now) = self.locked(caller, &request.want()).await?;
            lock = Some(locked);
            check_unchanged(&record, &now)?;
            let change = Record::Resized {
                region: record.region,
                size,
                extents: reservation.all.clone(),
            };
            self.commit(&attachment, change).await
        };
        let outcome = outcome.await;
        reservation.settle(&outcome);
        outcome?;
        self.program(&attachment, record.id).await?;
        self.live.tell(record.id, Kind::Resized);
        let (name, id) = (&record.name, record.id);
        tracing::info!(name, region = %id, from = record.size, to = size, "resized a region");
        let entry = account::done(Act::ResizeRegion, caller).region(name);
        self.options
            .audit
            .record(&entry.generation(record.generation).len(size));
        let record = self.catalog.identified(id);
        Ok(self.region_of(&record.ok_or_else(|| crate::catalog::no_such_region(name))?))
    }

    /// Has the unit make new space ready. Nobody else can reach it yet.
    async fn prepare(
        &self,
        attachment: &Attachment,
        reservation: &Reservation,
        first_bytes: Vec<Write>,
    ) -> Result<(), ControlError> {
        let prepared = attachment
            .unit
            .prepare(unit_extents(&reservation.added), first_bytes)
            .await;
        attachment.checked(prepared)
    }
}

/// A request to create, checked.
struct Plan {
    size: u64,
    /// Checkpoint regions only.
    geometry: Option<Geometry>,
    access: AccessList,
}

impl Plan {
    fn of(request: &CreateRegionRequest, caller: &Caller) -> Result<Self, ControlError> {
        check_name(&request.name)?;
        let size = rounded(request.size)?;
        let geometry = match request.kind() {
            RegionKind::Checkpoint => {
                let geometry = Geometry::new(size, request.slots, request.max_snapshot);
                Some(geometry.map_err(|error| invalid(error.to_string()))?)
            }
            RegionKind::Raw if request.slots != 0 || request.max_snapshot != 0 => {
                return Err(invalid(
                    "a raw region has no slots: leave slots and max_snapshot out".into(),
                ));
            }
            RegionKind::Raw => None,
            RegionKind::Unspecified => {
                return Err(invalid("the request names no kind: checkpoint or raw".into()));
            }
        };
        let mut owners = request.owners.clone();
        if owners.is_empty() {
            owners.push(caller.name.to_string());
        }
        Ok(Self {
            size,
            geometry,
            access: crate::lists::of(owners, request.readers.clone())?,
        })
    }

    fn entry(&self, id: RegionId, name: String, extents: Vec<Extent>) -> RegionEntry {
        let kind = match self.geometry {
            Some(_) => outlive_layout::RegionKind::Checkpoint,
            None => outlive_layout::RegionKind::Raw,
        };
        RegionEntry {
            region: layout_id(id),
            name,
            kind,
            size: self.size,
            slots: self.geometry.as_ref().map_or(0, |geometry| geometry.slots),
            max_snapshot: self.geometry.as_ref().map_or(0, |geometry| geometry.max_snapshot),
            extents,
            created_ms: now_ms(),
            generation: 0,
            owner: None,
            access: self.access.clone(),
        }
    }

    /// What a region holds before anybody may connect: its layout's first bytes, behind the metadata page.
    fn first_bytes(&self, entry: &RegionEntry) -> Vec<Write> {
        let mut writes = vec![Write {
            offset: 0,
            bytes: RegionRecord::from(entry).page(),
        }];
        if let Some(geometry) = &self.geometry {
            let format = geometry.format(entry.region);
            writes.extend(format.into_iter().map(|(at, bytes)| Write {
                offset: PAGE_BYTES + at,
                bytes,
            }));
        }
        writes
    }
}

/// That a region is what it was when space for it was set aside.
fn check_unchanged(before: &RegionRecord, now: &RegionRecord) -> Result<(), ControlError> {
    crate::grant::check_generation(now, before.generation)?;
    if now.id == before.id && now.extents == before.extents {
        return Ok(());
    }
    let message = format!("region {:?} was changed meanwhile: look again", before.name);
    Err(ControlError::new(ErrorCode::LostRace, message))
}

fn created(entry: &RegionEntry) -> Record {
    Record::RegionCreated {
        region: entry.region,
        name: entry.name.clone(),
        kind: entry.kind,
        size: entry.size,
        slots: entry.slots,
        max_snapshot: entry.max_snapshot,
        extents: entry.extents.clone(),
        created_ms: entry.created_ms,
        access: entry.access.clone(),
    }
}

fn check_name(name: &str) -> Result<(), ControlError> {
    if valid_name(name) {
        return Ok(());
    }
    Err(invalid(format!(
        "{name:?} is no region name: 1 to {} letters, digits and . _ - / : @ +, beginning with a letter or digit",
        limits::NAME_BYTES
    )))
}

/// Sizes count in pages.
fn rounded(size: u64) -> Result<u64, ControlError> {
    let rounded = size
        .checked_next_multiple_of(PAGE_BYTES)
        .filter(|&size| size >= MIN_BYTES);
    rounded
        .filter(|&size| size < outlive_layout::geometry::MAX_REGION_BYTES)
        .ok_or_else(|| invalid(format!("a region cannot have {size} bytes: give 1 byte to 2^56")))
}

fn invalid(message: String) -> ControlError {
    ControlError::new(ErrorCode::Invalid, message)
}
