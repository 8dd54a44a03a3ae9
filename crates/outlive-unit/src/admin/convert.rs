//! From messages to what the unit works with.

use std::time::Duration;

use outlive_fabric::{RegionId, TicketId, TicketSecret};
use outlive_media::Persistence;
use outlive_proto::ControlError;
use outlive_proto::v1::{self, AdmitRequest, Level, RevokeRequest};

use crate::programming::{Grant, invalid};
use crate::stop::{Kept, Revocation};
use crate::translation::Extent;

pub(super) fn region(bytes: &[u8]) -> Result<RegionId, ControlError> {
    id(bytes, "a region's id").map(RegionId)
}

/// Empty: all regions.
pub(super) fn region_or_all(bytes: &[u8]) -> Result<Option<RegionId>, ControlError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    region(bytes).map(Some)
}

pub(super) fn revocation(request: RevokeRequest) -> Result<Revocation, ControlError> {
    Ok(Revocation {
        region: region_or_all(&request.region)?,
        identity: request.identity,
        kept: if request.keep_readers {
            Kept::Reading
        } else {
            Kept::Nothing
        },
    })
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

pub(super) fn grant(mut request: AdmitRequest) -> Result<Grant, ControlError> {
    let secret = TicketSecret::take_from(std::mem::take(&mut request.secret));
    Ok(Grant {
        ticket: TicketId(id(&request.ticket_id, "a ticket's id")?),
        secret: secret.ok_or_else(|| invalid("a ticket's secret has 32 bytes"))?,
        region: region(&request.region)?,
        identity: request.identity,
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
