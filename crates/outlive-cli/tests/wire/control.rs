//! Calls to the manager made by hand.

use std::time::Duration;

use outlive_identity::connector;
use outlive_proto::v1::manager_client::ManagerClient;
use outlive_proto::v1::{CloseRegionRequest, OpenRegionRequest, Opened, Role};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::support::World;

/// Far more than connecting takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whoever the context file belongs to.
pub(crate) struct Control {
    runtime: Runtime,
    client: ManagerClient<Channel>,
}

impl Control {
    pub(crate) fn of(world: &World) -> Self {
        let context = outlive::Context::load(&world.path("context.json")).expect("a context file");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let channel = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("https://{}", context.control()));
            let connector = connector(context.client_tls(), context.control(), PATIENCE);
            endpoint
                .expect("an address")
                .connect_with_connector(connector)
                .await
        });
        Self {
            runtime,
            client: ManagerClient::new(channel.expect("the manager lets us in")),
        }
    }

    /// Asks for a ticket; as primary it takes the region over from whoever has it.
    pub(crate) fn open(&mut self, region: &str, role: Role) -> Opened {
        let request = OpenRegionRequest {
            name: region.to_owned(),
            role: role.into(),
            take_over: role == Role::Primary,
            ..OpenRegionRequest::default()
        };
        let opened = self.runtime.block_on(self.client.open_region(request));
        opened.expect("let in").into_inner()
    }

    pub(crate) fn close(&mut self, region: &str, generation: u64) {
        let name = region.to_owned();
        let request = CloseRegionRequest { name, generation };
        let closed = self.runtime.block_on(self.client.close_region(request));
        closed.expect("closed");
    }
}
