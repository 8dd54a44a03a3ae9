//! The admin service: how a manager programs this unit.

mod convert;
pub(crate) mod network;
mod stream;

use std::sync::Arc;

use outlive_audit::{Act, Entry};
use outlive_proto::ControlError;
use outlive_proto::v1::unit_admin_server::UnitAdmin;
use outlive_proto::v1::{
    AdmitRequest, AttachRequest, AttachResponse, ConnectionsRequest, ConnectionsResponse, DescribeRequest,
    Done, ErrorCode, EventsRequest, FenceRequest, PrepareRequest, ProgramRequest, RevokeRequest,
    StopResponse, UnitStateRequest, UnitStateResponse, WithdrawRequest,
};
use tonic::{Request, Response, Status};

use crate::core::Core;
use crate::stop::Reach;
pub use stream::EventStream;

/// Implements `UnitAdmin`. Every call runs on tokio's blocking threads: it may wait for a flush, for
/// connections to stop, or for a manager that is attaching.
#[derive(Clone)]
pub struct AdminService {
    core: Arc<Core>,
}

impl AdminService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Runs a call of the manager of `generation`, who stays the present one until it has ended.
    async fn call<T: Send + 'static>(
        &self,
        generation: u64,
        work: impl FnOnce(&Core) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.blocking(move |core| {
            let _present = core.gate.pass(generation)?;
            work(core)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let core = Arc::clone(&self.core);
        let outcome = tokio::task::spawn_blocking(move || work(&core)).await;
        let outcome =
            outcome.map_err(|error| Status::internal(format!("the unit's call did not end: {error}")))?;
        Ok(Response::new(outcome?))
    }
}

#[tonic::async_trait]
impl UnitAdmin for AdminService {
    type EventsStream = EventStream;

    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        let vouched = request.extensions().get::<network::Vouched>().cloned();
        let AttachRequest { proof, manager } = request.into_inner();
        let is_proven = vouched.is_some() || self.core.options.secret.accepts(&proof);
        let manager = vouched.map_or(manager, |network::Vouched(name)| name.to_string());
        let audit = self.core.options.audit.clone();
        if !is_proven {
            tracing::warn!(%manager, "a manager without the secret tried to attach");
            let reason = "this manager cannot prove that it may program the unit";
            audit.record(&Entry::refused(Act::Attach, reason).by(manager));
            return Err(ControlError::new(ErrorCode::NoAccess, reason).into());
        }
        // Dropped with this call, when the manager has given up on it.
        let awaited = Arc::new(());
        let is_awaited = {
            let awaited = Arc::downgrade(&awaited);
            move || awaited.strong_count() > 0
        };
        let name = manager.clone();
        let attached = self.blocking(move |core| core.attach(&name, is_awaited)).await;
        drop(awaited);
        let entry = match &attached {
            Ok(attached) => Entry::done(Act::Attach).generation(attached.get_ref().manager_generation),
            Err(status) => Entry::failed(Act::Attach, status.message()),
        };
        audit.record(&entry.by(manager));
        attached
    }

    async fn prepare(&self, request: Request<PrepareRequest>) -> Result<Response<Done>, Status> {
        let PrepareRequest {
            manager_generation,
            extents,
            writes,
        } = request.into_inner();
        let extents = convert::extents(&extents);
        let writes: Vec<_> = writes
            .into_iter()
            .map(|write| (write.offset, write.bytes))
            .collect();
        self.call(manager_generation, move |core| {
            core.prepare(&extents, &writes).map(|()| Done {})
        })
        .await
    }

    async fn program(&self, request: Request<ProgramRequest>) -> Result<Response<Done>, Status> {
        let ProgramRequest {
            manager_generation,
            region,
            extents,
            data_len,
            min_generation,
        } = request.into_inner();
        let region = convert::region(&region)?;
        let extents = convert::extents(&extents);
        self.call(manager_generation, move |core| {
            core.program(region, &extents, data_len, min_generation)
                .map(|()| Done {})
        })
        .await
    }

    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Result<Response<StopResponse>, Status> {
        let WithdrawRequest {
            manager_generation,
            region,
        } = request.into_inner();
        let region = convert::region(&region)?;
        self.call(manager_generation, move |core| {
            Ok(StopResponse {
                stopped: core.withdraw(region)?,
            })
        })
        .await
    }

    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<Done>, Status> {
        let request = request.into_inner();
        let manager_generation = request.manager_generation;
        let grant = convert::grant(request)?;
        self.call(manager_generation, move |core| {
            core.admit_ticket(grant).map(|()| Done {})
        })
        .await
    }

    async fn fence(&self, request: Request<FenceRequest>) -> Result<Response<StopResponse>, Status> {
        let FenceRequest {
            manager_generation,
            region,
            min_generation,
            including_current,
        } = request.into_inner();
        let region = convert::region(&region)?;
        let reach = if including_current {
            Reach::Through
        } else {
            Reach::Below
        };
        self.call(manager_generation, move |core| {
            Ok(StopResponse {
                stopped: core.fence(region, min_generation, reach)?,
            })
        })
        .await
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<StopResponse>, Status> {
        let request = request.into_inner();
        let manager_generation = request.manager_generation;
        let revocation = convert::revocation(request)?;
        self.call(manager_generation, move |core| {
            Ok(StopResponse {
                stopped: core.revoke(&revocation)?,
            })
        })
        .await
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<Done>, Status> {
        let DescribeRequest {
            manager_generation,
            region,
            page,
        } = request.into_inner();
        let region = convert::region(&region)?;
        self.call(manager_generation, move |core| {
            core.describe(region, &page).map(|()| Done {})
        })
        .await
    }

    async fn connections(
        &self,
        request: Request<ConnectionsRequest>,
    ) -> Result<Response<ConnectionsResponse>, Status> {
        let ConnectionsRequest {
            manager_generation,
            region,
        } = request.into_inner();
        let region = convert::region_or_all(&region)?;
        self.call(manager_generation, move |core| {
            Ok(ConnectionsResponse {
                connections: core.live(region),
            })
        })
        .await
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<EventStream>, Status> {
        let generation = request.into_inner().manager_generation;
        // Subscribed while the manager is known to be the present one, so that its end is not missed.
        self.call(generation, move |core| {
            Ok(EventStream::new(core.events.subscribe(), generation))
        })
        .await
    }

    async fn unit_state(
        &self,
        request: Request<UnitStateRequest>,
    ) -> Result<Response<UnitStateResponse>, Status> {
        self.call(request.into_inner().manager_generation, |core| Ok(core.state()))
            .await
    }
}

impl Core {
    /// Makes the caller the one manager. Waits for calls in progress, voids every ticket that its
    /// predecessor gave, and stops its predecessor's connection to the catalog. Changes nothing for a caller who gave
    /// up while it waited: that one has asked again, and would be superseded by its own first call.
    fn attach(
        &self,
        manager: &str,
        is_awaited: impl FnOnce() -> bool,
    ) -> Result<AttachResponse, ControlError> {
        let mut attached = self.gate.close();
        if !is_awaited() {
            tracing::warn!(%manager, "a manager gave up attaching");
            return Err(ControlError::new(
                ErrorCode::TimedOut,
                "the manager gave up attaching",
            ));
        }
        attached.served = false;
        let generation = self
            .volume
            .raise_manager_generation()
            .map_err(|error| self.media_error(&error))?;
        attached.generation = generation;
        self.registry().tickets.void(|_| true);
        self.fence(self.catalog_id(), generation, Reach::Below)?;
        attached.served = true;
        self.events.send(crate::events::Event::Attached(generation));
        tracing::info!(%manager, generation, "manager attached");
        let geometry = self.volume.geometry();
        let (data_tls, data_certificate) = self.data_tls();
        Ok(AttachResponse {
            manager_generation: generation,
            incarnation: self.volume.incarnation(),
            unit: geometry.unit.0.to_vec(),
            allocatable_start: geometry.allocatable_start,
            allocatable_len: geometry.allocatable_len,
            catalog_region: geometry.catalog_region.to_vec(),
            catalog_len: geometry.catalog_data_len(),
            data_address: self.data_address(),
            data_tls: data_tls.into(),
            data_certificate,
            strongest: convert::level(self.volume.medium().persistence()).into(),
            connections: self.live(None),
        })
    }

    fn state(&self) -> UnitStateResponse {
        let totals = self.totals();
        let medium = self.volume.medium();
        let connections = self.registry().connections.len();
        UnitStateResponse {
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
            bytes_written: totals.bytes_written,
            bytes_read: totals.bytes_read,
            writes: totals.writes,
            reads: totals.reads,
            persists: totals.persists,
            flushes: medium.flushes(),
            refusals: totals.refusals,
            poisoned: medium.failure().unwrap_or_default(),
            media: medium.describe(),
            media_bytes: medium.len(),
            superblock: self.volume.superblock_problems(),
            scrub: self.scrub().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttachSecret, UnitOptions};

    #[test]
    fn a_manager_is_not_superseded_by_its_own_call_that_it_gave_up() {
        let spec: outlive_media::MediaSpec = "memory:size=16MiB".parse().unwrap();
        let options = UnitOptions::new(AttachSecret::new(*b"secret"));
        let service = AdminService::new(Arc::new(Core::new(spec.open_volume().unwrap(), options)));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let begin = || {
            let (service, proof) = (service.clone(), b"secret".to_vec());
            let manager = "test".into();
            runtime.spawn(async move {
                service
                    .attach(Request::new(AttachRequest { proof, manager }))
                    .await
            })
        };
        let attach = || {
            let attached = runtime.block_on(begin()).unwrap().unwrap();
            attached.into_inner().manager_generation
        };
        let gate = &service.core.gate;
        let first = attach();

        let in_progress = gate.pass(first).unwrap();
        let given_up = begin();
        while !gate.is_awaited() {
            std::thread::yield_now();
        }
        given_up.abort();
        let ended = runtime.block_on(given_up);
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        drop(in_progress);
        // From then on it has the gate to itself.
        while gate.is_awaited() {
            std::thread::yield_now();
        }
        assert_eq!(attach(), first + 1);
    }
}
