//! The manager's host.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use outlive_manager::{AttachError, Manager, ManagerOptions};
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

use super::judge::violation;
use super::place::Place;
use super::roads::Roads;
use super::{ADMINISTRATOR, SECRET, runtime};
use crate::machine::{self, Process};

/// Pause between attempts to take charge of a unit that is not there.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct ManagerHost {
    roads: Arc<Roads>,
    process: Option<Process>,
}

impl ManagerHost {
    pub(super) fn new(roads: Arc<Roads>) -> Self {
        Self { roads, process: None }
    }

    pub(super) fn start(&mut self) {
        if self.process.is_none() {
            let roads = Arc::clone(&self.roads);
            self.process = Some(machine::start("manager", move || serve(&roads)));
        }
    }

    pub(super) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.roads.set_door(Place::Manager, None);
            machine::kill(process);
            self.roads.cut(Place::Manager);
        }
    }

    pub(super) fn process(&self) -> Option<Process> {
        self.process
    }
}

fn serve(roads: &Arc<Roads>) {
    let (door, incoming) = tokio::sync::mpsc::unbounded_channel();
    runtime().block_on(async {
        let manager = loop {
            match Manager::attach(options(roads)).await {
                Ok(manager) => break manager,
                Err(AttachError::Catalog(why)) if why.contains("damaged") || why.contains("corrupt") => {
                    violation("catalog-damaged", why)
                }
                Err(error) => {
                    machine::trace(|| format!("cannot attach: {error:?}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let generation = manager.generation();
        if generation > 0 {
            roads.judge.manager_generation(generation);
        }
        machine::trace(|| format!("serves as generation {generation}"));
        roads.set_door(Place::Manager, Some(door));
        let incoming = UnboundedReceiverStream::new(incoming).map(Ok::<_, io::Error>);
        let server = tonic::transport::Server::builder().add_routes(manager.routes());
        drop(server.serve_with_incoming(incoming).await);
    });
}

fn options(roads: &Arc<Roads>) -> ManagerOptions {
    let calls = Arc::clone(roads);
    let connector = service_fn(move |_: Uri| {
        let call = Arc::clone(&calls).call(Place::Manager, Place::Unit);
        async move { call.await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://unit.invalid").connect_with_connector_lazy(connector);
    let roads = Arc::clone(roads);
    ManagerOptions {
        connect: Arc::new(move |_, ticket, _| roads.data(Place::Manager, ticket)),
        ..ManagerOptions::new(UnitAdminClient::new(channel), SECRET.to_vec())
            .with_administrator(ADMINISTRATOR.parse().expect("a name"))
    }
}
