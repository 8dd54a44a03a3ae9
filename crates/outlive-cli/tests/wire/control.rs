//! Calls to the manager made by hand.

use std::path::Path;
use std::time::Duration;

use outlive_identity::connector;
use outlive_proto::v1::manager_client::ManagerClient;
use outlive_proto::v1::{
    CloseRegionRequest, OpenRegionRequest, Opened, ReconnectRegionRequest, Role, TakeoverRegionRequest,
};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::support::World;

/// Somebody's connection to the manager, and the runtime that drives it.
pub(crate) struct Control {
    pub(crate) runtime: Runtime,
    pub(crate) client: ManagerClient<Channel>,
}

impl Control {
    /// The first administrator's.
    pub(crate) fn of(world: &World) -> Self {
        Self::with(&world.path("context.json"))
    }

    /// That of whoever the context file belongs to.
    pub(crate) fn with(context: &Path) -> Self {
        let context = outlive::Context::load(context).expect("a context file");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let connector = connector(context.client_tls(), context.control(), Duration::from_secs(10));
        let channel = {
            let _inside = runtime.enter();
            let endpoint = Endpoint::from_shared(format!("https://{}", context.control()));
            endpoint
                .expect("an address")
                .connect_with_connector_lazy(connector)
        };
        Self {
            runtime,
            client: ManagerClient::new(channel),
        }
    }

    /// Asks for a ticket; as primary it takes the region over from whoever has it.
    pub(crate) fn open(&mut self, region: &str, role: Role) -> Opened {
        self.try_open(region, role).expect("let in")
    }

    pub(crate) fn try_open(&mut self, region: &str, role: Role) -> Result<Opened, Status> {
        let request = OpenRegionRequest {
            name: region.to_owned(),
            role: role.into(),
            take_over: role == Role::Primary,
            ..OpenRegionRequest::default()
        };
        let opened = self.runtime.block_on(self.client.open_region(request));
        opened.map(tonic::Response::into_inner)
    }

    /// Wants to go on as primary of this generation.
    pub(crate) fn try_reconnect(&mut self, region: &str, generation: u64) -> Result<Opened, Status> {
        let request = ReconnectRegionRequest {
            name: region.to_owned(),
            role: Role::Primary.into(),
            generation,
        };
        let opened = self.runtime.block_on(self.client.reconnect_region(request));
        opened.map(tonic::Response::into_inner)
    }

    pub(crate) fn try_take_over(&mut self, region: &str, expected_generation: u64) -> Result<Opened, Status> {
        let request = TakeoverRegionRequest {
            name: region.to_owned(),
            expected_generation,
            ..TakeoverRegionRequest::default()
        };
        let opened = self.runtime.block_on(self.client.takeover_region(request));
        opened.map(tonic::Response::into_inner)
    }

    pub(crate) fn close(&mut self, region: &str, generation: u64) {
        self.try_close(region, generation).expect("closed");
    }

    pub(crate) fn try_close(&mut self, region: &str, generation: u64) -> Result<(), Status> {
        let name = region.to_owned();
        let request = CloseRegionRequest { name, generation };
        let closed = self.runtime.block_on(self.client.close_region(request));
        closed.map(drop)
    }
}
