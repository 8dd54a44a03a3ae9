//! The gRPC face: bounds each call, has it decided, and hands it to the operation it names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use outlive_audit::Act;
use outlive_identity::Caller;
use outlive_proto::ControlError;
use outlive_proto::v1::manager_server::Manager;
use outlive_proto::v1::{
    self, AddressContextRequest, AddressContextResponse, AdmitIdentityRequest, ChangeAccessRequest,
    CloseRegionRequest, CloseRegionResponse, CreateRegionRequest, DeleteRegionRequest, DeleteRegionResponse,
    DescribeRegionRequest, IssueIdentityRequest, IssueIdentityResponse, ListIdentitiesRequest,
    ListIdentitiesResponse, ListRegionsRequest, ListRegionsResponse, OpenCatalogRequest, OpenRegionRequest,
    Opened, ReconnectRegionRequest, Region, RegionEvent, ReportMemberRequest, ReportMemberResponse,
    ResizeRegionRequest, RevokeIdentityRequest, RevokeIdentityResponse, StatusRequest, StatusResponse,
    SwitchoverRequest, SwitchoverResponse, TakeoverRegionRequest, WatchRegionRequest, WhoAmIRequest,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};

use crate::access::Want;
use crate::account::{self, Account};
use crate::auth;
use crate::call::Call;
use crate::shared::Shared;

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
        operation: impl FnOnce(Arc<Shared>, Caller, Q) -> F + Send + 'static,
    ) -> Result<Response<A>, Status>
    where
        Q: Call + Send + 'static,
        F: Future<Output = Result<A, ControlError>> + Send + 'static,
        A: Send + 'static,
    {
        let caller = auth::caller(&request)?;
        let share = self.shared.share(&self.shared.calls, &caller)?;
        let shared = Arc::clone(&self.shared);
        let running = tokio::spawn(async move {
            let _share = share;
            // While the unit is away the catalog may lack changes that were made.
            shared.attachment().await?;
            decided(shared, caller, request.into_inner(), operation).await
        });
        match running.await {
            Ok(answer) => Ok(Response::new(answer?)),
            Err(error) => Err(Status::internal(format!("the operation was broken off: {error}"))),
        }
    }

    /// Runs an operation that may wait for long and changes nothing that its end could leave halfway: it counts as no call in
    /// progress, and ends when its caller goes away.
    async fn wait<Q, A, F>(
        &self,
        request: Request<Q>,
        operation: impl FnOnce(Arc<Shared>, Caller, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        Q: Call,
        F: Future<Output = Result<A, ControlError>>,
    {
        let caller = auth::caller(&request)?;
        let answer = decided(Arc::clone(&self.shared), caller, request.into_inner(), operation).await;
        Ok(Response::new(answer?))
    }
}

/// Every call comes through here: it is decided before its operation begins, and what was refused is recorded.
async fn decided<Q, A, F>(
    shared: Arc<Shared>,
    caller: Caller,
    request: Q,
    operation: impl FnOnce(Arc<Shared>, Caller, Q) -> F,
) -> Result<A, ControlError>
where
    Q: Call,
    F: Future<Output = Result<A, ControlError>>,
{
    let account = Account::of(&caller, &request);
    let outcome = match shared.catalog.authorise(&caller, &request.want()) {
        Ok(()) => operation(Arc::clone(&shared), caller, request).await,
        Err(error) => Err(error),
    };
    outcome.map_err(|error| account.settle(&shared, error))
}

#[async_trait]
impl Manager for Service {
    async fn create_region(&self, request: Request<CreateRegionRequest>) -> Result<Response<Region>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.create(&caller, request).await
        })
        .await
    }

    async fn delete_region(
        &self,
        request: Request<DeleteRegionRequest>,
    ) -> Result<Response<DeleteRegionResponse>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.delete(&caller, &request).await
        })
        .await
    }

    async fn resize_region(&self, request: Request<ResizeRegionRequest>) -> Result<Response<Region>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.resize(&caller, &request).await
        })
        .await
    }

    async fn list_regions(
        &self,
        request: Request<ListRegionsRequest>,
    ) -> Result<Response<ListRegionsResponse>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.list(&caller, &request).await
        })
        .await
    }

    async fn describe_region(
        &self,
        request: Request<DescribeRegionRequest>,
    ) -> Result<Response<Region>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.describe(&caller, &request.name).await
        })
        .await
    }

    async fn open_region(&self, request: Request<OpenRegionRequest>) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.open(&caller, request).await
        })
        .await
    }

    async fn reconnect_region(
        &self,
        request: Request<ReconnectRegionRequest>,
    ) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.reconnect(&caller, request).await
        })
        .await
    }

    async fn takeover_region(
        &self,
        request: Request<TakeoverRegionRequest>,
    ) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.take_over(&caller, request).await
        })
        .await
    }

    async fn close_region(
        &self,
        request: Request<CloseRegionRequest>,
    ) -> Result<Response<CloseRegionResponse>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.close(&caller, &request).await
        })
        .await
    }

    type WatchRegionStream = Pin<Box<dyn Stream<Item = Result<RegionEvent, Status>> + Send>>;

    async fn watch_region(
        &self,
        request: Request<WatchRegionRequest>,
    ) -> Result<Response<Self::WatchRegionStream>, Status> {
        self.shared.attachment().await?;
        self.wait(request, |shared, caller, request| async move {
            let stream = shared.watch(caller, request.name).await?;
            Ok(Box::pin(stream) as Self::WatchRegionStream)
        })
        .await
    }

    async fn address_context(
        &self,
        request: Request<AddressContextRequest>,
    ) -> Result<Response<AddressContextResponse>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.address_context(&caller, &request.name).await
        })
        .await
    }

    async fn open_catalog(&self, request: Request<OpenCatalogRequest>) -> Result<Response<Opened>, Status> {
        self.run(request, |shared, caller, _| async move {
            shared.open_catalog(&caller).await
        })
        .await
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.run(request, |shared, caller, _| async move {
            shared.status(&caller).await
        })
        .await
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<v1::Identity>, Status> {
        self.run(request, |shared, caller, _| async move {
            Ok(shared.who_am_i(&caller))
        })
        .await
    }

    async fn change_access(&self, request: Request<ChangeAccessRequest>) -> Result<Response<Region>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.change_access(&caller, &request).await
        })
        .await
    }

    async fn list_identities(
        &self,
        request: Request<ListIdentitiesRequest>,
    ) -> Result<Response<ListIdentitiesResponse>, Status> {
        self.run(
            request,
            |shared, _, _| async move { shared.list_identities().await },
        )
        .await
    }

    async fn issue_identity(
        &self,
        request: Request<IssueIdentityRequest>,
    ) -> Result<Response<IssueIdentityResponse>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.issue_identity(&caller, &request).await
        })
        .await
    }

    async fn admit_identity(
        &self,
        request: Request<AdmitIdentityRequest>,
    ) -> Result<Response<v1::Identity>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.admit_identity(&caller, &request).await
        })
        .await
    }

    async fn revoke_identity(
        &self,
        request: Request<RevokeIdentityRequest>,
    ) -> Result<Response<RevokeIdentityResponse>, Status> {
        self.run(request, |shared, caller, request| async move {
            shared.revoke_identity(&caller, &request).await
        })
        .await
    }

    // The two calls below change nothing but the table of pairs, which bounds them.

    async fn report_member(
        &self,
        request: Request<ReportMemberRequest>,
    ) -> Result<Response<ReportMemberResponse>, Status> {
        self.wait(request, |shared, caller, request| async move {
            let pair = request.pair.clone();
            let _share = shared.share(&shared.long_polls, &caller)?;
            let report = shared.pairs.report(request);
            shared.while_allowed(&caller, &Want::Own(&pair), report).await
        })
        .await
    }

    async fn switchover(
        &self,
        request: Request<SwitchoverRequest>,
    ) -> Result<Response<SwitchoverResponse>, Status> {
        self.wait(request, |shared, caller, request| async move {
            let _share = shared.share(&shared.long_polls, &caller)?;
            let timeout = Duration::from_millis(request.timeout_ms);
            let switchover = shared.pairs.switchover(&request.pair, timeout);
            let want = request.want();
            let done = shared.while_allowed(&caller, &want, switchover).await?;
            let entry = account::done(Act::Switchover, &caller).region(&request.pair);
            shared.options.audit.record(&entry);
            Ok(done)
        })
        .await
    }
}
