//! What a region is at its unit: its translation, its metadata page, and the generation below which nobody writes.

use outlive_audit::Act;
use outlive_fabric::RegionId;
use outlive_identity::Caller;
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::account;
use crate::catalog::RegionRecord;
use crate::shared::{Attachment, Shared};

/// Which writers a fence stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// Those of older generations.
    Below,
    /// Those of the generation itself, too.
    Through,
}

impl Shared {
    /// Makes sure that not one byte of an older generation (or, with [`Fence::Through`], of this one) can land any more.
    pub(crate) async fn fence(
        &self,
        attachment: &Attachment,
        caller: &Caller,
        record: &RegionRecord,
        generation: u64,
        reach: Fence,
    ) -> Result<(), ControlError> {
        let through = reach == Fence::Through;
        let fenced = attachment.checked(attachment.unit.fence(record.id, generation, through).await);
        let entry = match &fenced {
            Ok(stopped) => account::done(Act::Fence, caller).count(u64::from(*stopped)),
            Err(error) if error.code == ErrorCode::NoSuchRegion => return Err(error.clone()),
            Err(error) => account::failed(Act::Fence, caller, error),
        };
        let entry = entry.region(&record.name).generation(generation);
        self.options.audit.record(&entry);
        fenced.map(drop)
    }

    /// Programs a region's translation unless it was under this attachment. Returns whether it did, and so
    /// wrote the metadata page, too.
    pub(crate) async fn ensure_programmed(
        &self,
        attachment: &Attachment,
        region: RegionId,
    ) -> Result<bool, ControlError> {
        let is_missing = !self.live.is_programmed(region, attachment.manager_generation());
        if is_missing {
            self.program(attachment, region).await?;
        }
        Ok(is_missing)
    }

    /// Programs a region's translation and writes its metadata page.
    pub(crate) async fn program(
        &self,
        attachment: &Attachment,
        region: RegionId,
    ) -> Result<(), ControlError> {
        let Some(record) = self.catalog.identified(region) else {
            return Err(ControlError::new(
                ErrorCode::NoSuchRegion,
                format!("region {region} is gone"),
            ));
        };
        self.live.set_programmed(region, 0);
        let (extents, data_len) = (record.unit_extents(), record.size);
        let programmed = attachment
            .unit
            .program(region, extents, data_len, record.generation)
            .await;
        attachment.checked(programmed)?;
        self.describe_page(attachment, region).await?;
        self.live.set_programmed(region, attachment.manager_generation());
        Ok(())
    }

    /// Rewrites a region's metadata page from the catalog.
    pub(crate) async fn describe_page(
        &self,
        attachment: &Attachment,
        region: RegionId,
    ) -> Result<(), ControlError> {
        let Some(record) = self.catalog.identified(region) else {
            return Ok(());
        };
        attachment.checked(attachment.unit.describe(region, record.page()).await)
    }
}
