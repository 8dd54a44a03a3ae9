//! The gRPC face: authenticates, bounds, and hands each call to the operation it names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use outlive_proto::ControlError;
use outlive_proto::v1::manager_server::Manager;
use outlive_proto::v1::{
    self, AddressContextRequest, AddressContextResponse, AdmitIdentityRequest, ChangeAccessRequest,
    CloseRegionRequest, CloseRegionResponse, CreateRegionRequest, DeleteRegionRequest, DeleteRegionResponse,
    DescribeRegionRequest, ErrorCode, IssueIdentityRequest, IssueIdentityResponse, ListIdentitiesRequest,
    ListIdentitiesResponse, ListRegionsRequest, ListRegionsResponse, OpenCatalogRequest, OpenRegionRequest,
    Opened, ReconnectRegionRequest, Region, RegionEvent, ReportMemberRequest, ReportMemberResponse,
    ResizeRegionRequest, RevokeIdentityRequest, RevokeIdentityResponse, StatusRequest, StatusResponse,
    SwitchoverRequest, SwitchoverResponse, TakeoverRegionRequest, WatchRegionRequest, WhoAmIRequest,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};

use crate::shared::Shared;
use crate::{Identity, limits};

/// Serves `outlive.v1.Manager`.
#[derive(Clone)]
pub(crate) struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs an operation to its end even if the caller goes away meanwhile: one that stopped halfway would
    /// leave the unit working on extents that nobody holds.
    async fn run<Q, A, F>(
        &self,
        request: Request<Q>,
        operation: impl FnOnce(Arc<Shared>, Identity, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, ControlError>> + Send + 'static,
        A: Send + 'static,
    {
        let identity = Identity::of(&request)?;
        let permit = Arc::clone(&self.shared.calls)
            .try_acquire_owned()
            .map_err(|_full| too_many_calls())?;
        let operation = operation(Arc::clone(&self.shared), identity, request.into_inner());
        let running = tokio::spawn(async move {
            let answer = operation.await;
            drop(permit);
            answer
        });
        match running.await {
            Ok(answer) => Ok(Response::new(answer?)),
            Err(error) => Err(Status::internal(format!("the operation was broken off: {error}"))),
        }
    }
}

fn too_many_calls() -> ControlError {
    let message = format!(
        "{} calls are in progress, which is the limit: try again",
        limits::CALLS_IN_PROGRESS
    );
    ControlError::new(ErrorCode::Limit, message)
}

#[async_trait]
impl Manager for Service {
    async fn create_region(&self, request: Request<CreateRegionRequest>) -> Result<Response<Region>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.create(request).await
        })
        .await
    }

    async fn delete_region(
        &self,
        request: Request<DeleteRegionRequest>,
    ) -> Result<Response<DeleteRegionResponse>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.delete(&request.name).await
        })
        .await
    }

    async fn resize_region(&self, request: Request<ResizeRegionRequest>) -> Result<Response<Region>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.resize(request).await
        })
        .await
    }

    async fn list_regions(
        &self,
        request: Request<ListRegionsRequest>,
    ) -> Result<Response<ListRegionsResponse>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.list(&request).await
        })
        .await
    }

    async fn describe_region(
        &self,
        request: Request<DescribeRegionRequest>,
    ) -> Result<Response<Region>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.describe(&request.name).await
        })
        .await
    }

    async fn open_region(&self, request: Request<OpenRegionRequest>) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, identity, request| async move {
            shared.open(&identity, request).await
        })
        .await
    }

    async fn reconnect_region(
        &self,
        request: Request<ReconnectRegionRequest>,
    ) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, identity, request| async move {
            shared.reconnect(&identity, request).await
        })
        .await
    }

    async fn takeover_region(
        &self,
        request: Request<TakeoverRegionRequest>,
    ) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, identity, request| async move {
            shared.take_over(&identity, request).await
        })
        .await
    }

    async fn close_region(
        &self,
        request: Request<CloseRegionRequest>,
    ) -> Result<Response<CloseRegionResponse>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.close(&request).await
        })
        .await
    }

    type WatchRegionStream = Pin<Box<dyn Stream<Item = Result<RegionEvent, Status>> + Send>>;

    async fn watch_region(
        &self,
        request: Request<WatchRegionRequest>,
    ) -> Result<Response<Self::WatchRegionStream>, Status> {
        Identity::of(&request)?;
        let stream = Arc::clone(&self.shared).watch(&request.get_ref().name).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn address_context(
        &self,
        request: Request<AddressContextRequest>,
    ) -> Result<Response<AddressContextResponse>, Status> {
        self.run(request, |shared, _, request| async move {
            shared.address_context(&request.name).await
        })
        .await
    }

    async fn open_catalog(&self, request: Request<OpenCatalogRequest>) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, identity, _| async move {
            shared.open_catalog(&identity).await
        })
        .await
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.run(request, |shared, _, _| async move { shared.status().await })
            .await
    }

    async fn who_am_i(&self, _: Request<WhoAmIRequest>) -> Result<Response<v1::Identity>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn change_access(&self, _: Request<ChangeAccessRequest>) -> Result<Response<Region>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_identities(
        &self,
        _: Request<ListIdentitiesRequest>,
    ) -> Result<Response<ListIdentitiesResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn issue_identity(
        &self,
        _: Request<IssueIdentityRequest>,
    ) -> Result<Response<IssueIdentityResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn admit_identity(
        &self,
        _: Request<AdmitIdentityRequest>,
    ) -> Result<Response<v1::Identity>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn revoke_identity(
        &self,
        _: Request<RevokeIdentityRequest>,
    ) -> Result<Response<RevokeIdentityResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    // The two calls below may wait long and change nothing but the table of pairs, which bounds them: they
    // take no permit and end when their caller goes away.

    async fn report_member(
        &self,
        request: Request<ReportMemberRequest>,
    ) -> Result<Response<ReportMemberResponse>, Status> {
        Identity::of(&request)?;
        Ok(Response::new(
            self.shared.pairs.report(request.into_inner()).await?,
        ))
    }

    async fn switchover(
        &self,
        request: Request<SwitchoverRequest>,
    ) -> Result<Response<SwitchoverResponse>, Status> {
        Identity::of(&request)?;
        let request = request.into_inner();
        let timeout = Duration::from_millis(request.timeout_ms);
        Ok(Response::new(
            self.shared.pairs.switchover(&request.pair, timeout).await?,
        ))
    }
}
