//! Calls to the manager made by hand.

use outlive_proto::v1::manager_client::ManagerClient;
use outlive_proto::v1::{CloseRegionRequest, OpenRegionRequest, Opened, Role};
use tokio::runtime::Runtime;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::support::World;

/// Whoever the context file belongs to.
pub(crate) struct Control {
    runtime: Runtime,
    client: ManagerClient<Channel>,
    token: String,
}

impl Control {
    pub(crate) fn of(world: &World) -> Self {
        let context = outlive::Context::load(&world.path("context.json")).expect("a context file");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let channel = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{}", context.control));
            endpoint.expect("an address").connect().await
        });
        Self {
            runtime,
            client: ManagerClient::new(channel.expect("the manager listens")),
            token: context.token,
        }
    }

    /// Asks for a ticket; as primary it takes the region over from whoever has it.
    pub(crate) fn open(&mut self, region: &str, role: Role) -> Opened {
        let request = self.request(OpenRegionRequest {
            name: region.to_owned(),
            role: role.into(),
            take_over: role == Role::Primary,
            ..OpenRegionRequest::default()
        });
        let opened = self.runtime.block_on(self.client.open_region(request));
        opened.expect("let in").into_inner()
    }

    pub(crate) fn close(&mut self, region: &str, generation: u64) {
        let name = region.to_owned();
        let request = self.request(CloseRegionRequest { name, generation });
        let closed = self.runtime.block_on(self.client.close_region(request));
        closed.expect("closed");
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", self.token);
        let token = token.parse().expect("a token is plain text");
        request.metadata_mut().insert("authorization", token);
        request
    }
}
