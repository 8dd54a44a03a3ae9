//! The admin service over mutual TLS, for managers in other processes.
//!
//! Only the managers that the unit was told of may call anything. Whoever else has a certificate of the same authority is
//! told so, and does not keep a place that a manager needs.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use outlive_audit::{Act, Audit, Entry};
use outlive_identity::{
    Caller, Connection, Incoming, ListenEvent, ListenOptions, Name, Rejected, ServerTls, listen,
};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;
use outlive_proto::v1::unit_admin_server::UnitAdminServer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::admin::AdminService;

/// A manager whose host vanished without a word is noticed within twice this time.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Connections of one identity. A manager needs one; those that it left behind when its host vanished last until they
/// are noticed.
const MAX_CONNECTIONS_PER_IDENTITY: usize = 64;
/// Streams over a manager's connection: its calls in progress (1,024 and its own) fit.
const MANAGER_STREAMS: u32 = 2_048;
/// Streams of somebody who is told that it is no manager.
const STRANGER_STREAMS: u32 = 16;
/// How long somebody who is no manager may listen to being refused.
const STRANGER_AGE: Duration = Duration::from_secs(2);
/// And how long after that until the connection is cut.
const STRANGER_GRACE: Duration = Duration::from_secs(1);
/// Those of them who are told why at the same time; more are not told.
const MAX_STRANGERS: usize = 64;

/// Accepts connections whose certificates hold.
pub(crate) fn admit(listener: TcpListener, tls: ServerTls, audit: Audit) -> io::Result<Incoming> {
    let options = ListenOptions {
        max_connections_per_identity: MAX_CONNECTIONS_PER_IDENTITY,
        ..ListenOptions::default()
    };
    listen(listener, tls, options, move |event| {
        if let ListenEvent::Rejected(rejected) = event {
            audit.record(&rejection(rejected));
        }
    })
}

/// Serves managers until `stopped`.
pub(crate) async fn serve(
    service: AdminService,
    incoming: Incoming,
    managers: Vec<Name>,
    stopped: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let guard = ManagersOnly {
        managers: managers.into(),
        audit: service.core.options.audit.clone(),
    };
    let service = InterceptedService::new(UnitAdminServer::new(service), guard.clone());
    let strangers = Strangers {
        service: service.clone(),
        places: Arc::new(Semaphore::new(MAX_STRANGERS)),
    };
    let of_managers = incoming.filter_map(move |connection| match connection {
        Ok(connection) if !guard.knows(connection.caller()) => {
            strangers.refuse(connection);
            None
        }
        connection => Some(connection),
    });
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(MANAGER_STREAMS)
        .add_service(service)
        .serve_with_incoming_shutdown(of_managers, stopped)
        .await
}

/// The name of a manager whose certificate was checked and who may call. Only [`ManagersOnly`] makes one.
#[derive(Clone, Debug)]
pub(super) struct Vouched(pub(super) Name);

/// Lets the named managers call, and nobody else.
#[derive(Clone)]
struct ManagersOnly {
    managers: Arc<[Name]>,
    audit: Audit,
}

impl ManagersOnly {
    fn knows(&self, caller: &Caller) -> bool {
        self.managers.contains(&caller.name)
    }
}

impl Interceptor for ManagersOnly {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        match caller {
            Some(caller) if self.knows(&caller) => {
                request.extensions_mut().insert(Vouched(caller.name));
                Ok(request)
            }
            Some(caller) => {
                let name = &caller.name;
                tracing::warn!(%name, source = ?caller.source, "somebody who is no manager called the unit");
                let reason = format!("{name} is not one of the managers that may program this unit");
                let mut entry = Entry::refused(Act::Attach, &reason).by(name.as_str());
                if let Some(source) = caller.source {
                    entry = entry.from(source);
                }
                self.audit.record(&entry);
                Err(ControlError::new(ErrorCode::NoAccess, reason).into())
            }
            None => Err(ControlError::new(ErrorCode::NoAccess, "the caller is not authenticated").into()),
        }
    }
}

/// Tells those who are no managers that they are not.
struct Strangers {
    service: InterceptedService<UnitAdminServer<AdminService>, ManagersOnly>,
    places: Arc<Semaphore>,
}

impl Strangers {
    fn refuse(&self, connection: Connection) {
        // One too many is dropped, and does not learn why.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let server = Server::builder()
            .max_connection_age(STRANGER_AGE)
            .max_concurrent_streams(STRANGER_STREAMS)
            .max_connection_age_grace(STRANGER_GRACE)
            .add_service(self.service.clone());
        let connection = tokio_stream::once(Ok::<_, io::Error>(connection));
        tokio::spawn(async move {
            // Ends at once: the connection gets a task of its own, which ends with its age.
            if let Err(error) = server.serve_with_incoming(connection).await {
                tracing::debug!(%error, "a stranger could not be refused");
            }
            tokio::time::sleep(STRANGER_AGE + STRANGER_GRACE).await;
            drop(place);
        });
    }
}

fn rejection(rejected: &Rejected) -> Entry {
    let mut entry = Entry::refused(Act::Attach, &rejected.reason).from(rejected.source);
    if rejected.untold > 0 {
        entry = entry.count(rejected.untold);
    }
    match &rejected.claimed {
        Some(name) => entry.by(name.as_str()),
        None => entry,
    }
}
