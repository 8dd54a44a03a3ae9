//! The unit's admin service as one attachment may use it.

use std::future::Future;
use std::time::Duration;

use outlive_fabric::{RegionId, Ticket};
use outlive_identity::ConnectError;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_proto::v1::{
    AdmitRequest, AttachRequest, AttachResponse, ConnectionsRequest, DescribeRequest, ErrorCode,
    EventsRequest, Extent, FenceRequest, LiveConnection, PrepareRequest, ProgramRequest, RevokeRequest,
    UnitEvent, UnitStateRequest, UnitStateResponse, WithdrawRequest, Write,
};
use outlive_proto::{ControlError, FromStatus};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::limits;

/// Bytes of the largest answer: all connections of a unit, a few hundred bytes each.
const ANSWER_BYTES: usize = 16 << 20;

const GIB: u64 = 1 << 30;

/// Calls to the unit that name one manager generation.
#[derive(Clone, Debug)]
pub(crate) struct UnitLink {
    client: UnitAdminClient<Channel>,
    manager_generation: u64,
}

impl UnitLink {
    /// Attaches as a new manager generation, which fences the manager before.
    pub(crate) async fn attach(
        client: UnitAdminClient<Channel>,
        proof: Vec<u8>,
        manager: String,
    ) -> Result<(Self, AttachResponse), ControlError> {
        let mut client = client.max_decoding_message_size(ANSWER_BYTES);
        let response = within(limits::UNIT_CALL, client.attach(AttachRequest { proof, manager })).await?;
        let manager_generation = response.manager_generation;
        Ok((
            Self {
                client,
                manager_generation,
            },
            response,
        ))
    }

    pub(crate) fn manager_generation(&self) -> u64 {
        self.manager_generation
    }

    /// Zeroes `extents` and writes their initial bytes, persistent.
    pub(crate) async fn prepare(&self, extents: Vec<Extent>, writes: Vec<Write>) -> Result<(), ControlError> {
        let bytes: u64 = extents.iter().map(|extent| extent.len).sum();
        let gib = u32::try_from(bytes / GIB).unwrap_or(u32::MAX).saturating_add(1);
        let manager_generation = self.manager_generation;
        let request = PrepareRequest {
            manager_generation,
            extents,
            writes,
        };
        let bound = limits::UNIT_CALL.saturating_add(limits::PREPARE_PER_GIB.saturating_mul(gib));
        within(bound, self.client.clone().prepare(request))
            .await
            .map(drop)
    }

    /// Programs a region's translation.
    pub(crate) async fn program(
        &self,
        region: RegionId,
        extents: Vec<Extent>,
        data_len: u64,
        min_generation: u64,
    ) -> Result<(), ControlError> {
        let request = ProgramRequest {
            manager_generation: self.manager_generation,
            region: region.0.to_vec(),
            extents,
            data_len,
            min_generation,
        };
        within(limits::UNIT_CALL, self.client.clone().program(request))
            .await
            .map(drop)
    }

    /// Stops every connection of a region, confirmed, and drops its translation.
    pub(crate) async fn withdraw(&self, region: RegionId) -> Result<u32, ControlError> {
        let manager_generation = self.manager_generation;
        let request = WithdrawRequest {
            manager_generation,
            region: region.0.to_vec(),
        };
        Ok(within(limits::UNIT_CALL, self.client.clone().withdraw(request))
            .await?
            .stopped)
    }

    /// Raises a region's minimum generation and stops the write connections below it, confirmed;
    /// `including_current` stops those of `min_generation` itself, too.
    pub(crate) async fn fence(
        &self,
        region: RegionId,
        min_generation: u64,
        including_current: bool,
    ) -> Result<u32, ControlError> {
        let request = FenceRequest {
            manager_generation: self.manager_generation,
            region: region.0.to_vec(),
            min_generation,
            including_current,
        };
        Ok(within(limits::UNIT_CALL, self.client.clone().fence(request))
            .await?
            .stopped)
    }

    /// Stops the connections of an identity to a region (`None`: to every region), confirmed, and voids its tickets; with
    /// `keep_readers` only those that may write.
    pub(crate) async fn revoke(
        &self,
        region: Option<RegionId>,
        identity: &str,
        keep_readers: bool,
    ) -> Result<u32, ControlError> {
        let request = RevokeRequest {
            manager_generation: self.manager_generation,
            region: region.map(|region| region.0.to_vec()).unwrap_or_default(),
            identity: identity.to_owned(),
            keep_readers,
        };
        Ok(within(limits::UNIT_CALL, self.client.clone().revoke(request))
            .await?
            .stopped)
    }

    /// Rewrites a region's metadata page, persistent.
    pub(crate) async fn describe(&self, region: RegionId, page: Vec<u8>) -> Result<(), ControlError> {
        let manager_generation = self.manager_generation;
        let request = DescribeRequest {
            manager_generation,
            region: region.0.to_vec(),
            page,
        };
        within(limits::UNIT_CALL, self.client.clone().describe(request))
            .await
            .map(drop)
    }

    /// Lets one connection in.
    pub(crate) async fn admit(&self, ticket: &Ticket) -> Result<(), ControlError> {
        let Ticket { id, secret, terms } = ticket;
        let request = AdmitRequest {
            manager_generation: self.manager_generation,
            ticket_id: id.0.to_vec(),
            region: terms.region.0.to_vec(),
            identity: terms.identity.clone(),
            writable: terms.rights.allows_write(),
            generation: terms.generation,
            secret: secret.as_bytes().to_vec(),
            valid_ms: u64::try_from(limits::TICKET_VALID.as_millis()).unwrap_or(u64::MAX),
        };
        within(limits::UNIT_CALL, self.client.clone().admit(request))
            .await
            .map(drop)
    }

    /// The connections of one region that are alive.
    pub(crate) async fn connections(&self, region: RegionId) -> Result<Vec<LiveConnection>, ControlError> {
        let manager_generation = self.manager_generation;
        let request = ConnectionsRequest {
            manager_generation,
            region: region.0.to_vec(),
        };
        Ok(
            within(limits::UNIT_CALL, self.client.clone().connections(request))
                .await?
                .connections,
        )
    }

    /// All connections that are alive.
    pub(crate) async fn all_connections(&self) -> Result<Vec<LiveConnection>, ControlError> {
        let request = ConnectionsRequest {
            manager_generation: self.manager_generation,
            region: Vec::new(),
        };
        Ok(
            within(limits::UNIT_CALL, self.client.clone().connections(request))
                .await?
                .connections,
        )
    }

    /// What happens at the unit from now on.
    pub(crate) async fn events(&self) -> Result<Streaming<UnitEvent>, ControlError> {
        let request = EventsRequest {
            manager_generation: self.manager_generation,
        };
        within(limits::UNIT_CALL, self.client.clone().events(request)).await
    }

    /// The unit's counters and state.
    pub(crate) async fn state(&self) -> Result<UnitStateResponse, ControlError> {
        let request = UnitStateRequest {
            manager_generation: self.manager_generation,
        };
        within(limits::UNIT_CALL, self.client.clone().unit_state(request)).await
    }
}

/// The reason in a status of the unit's; one without a reason came from the transport.
pub(crate) fn reason(status: &Status) -> ControlError {
    status.control_error().unwrap_or_else(|| {
        // Whether it is gone, or an impostor answers, stands among the causes.
        let why = match ConnectError::find(status) {
            Some(error) => error.to_string(),
            None => status.message().to_owned(),
        };
        ControlError::new(
            ErrorCode::UnitUnreachable,
            format!("the unit cannot be reached: {why}"),
        )
    })
}

async fn within<T>(
    bound: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ControlError> {
    match tokio::time::timeout(bound, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(reason(&status)),
        Err(_elapsed) => {
            let message = format!("the unit did not answer within {} s", bound.as_secs());
            Err(ControlError::new(ErrorCode::UnitUnreachable, message))
        }
    }
}
