//! A real unit and a real manager over loopback, and what tests do with them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod audit;
pub mod faults;

use std::net::SocketAddr;
use std::time::Duration;

use outlive_fabric::tcp::{self, ConnectOptions};
use outlive_fabric::{
    Completion, Endpoint, ExposedPart, FabricError, Outcome, Refusal, RegionId, RemoteKey, Rights, Terms,
    Ticket, TicketId, TicketSecret,
};
use outlive_identity::{Caller, Serial};
use outlive_manager::{CatalogConnector, Manager, ManagerOptions, tcp_connector};
use outlive_media::{MediaError, MediaSpec};
use outlive_proto::v1::manager_client::ManagerClient;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_proto::v1::unit_admin_server::UnitAdminServer;
use outlive_proto::v1::*;
use outlive_proto::{ControlError, FromStatus};
use outlive_unit::{AttachSecret, Unit, UnitError, UnitOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::{InterceptedService, InterceptorLayer};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status};

/// Who calls unless a test says otherwise.
pub const ADMINISTRATOR: &str = "administrator";
/// Metadata that names the caller: these tests vouch for whoever it is, as the listener does for certificates.
const CALLER: &str = "test-caller";
pub const SECRET: &[u8] = b"the unit's secret";
/// Bounds every wait of the tests; reached only by a failing one.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub type Client = ManagerClient<InterceptedService<Channel, Present>>;

/// Names the caller in every request, and the serial number of its certificate.
#[derive(Clone)]
pub struct Present(MetadataValue<Ascii>);

impl Present {
    pub fn of(name: &str, serial: &[u8]) -> Self {
        let hex: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{name} {hex}").parse().unwrap())
    }
}

impl Interceptor for Present {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(CALLER, self.0.clone());
        Ok(request)
    }
}

/// A unit with its data listener.
pub fn unit(media: &MediaSpec) -> Unit {
    unit_at(media, SocketAddr::from(([127, 0, 0, 1], 0)))
}

pub fn unit_at(media: &MediaSpec, data: SocketAddr) -> Unit {
    let unit = Unit::open(media, UnitOptions::new(AttachSecret::new(SECRET))).unwrap();
    unit.serve_data(data).unwrap();
    unit
}

pub fn memory(mib: u64) -> MediaSpec {
    MediaSpec::Memory { size: mib << 20 }
}

/// What `serve` has, but that one identity may open as much as all: most tests have one only.
pub fn options(unit: UnitAdminClient<Channel>) -> ManagerOptions {
    let options =
        ManagerOptions::new(unit, SECRET.to_vec()).with_administrator(ADMINISTRATOR.parse().unwrap());
    ManagerOptions {
        identity_opens_per_second: options.opens_per_second,
        identity_open_burst: options.open_burst,
        ..options
    }
}

pub fn options_with(unit: UnitAdminClient<Channel>, connect: CatalogConnector) -> ManagerOptions {
    ManagerOptions {
        connect,
        ..options(unit)
    }
}

/// Serves a manager over loopback and connects to it.
pub async fn serve(manager: &Manager) -> Client {
    serve_until(manager).await.0
}

/// The same, with what ends the server.
pub async fn serve_until(manager: &Manager) -> (Client, AbortHandle) {
    let (address, serving) = serve_callers(manager).await;
    (client_as(address, ADMINISTRATOR), serving)
}

/// Serves a manager over loopback to whoever names itself.
pub async fn serve_callers(manager: &Manager) -> (SocketAddr, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(
        Server::builder()
            .layer(InterceptorLayer::new(vouch))
            .add_routes(manager.routes())
            .serve_with_incoming(incoming(listener)),
    );
    (address, serving.abort_handle())
}

/// A client of that name.
pub fn client_as(address: SocketAddr, name: &str) -> Client {
    client_with(address, name, &[1])
}

/// A client of that name with the certificate of that serial number.
pub fn client_with(address: SocketAddr, name: &str, serial: &[u8]) -> Client {
    let present = Present::of(name, serial);
    ManagerClient::with_interceptor(channel(address), present).max_decoding_message_size(64 << 20)
}

fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn vouch(mut request: Request<()>) -> Result<Request<()>, Status> {
    let name = request.metadata().get(CALLER).and_then(|name| name.to_str().ok());
    if let Some((name, serial)) = name.and_then(|presented| presented.split_once(' ')) {
        let digits = serial.as_bytes().chunks(2);
        let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        let caller = Caller {
            name: name.parse().unwrap(),
            serial: Serial(digits.map(byte).collect()),
            source: Some(SocketAddr::from(([192, 0, 2, 1], 7))),
        };
        request.extensions_mut().insert(caller);
    }
    Ok(request)
}

/// Serves a unit's admin service over loopback, so that unit and manager are as separate as two processes.
pub fn serve_admin(unit: &Unit) -> (SocketAddr, Runtime) {
    serve_admin_at(unit, SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// On a runtime of its own, whose end is as sudden as a process's.
pub fn serve_admin_at(unit: &Unit, address: SocketAddr) -> (SocketAddr, Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(64).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(UnitAdminServer::new(unit.admin()));
    runtime.spawn(server.serve_with_incoming(incoming(listener)));
    drop(entered);
    (address, runtime)
}

/// Opens a medium again whose unit in this process was closed; its last task may still be ending.
pub async fn reopened(media: &MediaSpec) -> Unit {
    let begun = std::time::Instant::now();
    loop {
        match Unit::open(media, UnitOptions::new(AttachSecret::new(SECRET))) {
            Ok(unit) => {
                unit.serve_data(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
                return unit;
            }
            Err(UnitError::Media(MediaError::InUse { .. })) if begun.elapsed() < PATIENCE => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn admin_at(address: SocketAddr) -> UnitAdminClient<Channel> {
    UnitAdminClient::new(
        Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy(),
    )
}

/// Unit, manager and client together.
pub struct World {
    pub unit: Unit,
    pub manager: Manager,
    pub client: Client,
    address: SocketAddr,
    serving: AbortHandle,
}

impl World {
    pub async fn new(media: &MediaSpec) -> Self {
        Self::on(unit(media)).await
    }

    pub async fn on(unit: Unit) -> Self {
        let options = options(unit.admin_client());
        Self::with(unit, options).await
    }

    pub async fn with(unit: Unit, options: ManagerOptions) -> Self {
        let manager = Manager::attach(options).await.unwrap();
        let (address, serving) = serve_callers(&manager).await;
        Self {
            unit,
            manager,
            client: client_as(address, ADMINISTRATOR),
            address,
            serving,
        }
    }

    /// A client who is `name`.
    pub fn client_as(&self, name: &str) -> Client {
        client_as(self.address, name)
    }

    /// A client who is `name`, with the certificate of that serial number.
    pub fn client_with(&self, name: &str, serial: &[u8]) -> Client {
        client_with(self.address, name, serial)
    }

    /// Another manager takes over from the one before, which is stopped.
    pub async fn restart_manager(&mut self) {
        self.manager.stop();
        self.manager = Manager::attach(options(self.unit.admin_client())).await.unwrap();
        self.serving.abort();
        (self.address, self.serving) = serve_callers(&self.manager).await;
        self.client = client_as(self.address, ADMINISTRATOR);
    }

    pub async fn create(&self, name: &str, size: u64) -> Result<Region, ControlError> {
        self.client.clone().create(name, RegionKind::Raw, size).await
    }

    pub async fn audit(&self) -> audit::Audit {
        audit::Audit::of(&mut self.client.clone()).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The calls, with their typed errors.
#[allow(async_fn_in_trait)]
pub trait Calls {
    async fn create(&self, name: &str, kind: RegionKind, size: u64) -> Result<Region, ControlError>;
    async fn delete(&self, name: &str) -> Result<(), ControlError>;
    async fn show(&self, name: &str) -> Result<Region, ControlError>;
    async fn list(&self) -> Vec<Region>;
    async fn open(
        &self,
        name: &str,
        role: Role,
        take_over: bool,
        owner: &str,
    ) -> Result<Opened, ControlError>;
    async fn primary(&self, name: &str, owner: &str) -> Result<Opened, ControlError>;
    async fn backup(&self, name: &str) -> Result<Opened, ControlError>;
    async fn reconnect(&self, name: &str, generation: u64) -> Result<Opened, ControlError>;
    async fn take_over(&self, name: &str, expected: u64, owner: &str) -> Result<Opened, ControlError>;
    async fn close(&self, name: &str, generation: u64) -> Result<(), ControlError>;
    async fn resize(&self, name: &str, size: u64, generation: u64) -> Result<Region, ControlError>;
    async fn change(
        &self,
        name: &str,
        identity: &str,
        right: AccessRight,
        allow: bool,
    ) -> Result<Region, ControlError>;
    async fn admit(&self, name: &str, administrator: bool) -> Result<Identity, ControlError>;
    async fn revoke(&self, name: &str) -> Result<u32, ControlError>;
    async fn whoami(&self) -> Result<Identity, ControlError>;
}

pub fn typed<T>(result: Result<tonic::Response<T>, Status>) -> Result<T, ControlError> {
    result
        .map(tonic::Response::into_inner)
        .map_err(|status| match status.control_error() {
            Some(error) => error,
            None => ControlError::new(ErrorCode::Unspecified, status.to_string()),
        })
}

impl Calls for Client {
    async fn create(&self, name: &str, kind: RegionKind, size: u64) -> Result<Region, ControlError> {
        let request = CreateRegionRequest {
            name: name.into(),
            kind: kind.into(),
            size,
            ..Default::default()
        };
        typed(self.clone().create_region(request).await)
    }

    async fn delete(&self, name: &str) -> Result<(), ControlError> {
        typed(
            self.clone()
                .delete_region(DeleteRegionRequest { name: name.into() })
                .await,
        )
        .map(drop)
    }

    async fn show(&self, name: &str) -> Result<Region, ControlError> {
        typed(
            self.clone()
                .describe_region(DescribeRegionRequest { name: name.into() })
                .await,
        )
    }

    async fn list(&self) -> Vec<Region> {
        typed(self.clone().list_regions(ListRegionsRequest::default()).await)
            .unwrap()
            .regions
    }

    async fn open(
        &self,
        name: &str,
        role: Role,
        take_over: bool,
        owner: &str,
    ) -> Result<Opened, ControlError> {
        let request = OpenRegionRequest {
            name: name.into(),
            role: role.into(),
            take_over,
            owner: owner.into(),
        };
        typed(self.clone().open_region(request).await)
    }

    async fn primary(&self, name: &str, owner: &str) -> Result<Opened, ControlError> {
        self.open(name, Role::Primary, false, owner).await
    }

    async fn backup(&self, name: &str) -> Result<Opened, ControlError> {
        self.open(name, Role::Backup, false, "").await
    }

    async fn reconnect(&self, name: &str, generation: u64) -> Result<Opened, ControlError> {
        let request = ReconnectRegionRequest {
            name: name.into(),
            role: Role::Primary.into(),
            generation,
        };
        typed(self.clone().reconnect_region(request).await)
    }

    async fn take_over(&self, name: &str, expected: u64, owner: &str) -> Result<Opened, ControlError> {
        let request = TakeoverRegionRequest {
            name: name.into(),
            expected_generation: expected,
            owner: owner.into(),
        };
        typed(self.clone().takeover_region(request).await)
    }

    async fn close(&self, name: &str, generation: u64) -> Result<(), ControlError> {
        typed(
            self.clone()
                .close_region(CloseRegionRequest {
                    name: name.into(),
                    generation,
                })
                .await,
        )
        .map(drop)
    }

    async fn resize(&self, name: &str, size: u64, generation: u64) -> Result<Region, ControlError> {
        typed(
            self.clone()
                .resize_region(ResizeRegionRequest {
                    name: name.into(),
                    size,
                    generation,
                })
                .await,
        )
    }

    async fn change(
        &self,
        name: &str,
        identity: &str,
        right: AccessRight,
        allow: bool,
    ) -> Result<Region, ControlError> {
        let request = ChangeAccessRequest {
            name: name.into(),
            identity: identity.into(),
            right: right.into(),
            allow,
        };
        typed(self.clone().change_access(request).await)
    }

    async fn admit(&self, name: &str, administrator: bool) -> Result<Identity, ControlError> {
        let name = name.into();
        let request = AdmitIdentityRequest { name, administrator };
        typed(self.clone().admit_identity(request).await)
    }

    async fn revoke(&self, name: &str) -> Result<u32, ControlError> {
        let request = RevokeIdentityRequest { name: name.into() };
        typed(self.clone().revoke_identity(request).await).map(|answer| answer.stopped)
    }

    async fn whoami(&self) -> Result<Identity, ControlError> {
        typed(self.clone().who_am_i(WhoAmIRequest {}).await)
    }
}

/// A region without a layout.
pub fn raw(name: &str, owners: &[&str], readers: &[&str]) -> CreateRegionRequest {
    let names = |of: &[&str]| of.iter().map(|&name| name.to_owned()).collect();
    CreateRegionRequest {
        name: name.into(),
        kind: RegionKind::Raw.into(),
        size: 1 << 20,
        owners: names(owners),
        readers: names(readers),
        ..CreateRegionRequest::default()
    }
}

/// Without `nodelay` each answer would wait for the other side's delayed acknowledgement, 40 ms.
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// The ticket of a grant.
pub fn ticket(opened: &Opened) -> Ticket {
    let region = &opened.region.as_ref().expect("a grant tells the region").id;
    Ticket {
        id: TicketId(opened.ticket_id.as_slice().try_into().unwrap()),
        secret: TicketSecret::take_from(opened.ticket_secret.clone()).unwrap(),
        terms: Terms {
            identity: opened.identity.clone(),
            region: RegionId(region.as_slice().try_into().unwrap()),
            generation: opened.generation,
            rights: if opened.writable {
                Rights::ReadWrite
            } else {
                Rights::Read
            },
            incarnation: opened.incarnation,
        },
    }
}

/// A data connection to one region.
pub struct Data {
    endpoint: Box<dyn Endpoint>,
    pub key: RemoteKey,
    pub page: Option<RemoteKey>,
    pub len: u64,
}

impl Data {
    /// Redeems a grant.
    pub fn connect(opened: &Opened) -> Result<Self, FabricError> {
        let endpoint = tcp::connect(&opened.data_address, &ticket(opened), &ConnectOptions::default())?;
        let part = |part| endpoint_access(&endpoint, part);
        let (key, len) = part(ExposedPart::Data).unwrap();
        let page = part(ExposedPart::Metadata).map(|(key, _)| key);
        Ok(Self {
            endpoint: Box::new(endpoint),
            key,
            page,
            len,
        })
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Result<(), Refusal>, FabricError> {
        for (at, piece) in (offset..).step_by(1 << 20).zip(bytes.chunks(1 << 20)) {
            self.endpoint
                .post_write(self.key, at, &[std::io::IoSlice::new(piece)])?;
            if let Err(refusal) = self.finish()?.result {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    pub fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, FabricError> {
        self.read_key(self.key, offset, len)
    }

    pub fn read_page(&mut self) -> Result<Vec<u8>, FabricError> {
        self.read_key(self.page.expect("a metadata page is granted"), 0, 4096)
    }

    fn read_key(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<Vec<u8>, FabricError> {
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            let step = (len - all.len() as u64).min(1 << 20);
            self.endpoint
                .post_read(key, offset + all.len() as u64, u32::try_from(step).unwrap())?;
            match self.finish()?.result {
                Ok(Outcome::Read(bytes)) => all.extend(bytes),
                other => panic!("a read gave {other:?}"),
            }
        }
        Ok(all)
    }

    /// Waits until the unit has closed the connection, and says why.
    pub fn await_closed(&mut self) -> FabricError {
        loop {
            // Reads keep the connection busy, so that a closed one is noticed at once.
            let read = self
                .endpoint
                .post_read(self.key, 0, 1)
                .map(drop)
                .and_then(|()| self.finish().map(drop));
            if let Err(error) = read {
                return error;
            }
        }
    }

    fn finish(&mut self) -> Result<Completion, FabricError> {
        let mut completions = Vec::new();
        let got = self.endpoint.wait(&mut completions, PATIENCE)?;
        assert_eq!(got, 1, "one operation, one completion");
        Ok(completions.remove(0))
    }
}

fn endpoint_access(endpoint: &impl Endpoint, part: ExposedPart) -> Option<(RemoteKey, u64)> {
    let access = endpoint
        .session()
        .access
        .iter()
        .find(|access| access.part == part)?;
    Some((access.key, access.len))
}

/// Watches a region.
pub struct Watch(tonic::Streaming<RegionEvent>);

impl Watch {
    pub async fn start(client: &Client, name: &str) -> Self {
        let request = WatchRegionRequest { name: name.into() };
        let mut watch = Self(client.clone().watch_region(request).await.unwrap().into_inner());
        assert_eq!(watch.next().await.kind(), region_event::Kind::Present);
        watch
    }

    pub async fn next(&mut self) -> RegionEvent {
        let next = tokio::time::timeout(PATIENCE, self.0.message())
            .await
            .expect("an event in time");
        next.unwrap().expect("the stream goes on")
    }

    /// Why the stream ends; the events before are passed over.
    pub async fn await_end(&mut self) -> ControlError {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.message())
                .await
                .expect("an end in time");
            match next {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ends without a reason"),
                Err(status) => return status.control_error().unwrap(),
            }
        }
    }

    /// The next event of a kind; those before are passed over.
    pub async fn await_kind(&mut self, kind: region_event::Kind) -> RegionEvent {
        loop {
            let event = self.next().await;
            if event.kind() == kind {
                return event;
            }
        }
    }
}

pub fn connector() -> CatalogConnector {
    tcp_connector()
}

pub async fn create(client: &Client, request: CreateRegionRequest) -> Result<Region, ControlError> {
    typed(client.clone().create_region(request).await)
}

pub async fn page(client: &Client, after: String, limit: u32) -> ListRegionsResponse {
    client
        .clone()
        .list_regions(ListRegionsRequest { after, limit })
        .await
        .unwrap()
        .into_inner()
}

/// Deletes a region whose owner's connection was just dropped.
pub async fn delete_when_lost(client: &Client, name: &str) {
    let mut watch = client
        .clone()
        .watch_region(WatchRegionRequest { name: name.into() })
        .await
        .unwrap()
        .into_inner();
    while watch
        .message()
        .await
        .unwrap()
        .unwrap()
        .region
        .unwrap()
        .owner_alive
    {}
    client.delete(name).await.unwrap();
}

/// What a caller whom nobody vouches for is told.
pub async fn unauthenticated(manager: &Manager) -> ControlError {
    let (address, _) = serve_callers(manager).await;
    typed(
        ManagerClient::new(channel(address))
            .status(StatusRequest {})
            .await,
    )
    .unwrap_err()
}

/// Bytes that a medium leaves for regions.
pub fn allocatable_len(media_len: u64) -> u64 {
    let unit = outlive_media::superblock::UnitId([0; 16]);
    outlive_media::superblock::Geometry::lay_out(media_len, unit, [0; 16])
        .unwrap()
        .allocatable_len
}
