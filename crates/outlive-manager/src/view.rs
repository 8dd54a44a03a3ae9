//! What can be looked at: regions, address contexts, the state of all.

use outlive_identity::Caller;
use outlive_proto::ControlError;
use outlive_proto::v1::{
    AddressContextResponse, ConnectionInfo, ListRegionsRequest, ListRegionsResponse, Mapping, Region,
    StatusResponse, UnitStatus,
};

use crate::access::Want;
use crate::catalog::RegionRecord;
use crate::limits;
use crate::shared::{Attachment, Shared};

impl Shared {
    /// One page of the regions that the caller may see, by name.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        request: &ListRegionsRequest,
    ) -> Result<ListRegionsResponse, ControlError> {
        self.attachment().await?;
        let limit = usize::try_from(request.limit)
            .ok()
            .filter(|&limit| limit > 0)
            .unwrap_or(usize::MAX);
        let limit = limit.min(limits::REGIONS);
        let mut records = self.catalog.page(caller, &request.after, limit + 1);
        let more = records.len() > limit;
        records.truncate(limit);
        Ok(ListRegionsResponse {
            regions: records.iter().map(|record| self.region_of(record)).collect(),
            more,
        })
    }

    /// One region.
    pub(crate) async fn describe(&self, caller: &Caller, name: &str) -> Result<Region, ControlError> {
        self.attachment().await?;
        let record = self.catalog.authorised(caller, &Want::See(name))?;
        Ok(self.region_of(&record))
    }

    /// What of a region is mapped, and by whom, with which rights.
    pub(crate) async fn address_context(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<AddressContextResponse, ControlError> {
        let attachment = self.attachment().await?;
        let record = self.catalog.authorised(caller, &Want::See(name))?;
        let connections = attachment.checked(attachment.unit.connections(record.id).await)?;
        let connections = connections.into_iter().map(|connection| ConnectionInfo {
            connection: connection.connection,
            peer: connection.peer,
            identity: connection.identity,
            writable: connection.writable,
            generation: connection.generation,
        });
        let mappings = record.virtual_ranges().into_iter();
        Ok(AddressContextResponse {
            region: Some(self.region_of(&record)),
            mappings: mappings.map(|(offset, len)| Mapping { offset, len }).collect(),
            connections: connections.collect(),
        })
    }

    /// The regions and pairs that the caller may see, and for administrators the unit: its figures tell of everybody.
    pub(crate) async fn status(&self, caller: &Caller) -> Result<StatusResponse, ControlError> {
        let attachment = self.attachment().await?;
        let is_administrator = self.catalog.is_administrator(caller);
        let units = if is_administrator {
            vec![self.unit_status(&attachment).await?]
        } else {
            Vec::new()
        };
        let records = self.catalog.page(caller, "", limits::STATUS_REGIONS);
        let pairs = self.pairs.status(|pair| self.catalog.shows(caller, pair));
        Ok(StatusResponse {
            units,
            regions: records.iter().map(|record| self.region_of(record)).collect(),
            pairs,
            manager_generation: attachment.manager_generation(),
            region_count: self.catalog.count_for(caller),
        })
    }

    /// The unit, all regions (as many as a status holds) and all pairs.
    pub(crate) async fn status_of_all(&self) -> Result<StatusResponse, ControlError> {
        let attachment = self.attachment().await?;
        let records = self.catalog.first(limits::STATUS_REGIONS);
        Ok(StatusResponse {
            units: vec![self.unit_status(&attachment).await?],
            regions: records.iter().map(|record| self.region_of(record)).collect(),
            pairs: self.pairs.status(|_| true),
            manager_generation: attachment.manager_generation(),
            region_count: self.catalog.count(),
        })
    }

    async fn unit_status(&self, attachment: &Attachment) -> Result<UnitStatus, ControlError> {
        let state = attachment.checked(attachment.unit.state().await)?;
        Ok(UnitStatus {
            id: attachment.unit_id.clone(),
            data_address: attachment.data_address.clone(),
            incarnation: attachment.incarnation,
            media_bytes: state.media_bytes,
            free_bytes: self.catalog.free_bytes(),
            media: state.media,
            strongest: attachment.strongest.into(),
            connections: state.connections,
            bytes_written: state.bytes_written,
            bytes_read: state.bytes_read,
            writes: state.writes,
            reads: state.reads,
            persists: state.persists,
            flushes: state.flushes,
            refusals: state.refusals,
            poisoned: state.poisoned,
            superblock: state.superblock,
            scrub: state.scrub,
        })
    }

    /// A region as clients are told about it.
    pub(crate) fn region_of(&self, record: &RegionRecord) -> Region {
        Region {
            owner_alive: self.owner_is_alive(record),
            readers: self.live.presence(record.id, record.generation).readers,
            ..record.to_region()
        }
    }
}
