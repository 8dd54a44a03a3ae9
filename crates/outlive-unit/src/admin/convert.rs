//! From messages to what the unit works with.

use std::time::Duration;

use outlive_fabric::{RegionId, TicketId};
use outlive_media::Persistence;
use outlive_proto::ControlError;
use outlive_proto::v1::{self, AdmitRequest, Level};

use crate::programming::{Grant, invalid};
use crate::translation::Extent;

pub(super) fn region(bytes: &[u8]) -> Result<RegionId, ControlError> {
    id(bytes, "a region's id").map(RegionId)
}

pub(super) fn extents(extents: &[v1::Extent]) -> Vec<Extent> {
    extents
        .iter()
        .map(|extent| Extent {
            start: extent.start,
            len: extent.len,
        })
        .collect()
}

pub(super) fn grant(request: &AdmitRequest) -> Result<Grant, ControlError> {
    Ok(Grant {
        ticket: TicketId(id(&request.ticket_id, "a ticket's id")?),
        region: region(&request.region)?,
        identity: request.identity.clone(),
        writable: request.writable,
        generation: request.generation,
        valid: Duration::from_millis(request.valid_ms),
    })
}

pub(super) fn level(persistence: Persistence) -> Level {
    match persistence {
        Persistence::PlacedOnly => Level::Placed,
        Persistence::AfterFlush => Level::Persistent,
    }
}

fn id(bytes: &[u8], what: &str) -> Result<[u8; 16], ControlError> {
    bytes
        .try_into()
        .map_err(|_| invalid(format!("{what} has 16 bytes, not {}", bytes.len())))
}
