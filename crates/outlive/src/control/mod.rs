//! Calls to the manager, made from any thread.
//!
//! gRPC runs on a small runtime of the session's own, so that a call may be made inside or outside
//! async code: the caller's thread only waits for the answer on a channel.

mod retry;
mod watch;

pub(crate) use retry::{Answer, Backoff};
pub(crate) use watch::{Watch, Watched};

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use outlive_proto::v1::manager_client::ManagerClient;
use tokio::runtime::{Handle, Runtime};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};
use tower::service_fn;

use crate::{Error, Result, Transport, threads};

/// How long making the connection, with its handshake, may take before it counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one attempt of a call may take: a fence may wait for a slow flush of the unit's.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often an idle connection is probed, so that a silent manager host is noticed by the watch streams.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Longest answer taken: a list of 100,000 regions.
const MAX_ANSWER_BYTES: usize = 64 << 20;

pub(crate) type Client = ManagerClient<Channel>;

/// The manager of one session, and the way to it and its units.
pub(crate) struct Control {
    /// Taken only when dropped.
    runtime: Option<Runtime>,
    client: Client,
    transport: Arc<dyn Transport>,
    address: String,
}

impl Control {
    /// `address` (`host:port`) names the manager, in its requests and in errors.
    pub(crate) fn new(transport: Arc<dyn Transport>, address: &str) -> Result<Self> {
        let invalid = |reason: String| Error::Invalid { reason };
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .map_err(|error| invalid(format!("control address {address}: {error}")))?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let runtime = threads::build(1, "outlive-control").map_err(|error| Error::Limit {
            reason: format!("cannot start the control thread: {error}"),
        })?;
        let channel = {
            let _inside = runtime.enter();
            let transport = Arc::clone(&transport);
            endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
                let connecting = transport.control(CONNECT_TIMEOUT);
                async move { connecting.await.map(TokioIo::new) }
            }))
        };
        let client = ManagerClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self {
            runtime: Some(runtime),
            client,
            transport,
            address: address.to_owned(),
        })
    }

    pub(crate) fn transport(&self) -> &dyn Transport {
        self.transport.as_ref()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Calls the manager, again and again within `retry_for` while it or its unit cannot be reached.
    /// `region` is for the error's text.
    pub(crate) fn call<T, F, Fut>(&self, region: &str, retry_for: Duration, call: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(Client) -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<Response<T>, Status>> + Send,
    {
        self.call_within(region, retry_for, ATTEMPT_TIMEOUT, call)
    }

    /// As [`call`](Self::call), with another bound on one attempt.
    pub(crate) fn call_within<T, F, Fut>(
        &self,
        region: &str,
        retry_for: Duration,
        attempt_timeout: Duration,
        call: F,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(Client) -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<Response<T>, Status>> + Send,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        let (client, address, region) = (self.client.clone(), self.address.clone(), region.to_owned());
        self.handle().spawn(async move {
            let result = retry::within(client, &address, &region, retry_for, attempt_timeout, call).await;
            // The caller waits for it; it can only be gone with its whole process.
            let _ = answer.send(result);
        });
        let gone = || Answer {
            result: Err(Error::Closed),
            ambiguous: true,
        };
        answered.recv().unwrap_or_else(|_| gone())
    }

    pub(crate) fn watch(&self, region: &str) -> Watch {
        Watch::start(self.handle(), self.client.clone(), region)
    }

    fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("taken only when dropped").handle()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime waits for its threads, which panics inside async code; this does not.
            runtime.shutdown_background();
        }
    }
}
