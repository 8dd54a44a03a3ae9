//! The admin service for a manager in the same process: the same service and client as over a network, over a stream in memory.

use hyper_util::rt::TokioIo;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_proto::v1::unit_admin_server::UnitAdminServer;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tower::service_fn;

use crate::admin::AdminService;

/// Bytes on their way in each direction: several of the longest ordinary messages.
const STREAM_BYTES: usize = 256 << 10;

pub(crate) fn client(service: AdminService) -> UnitAdminClient<Channel> {
    let connector = service_fn(move |_: Uri| {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
        let server = Server::builder().add_service(UnitAdminServer::new(service.clone()));
        tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::warn!(%error, "the admin service inside this process ended");
            }
        });
        async move { Ok::<_, std::io::Error>(TokioIo::new(near)) }
    });
    // A name that is never looked up.
    let endpoint = Endpoint::from_static("http://unit.invalid");
    UnitAdminClient::new(endpoint.connect_with_connector_lazy(connector))
}
