//! Faults at named boundaries: the calls between manager and unit, and the operations on the catalog.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use outlive_fabric::{Completion, Endpoint, FabricError, OpId, RemoteKey, SessionInfo};
use outlive_manager::CatalogConnector;
use outlive_proto::ControlError;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_proto::v1::unit_admin_server::{UnitAdmin, UnitAdminServer};
use outlive_proto::v1::*;
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// Counts boundaries down; at zero the manager is cut off from its unit for good. A boundary is crossed before
/// and after each call and each catalog operation, so each of them is tried as not done, and as done but unheard.
#[derive(Debug)]
pub struct Fuse {
    left: AtomicI64,
    blown: AtomicBool,
    /// After it has blown once, all goes on.
    once: AtomicBool,
    /// Fences are not confirmed, as when a connection is stuck.
    refuse_fences: AtomicBool,
    refuse_revocations: AtomicBool,
    /// The last ticket that was to be let in.
    pub admitted: std::sync::Mutex<Option<AdmitRequest>>,
    /// Letting a ticket in waits for it, and says that it does.
    pub admitting: tokio::sync::Mutex<()>,
    pub admit_asked: tokio::sync::Notify,
    /// Preparing waits for it, and says that it does.
    pub preparing: tokio::sync::Mutex<()>,
    pub prepare_asked: tokio::sync::Notify,
    /// The same for fences.
    pub fencing: tokio::sync::Mutex<()>,
    pub fence_asked: tokio::sync::Notify,
    happened: tokio::sync::Notify,
}

impl Fuse {
    /// Never blows until [`set`](Self::set).
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(i64::MAX),
            blown: AtomicBool::new(false),
            once: AtomicBool::new(false),
            refuse_fences: AtomicBool::new(false),
            refuse_revocations: AtomicBool::new(false),
            admitted: std::sync::Mutex::default(),
            admitting: tokio::sync::Mutex::default(),
            admit_asked: tokio::sync::Notify::new(),
            preparing: tokio::sync::Mutex::default(),
            prepare_asked: tokio::sync::Notify::new(),
            fencing: tokio::sync::Mutex::default(),
            fence_asked: tokio::sync::Notify::new(),
            happened: tokio::sync::Notify::new(),
        })
    }

    /// Lets `boundaries` more be crossed.
    pub fn set(&self, boundaries: i64) {
        self.left.store(boundaries, Ordering::SeqCst);
    }

    /// As [`set`](Self::set), but only one boundary fails.
    pub fn set_once(&self, boundaries: i64) {
        self.once.store(true, Ordering::SeqCst);
        self.set(boundaries);
    }

    /// Whether fences fail unconfirmed from now on.
    pub fn refuse_fences(&self, refuse: bool) {
        self.refuse_fences.store(refuse, Ordering::SeqCst);
    }

    /// Whether revocations fail unconfirmed from now on.
    pub fn refuse_revocations(&self, refuse: bool) {
        self.refuse_revocations.store(refuse, Ordering::SeqCst);
    }

    pub fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    /// Waits until it has blown.
    pub async fn blown(&self) {
        while !self.is_blown() {
            self.happened.notified().await;
        }
    }

    fn cross(&self) -> bool {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let blows = left == 0 || left < 0 && !self.once.load(Ordering::SeqCst);
        if blows {
            self.blown.store(true, Ordering::SeqCst);
            self.happened.notify_one();
        }
        !blows
    }

    fn ends_streams(&self) -> bool {
        self.is_blown() && !self.once.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), Status> {
        if self.cross() {
            Ok(())
        } else {
            Err(Status::unavailable("cut off by the test"))
        }
    }

    fn check_fabric(&self) -> Result<(), FabricError> {
        if self.cross() {
            Ok(())
        } else {
            Err(FabricError::Protocol("cut off by the test".into()))
        }
    }
}

/// An admin service that forwards until the fuse blows.
#[derive(Clone)]
struct Fused {
    inner: UnitAdminClient<Channel>,
    fuse: Arc<Fuse>,
}

/// A client of `inner` that is cut off when the fuse blows.
pub async fn fused_admin(inner: UnitAdminClient<Channel>, fuse: Arc<Fuse>) -> UnitAdminClient<Channel> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(UnitAdminServer::new(Fused { inner, fuse }));
    tokio::spawn(server.serve_with_incoming(super::incoming(listener)));
    super::admin_at(address)
}

macro_rules! forward {
    ($self:ident, $request:ident, $call:ident) => {{
        $self.fuse.check()?;
        let answer = $self.inner.clone().$call($request.into_inner()).await;
        $self.fuse.check()?;
        answer
    }};
}

#[tonic::async_trait]
impl UnitAdmin for Fused {
    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        forward!(self, request, attach)
    }
    async fn prepare(&self, request: Request<PrepareRequest>) -> Result<Response<Done>, Status> {
        self.fuse.prepare_asked.notify_one();
        let _held = self.fuse.preparing.lock().await;
        forward!(self, request, prepare)
    }
    async fn program(&self, request: Request<ProgramRequest>) -> Result<Response<Done>, Status> {
        forward!(self, request, program)
    }
    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Result<Response<StopResponse>, Status> {
        forward!(self, request, withdraw)
    }
    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<Done>, Status> {
        *self.fuse.admitted.lock().unwrap() = Some(request.get_ref().clone());
        self.fuse.admit_asked.notify_one();
        let _held = self.fuse.admitting.lock().await;
        forward!(self, request, admit)
    }
    async fn fence(&self, request: Request<FenceRequest>) -> Result<Response<StopResponse>, Status> {
        if self.fuse.refuse_fences.load(Ordering::SeqCst) {
            return Err(ControlError::new(ErrorCode::FenceUnconfirmed, "stuck, says the test").into());
        }
        self.fuse.fence_asked.notify_one();
        let _held = self.fuse.fencing.lock().await;
        forward!(self, request, fence)
    }
    async fn revoke(
        &self,
        request: Request<outlive_proto::v1::RevokeRequest>,
    ) -> Result<Response<StopResponse>, Status> {
        if self.fuse.refuse_revocations.load(Ordering::SeqCst) {
            return Err(ControlError::new(ErrorCode::FenceUnconfirmed, "stuck, says the test").into());
        }
        forward!(self, request, revoke)
    }
    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<Done>, Status> {
        forward!(self, request, describe)
    }
    async fn connections(
        &self,
        request: Request<ConnectionsRequest>,
    ) -> Result<Response<ConnectionsResponse>, Status> {
        forward!(self, request, connections)
    }
    type EventsStream = Pin<Box<dyn Stream<Item = Result<UnitEvent, Status>> + Send>>;
    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        self.fuse.check()?;
        let events = self
            .inner
            .clone()
            .events(request.into_inner())
            .await?
            .into_inner();
        let fuse = Arc::clone(&self.fuse);
        Ok(Response::new(Box::pin(
            events.take_while(move |_| !fuse.ends_streams()),
        )))
    }
    async fn unit_state(
        &self,
        request: Request<UnitStateRequest>,
    ) -> Result<Response<UnitStateResponse>, Status> {
        forward!(self, request, unit_state)
    }
}

/// A connector whose endpoints are cut off when the fuse blows.
pub fn fused_connector(fuse: Arc<Fuse>) -> CatalogConnector {
    let inner = super::connector();
    Arc::new(move |address, ticket, options| {
        let inner = inner(address, ticket, options)?;
        Ok(Box::new(FusedEndpoint {
            inner,
            fuse: Arc::clone(&fuse),
        }) as Box<dyn Endpoint>)
    })
}

struct FusedEndpoint {
    inner: Box<dyn Endpoint>,
    fuse: Arc<Fuse>,
}

impl Endpoint for FusedEndpoint {
    fn session(&self) -> &SessionInfo {
        self.inner.session()
    }

    /// Also tears: the boundary inside a write lets only its first half arrive.
    fn post_write(
        &mut self,
        key: RemoteKey,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<OpId, FabricError> {
        self.fuse.check_fabric()?;
        if let Err(error) = self.fuse.check_fabric() {
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.inner
                .post_write(key, offset, &[IoSlice::new(&whole[..whole.len() / 2])])?;
            let mut completions = Vec::new();
            while self.inner.outstanding() > 0 {
                self.inner.wait(&mut completions, super::PATIENCE)?;
            }
            return Err(error);
        }
        self.inner.post_write(key, offset, parts)
    }

    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError> {
        self.fuse.check_fabric()?;
        self.inner.post_read(key, offset, len)
    }

    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError> {
        self.fuse.check_fabric()?;
        self.inner.post_persist(key, offset, len)
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        self.inner.flush()
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        self.inner.poll(completions)
    }

    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError> {
        let got = self.inner.wait(completions, timeout)?;
        self.fuse.check_fabric()?;
        Ok(got)
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.inner.readiness()
    }

    fn max_op_bytes(&self) -> u32 {
        self.inner.max_op_bytes()
    }
}
