//! A unit with a manager's client and data connections.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outlive_fabric::tcp::{ConnectOptions, Limits, TcpEndpoint, connect};
use outlive_fabric::{
    Completion, Endpoint, ExposedPart, FabricError, Outcome, Refusal, RegionId, RemoteKey, Rights, Terms,
    Ticket, TicketId, TicketSecret,
};
use outlive_media::{MediaSpec, Volume};
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_proto::v1::{
    AdmitRequest, AttachRequest, AttachResponse, Extent, FenceRequest, LiveConnection, PrepareRequest,
    ProgramRequest, RevokeRequest, UnitStateRequest, UnitStateResponse, WithdrawRequest, Write,
};
use outlive_proto::{ControlError, FromStatus};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Response, Status};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const SECRET: &[u8] = b"the manager's secret";
/// Bounds what would otherwise hang; nothing is asserted about it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) unit: Unit,
    pub(crate) admin: UnitAdminClient<Channel>,
    pub(crate) attached: AttachResponse,
    pub(crate) generation: u64,
    address: SocketAddr,
    tickets: AtomicU64,
    pub(crate) runtime: Runtime,
}

pub(crate) fn options() -> UnitOptions {
    UnitOptions::new(AttachSecret::new(SECRET))
}

impl Rig {
    /// On memory media of 16 MiB.
    pub(crate) fn memory() -> Self {
        let spec = MediaSpec::Memory { size: 16 << 20 };
        Self::on(spec.open_volume().unwrap(), options())
    }

    pub(crate) fn on(volume: Volume, options: UnitOptions) -> Self {
        Self::bounded(volume, options, Limits::default())
    }

    pub(crate) fn bounded(volume: Volume, options: UnitOptions, limits: Limits) -> Self {
        let unit = Unit::on(volume, options);
        let any = "127.0.0.1:0".parse().unwrap();
        let address = unit.serve_data_with(any, limits).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let admin = {
            let _inside = runtime.enter();
            unit.admin_client()
        };
        let mut rig = Self {
            unit,
            admin,
            attached: AttachResponse::default(),
            generation: 0,
            address,
            tickets: AtomicU64::new(1),
            runtime,
        };
        rig.attached = rig.attach();
        rig.generation = rig.attached.manager_generation;
        rig
    }

    pub(crate) fn attach(&self) -> AttachResponse {
        let request = AttachRequest {
            proof: SECRET.to_vec(),
            manager: "test".into(),
        };
        self.call(async |mut admin| admin.attach(request).await).unwrap()
    }

    /// Runs one call of the admin service.
    pub(crate) fn call<T>(
        &self,
        call: impl AsyncFnOnce(UnitAdminClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, ControlError> {
        let outcome = self.runtime.block_on(call(self.admin.clone()));
        outcome
            .map(Response::into_inner)
            .map_err(|status| status.control_error().expect("a typed reason"))
    }

    /// Extents as (first block, blocks) in the allocatable part.
    pub(crate) fn extents(&self, blocks: &[(u64, u64)]) -> Vec<Extent> {
        let start = self.attached.allocatable_start;
        blocks
            .iter()
            .map(|(first, len)| Extent {
                start: start + first * BLOCK,
                len: len * BLOCK,
            })
            .collect()
    }

    pub(crate) fn prepare(
        &self,
        extents: Vec<Extent>,
        writes: Vec<(u64, Vec<u8>)>,
    ) -> Result<(), ControlError> {
        let writes = writes
            .into_iter()
            .map(|(offset, bytes)| Write { offset, bytes })
            .collect();
        let request = PrepareRequest {
            manager_generation: self.generation,
            extents,
            writes,
        };
        self.call(async |mut admin| admin.prepare(request).await)
            .map(|_| ())
    }

    pub(crate) fn program(
        &self,
        region: RegionId,
        extents: Vec<Extent>,
        min_generation: u64,
    ) -> Result<(), ControlError> {
        let data_len = extents.iter().map(|extent| extent.len).sum::<u64>() - BLOCK;
        let request = ProgramRequest {
            manager_generation: self.generation,
            region: region.0.to_vec(),
            extents,
            data_len,
            min_generation,
        };
        self.call(async |mut admin| admin.program(request).await)
            .map(|_| ())
    }

    /// A region that is ready to be connected to.
    pub(crate) fn region(&self, number: u8, blocks: &[(u64, u64)]) -> RegionId {
        let region = RegionId([number; 16]);
        self.prepare(self.extents(blocks), Vec::new()).unwrap();
        self.program(region, self.extents(blocks), 0).unwrap();
        region
    }

    pub(crate) fn admit(
        &self,
        region: RegionId,
        writable: bool,
        generation: u64,
        valid_ms: u64,
    ) -> Result<Ticket, ControlError> {
        self.admit_for("local", region, writable, generation, valid_ms)
    }

    pub(crate) fn admit_for(
        &self,
        identity: &str,
        region: RegionId,
        writable: bool,
        generation: u64,
        valid_ms: u64,
    ) -> Result<Ticket, ControlError> {
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            id: TicketId(u128::from(number).to_le_bytes()),
            secret: TicketSecret::random().unwrap(),
            terms: Terms {
                identity: identity.into(),
                region,
                generation,
                rights: if writable { Rights::ReadWrite } else { Rights::Read },
                incarnation: self.attached.incarnation,
            },
        };
        let request = AdmitRequest {
            manager_generation: self.generation,
            ticket_id: ticket.id.0.to_vec(),
            secret: ticket.secret.as_bytes().to_vec(),
            region: region.0.to_vec(),
            identity: identity.into(),
            writable,
            generation,
            valid_ms,
        };
        self.call(async |mut admin| admin.admit(request).await)
            .map(|_| ticket)
    }

    pub(crate) fn fence(
        &self,
        region: RegionId,
        min_generation: u64,
        including_current: bool,
    ) -> Result<u32, ControlError> {
        let request = FenceRequest {
            manager_generation: self.generation,
            region: region.0.to_vec(),
            min_generation,
            including_current,
        };
        self.call(async |mut admin| admin.fence(request).await)
            .map(|response| response.stopped)
    }

    pub(crate) fn withdraw(&self, region: RegionId) -> Result<u32, ControlError> {
        let request = WithdrawRequest {
            manager_generation: self.generation,
            region: region.0.to_vec(),
        };
        self.call(async |mut admin| admin.withdraw(request).await)
            .map(|response| response.stopped)
    }

    /// Of one region, or of all.
    pub(crate) fn revoke(
        &self,
        identity: &str,
        region: Option<RegionId>,
        keep_readers: bool,
    ) -> Result<u32, ControlError> {
        let request = RevokeRequest {
            manager_generation: self.generation,
            region: region.map(|region| region.0.to_vec()).unwrap_or_default(),
            identity: identity.into(),
            keep_readers,
        };
        self.call(async |mut admin| admin.revoke(request).await)
            .map(|response| response.stopped)
    }

    pub(crate) fn state(&self) -> UnitStateResponse {
        let request = UnitStateRequest {
            manager_generation: self.generation,
        };
        self.call(async |mut admin| admin.unit_state(request).await)
            .unwrap()
    }

    pub(crate) fn live(&self) -> Vec<LiveConnection> {
        let request = outlive_proto::v1::ConnectionsRequest {
            manager_generation: self.generation,
            region: Vec::new(),
        };
        self.call(async |mut admin| admin.connections(request).await)
            .unwrap()
            .connections
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects with a ticket.
    pub(crate) fn connect(&self, ticket: &Ticket) -> Result<Client, FabricError> {
        connect(&self.address.to_string(), ticket, &ConnectOptions::default()).map(Client::new)
    }

    /// Connects as `identity`, with a new ticket.
    pub(crate) fn open_as(&self, identity: &str, region: RegionId, writable: bool) -> Client {
        let ticket = self.admit_for(identity, region, writable, 1, 10_000).unwrap();
        self.connect(&ticket).unwrap()
    }

    /// Connects with a new ticket.
    pub(crate) fn open(&self, region: RegionId, writable: bool, generation: u64) -> Client {
        self.connect(&self.admit(region, writable, generation, 10_000).unwrap())
            .unwrap()
    }
}

/// A ticket that nobody admitted.
pub(crate) fn unknown(byte: u8) -> Ticket {
    Ticket {
        id: TicketId([byte; 16]),
        secret: TicketSecret::new([byte; 32]),
        terms: Terms {
            identity: "local".into(),
            region: RegionId([1; 16]),
            generation: 0,
            rights: Rights::Read,
            incarnation: 1,
        },
    }
}

/// One data connection, an operation at a time.
pub(crate) struct Client {
    pub(crate) endpoint: TcpEndpoint,
    pub(crate) data: RemoteKey,
    pub(crate) metadata: RemoteKey,
    pub(crate) data_len: u64,
}

impl Client {
    fn new(endpoint: TcpEndpoint) -> Self {
        let of = |part| {
            endpoint
                .session()
                .access
                .iter()
                .find(|info| info.part == part)
                .unwrap()
                .clone()
        };
        let (data, metadata) = (of(ExposedPart::Data), of(ExposedPart::Metadata));
        Self {
            data: data.key,
            metadata: metadata.key,
            data_len: data.len,
            endpoint,
        }
    }

    pub(crate) fn write(&mut self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.endpoint
            .post_write(key, offset, &[IoSlice::new(bytes)])
            .unwrap();
        self.outcome().map(|outcome| assert_eq!(outcome, Outcome::Placed))
    }

    pub(crate) fn read(&mut self, key: RemoteKey, offset: u64, len: usize) -> Result<Vec<u8>, Refusal> {
        self.endpoint
            .post_read(key, offset, len.try_into().unwrap())
            .unwrap();
        self.outcome().map(|outcome| match outcome {
            Outcome::Read(bytes) => bytes,
            other => panic!("a read completed as {other:?}"),
        })
    }

    pub(crate) fn persist(&mut self) -> Result<(), Refusal> {
        self.endpoint.post_persist(self.data, 0, self.data_len).unwrap();
        self.outcome().map(|_| ())
    }

    /// The whole of the data.
    pub(crate) fn all(&mut self) -> Vec<u8> {
        self.read(self.data, 0, self.data_len.try_into().unwrap())
            .unwrap()
    }

    /// What the unit says when the connection ends.
    pub(crate) fn end(&mut self) -> FabricError {
        let mut completions = Vec::new();
        let waited = std::time::Instant::now();
        while waited.elapsed() < PATIENCE {
            if let Err(error) = self.endpoint.wait(&mut completions, PATIENCE) {
                return error;
            }
        }
        panic!("the connection did not end");
    }

    fn outcome(&mut self) -> Result<Outcome, Refusal> {
        let mut completions: Vec<Completion> = Vec::new();
        assert_eq!(self.endpoint.wait(&mut completions, PATIENCE).unwrap(), 1);
        completions.remove(0).result
    }
}
