//! Unit and manager in one process, as `serve` and `demo` run them.
//!
//! The manager reaches its unit through the unit's own admin service over an in-process stream, so separating
//! the two is a matter of which channel is given.

mod metrics;

use std::net::SocketAddr;
use std::time::Duration;

use outlive_manager::{BearerAuth, Manager, ManagerOptions};
use outlive_media::MediaSpec;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_unit::{AttachSecret, Unit, UnitError, UnitOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

use crate::exit::Exit;
use crate::failure::Failure;

/// Control is rare; two threads keep one slow call from holding up the rest.
const CONTROL_THREADS: usize = 2;
/// A client that vanished without a word is noticed within twice this time.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Calls in progress over one connection; a client that wants more waits.
const CALLS_PER_CONNECTION: usize = 256;
/// How long calls in progress may take to end after the listener is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// What a server is started with.
pub(crate) struct ServerOptions {
    pub(crate) media: MediaSpec,
    pub(crate) control: SocketAddr,
    pub(crate) data: SocketAddr,
    /// Where clients are told to reach the unit, if not at `data`.
    pub(crate) advertise_data: Option<String>,
    pub(crate) token: String,
}

/// A running unit and manager. Dropping it ends them as a crash would; [`stop`](Self::stop) ends them cleanly.
pub(crate) struct Server {
    runtime: Runtime,
    unit: Unit,
    /// Kept: a manager stops when its last handle is dropped.
    manager: Manager,
    control: SocketAddr,
    data: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    /// Opens the medium, binds both listeners, lets the manager take charge, and serves.
    pub(crate) fn start(options: ServerOptions) -> Result<Self, Failure> {
        let secret = AttachSecret::random().map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let mut unit_options = UnitOptions::new(secret.clone());
        unit_options.advertise = options.advertise_data.clone();
        let unit = Unit::open(&options.media, unit_options).map_err(|error| medium_failure(&error))?;
        let data = unit
            .serve_data(options.data)
            .map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))?;
        let (stop, stopped) = oneshot::channel();
        let admin = runtime.block_on(async { unit.admin_client() });
        let (manager, control, served) =
            runtime.block_on(serve_control(&options, admin, &secret, stopped))?;
        Ok(Self {
            runtime,
            unit,
            manager,
            control,
            data,
            stop,
            served,
        })
    }

    /// Address of the control listener.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }

    /// Address of the data listener.
    pub(crate) fn data(&self) -> SocketAddr {
        self.data
    }

    /// The unit's incarnation.
    pub(crate) fn incarnation(&self) -> u64 {
        self.unit.incarnation()
    }

    /// Waits for SIGTERM or SIGINT; fails if the control service ends by itself.
    pub(crate) fn await_signal(&mut self) -> Result<(), Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let served = &mut self.served;
        self.runtime.block_on(async {
            let cannot_catch = |error| Failure::new(Exit::Failure, format!("cannot catch signals: {error}"));
            let mut terminate = signal(SignalKind::terminate()).map_err(cannot_catch)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_catch)?;
            tokio::select! {
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
                ended = served => {
                    let why = match ended {
                        Ok(Ok(())) => "the control service ended".to_owned(),
                        Ok(Err(error)) => format!("the control service failed: {error}"),
                        Err(error) => format!("the control service failed: {error}"),
                    };
                    Err(Failure::new(Exit::Failure, why))
                }
            }
        })
    }

    /// Ends listeners and connections, then makes everything placed persistent.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        // The receiver is gone if the control service has ended already.
        let _ = self.stop.send(());
        // Watchers' streams never end by themselves, so the wait is bounded.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(DRAIN, self.served).await });
        drop(self.manager);
        let closed = self.unit.close().map_err(|error| medium_failure(&error));
        self.runtime.shutdown_timeout(DRAIN);
        closed
    }
}

/// A random token: 32 hexadecimal digits.
pub(crate) fn new_token() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Exit::Failure, format!("no randomness for the token: {error}")))?;
    Ok(crate::output::hex(&bytes))
}

/// What is wrong with the medium says all; that the unit cannot use it, therefore, goes without saying.
fn medium_failure(error: &UnitError) -> Failure {
    match error {
        UnitError::Media(medium) => Failure::from_error(Exit::MediaFailed, medium),
        error => Failure::from_error(Exit::MediaFailed, error),
    }
}

type Served = (
    Manager,
    SocketAddr,
    JoinHandle<Result<(), tonic::transport::Error>>,
);

async fn serve_control(
    options: &ServerOptions,
    admin: UnitAdminClient<Channel>,
    secret: &AttachSecret,
    stopped: oneshot::Receiver<()>,
) -> Result<Served, Failure> {
    let cannot_listen = |error| {
        Failure::new(
            Exit::Failure,
            format!(
                "cannot listen for control connections on {}: {error}",
                options.control
            ),
        )
    };
    let listener = TcpListener::bind(options.control).await.map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let of_manager = ManagerOptions::new(admin, secret.proof().to_vec())
        .with_administrator("local".parse().expect("it is a name"));
    let manager = Manager::attach(of_manager)
        .await
        .map_err(|error| Failure::from_error(Exit::MediaFailed, &error))?;
    let auth = BearerAuth::new(&options.token).map_err(|error| Failure::from_error(Exit::Usage, &error))?;
    let routes = metrics::add(manager.routes(auth), &options.token);
    let server = tonic::transport::Server::builder()
        // HTTP/1.1 for those who scrape /metrics.
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async {
            // A dropped sender is a stop, too.
            let _ = stopped.await;
        });
    Ok((manager, address, tokio::spawn(server)))
}
