//! Unit and manager in one process, as `serve` and `demo` run them.
//!
//! The manager reaches its unit through the unit's own admin service over an in-process stream, so separating
//! the two is a matter of which channel is given.

pub(crate) mod control;
pub(crate) mod hosts;
mod metrics;
pub(crate) mod process;

use std::net::SocketAddr;
use std::time::Duration;

use outlive_identity::{Name, ServerTls};
use outlive_manager::{Manager, ManagerOptions};
use outlive_media::MediaSpec;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use outlive_unit::{AttachSecret, Unit, UnitError, UnitOptions};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tonic::transport::Channel;

use control::Served;

use crate::exit::Exit;
use crate::failure::Failure;

/// Control is rare; two threads keep one slow call from holding up the rest.
const CONTROL_THREADS: usize = 2;
/// How long calls in progress may take to end after the listener is closed.
const DRAIN: Duration = Duration::from_secs(2);
/// How often certificates are looked at that expire while the server runs.
const RENEW: Duration = Duration::from_secs(12 * 3600);

/// What a server is started with.
pub(crate) struct ServerOptions {
    pub(crate) media: MediaSpec,
    pub(crate) control: SocketAddr,
    pub(crate) data: SocketAddr,
    /// Where clients are told to reach the unit, if not at `data`.
    pub(crate) advertise_data: Option<String>,
    /// Where metrics are served, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Whom a server trusts, and who it is.
pub(crate) struct ServerTrust {
    /// What the control listener shows and whom it lets in.
    pub(crate) tls: ServerTls,
    /// Who may do everything from the first start on.
    pub(crate) administrators: Vec<Name>,
}

/// A running unit and manager. Dropping it ends them as a crash would; [`stop`](Self::stop) ends them cleanly.
pub(crate) struct Server {
    runtime: Runtime,
    unit: Unit,
    /// Kept: a manager stops when its last handle is dropped.
    manager: Manager,
    control: SocketAddr,
    data: SocketAddr,
    metrics: Option<SocketAddr>,
    tls: ServerTls,
    signals: Signals,
    stop: oneshot::Sender<()>,
    served: Served,
}

impl Server {
    /// Opens the medium, binds both listeners, lets the manager take charge, and serves. `trust` is asked once the
    /// medium is this server's, so that nothing is made beside one that is not.
    pub(crate) fn start(
        options: ServerOptions,
        trust: impl FnOnce() -> Result<ServerTrust, Failure>,
    ) -> Result<Self, Failure> {
        let secret = AttachSecret::random().map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let mut unit_options = UnitOptions::new(secret.clone());
        unit_options.advertise = options.advertise_data.clone();
        let unit = Unit::open(&options.media, unit_options).map_err(|error| medium_failure(&error))?;
        let trust = trust()?;
        let data = unit
            .serve_data(options.data)
            .map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))?;
        let signals = runtime.block_on(async { Signals::catch() })?;
        let (stop, stopped) = oneshot::channel();
        let admin = runtime.block_on(async { unit.admin_client() });
        let serving = serve(&options, &trust, admin, &secret, stopped);
        let Serving {
            manager,
            control,
            metrics,
            served,
        } = runtime.block_on(serving)?;
        Ok(Self {
            runtime,
            unit,
            manager,
            control,
            data,
            metrics,
            tls: trust.tls,
            signals,
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

    /// Address of the metrics listener, if there is one.
    pub(crate) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The unit's incarnation.
    pub(crate) fn incarnation(&self) -> u64 {
        self.unit.incarnation()
    }

    /// Waits for SIGTERM or SIGINT; fails if the control service ends by itself. SIGHUP reads the certificates anew.
    /// `renew` is called now and then.
    pub(crate) fn await_signal(&mut self, renew: impl Fn()) -> Result<(), Failure> {
        let (served, tls, signals) = (&mut self.served, &self.tls, &mut self.signals);
        self.runtime.block_on(async {
            let mut expiring = tokio::time::interval(RENEW);
            // The first comes at once, when all was looked at a moment ago.
            expiring.tick().await;
            loop {
                tokio::select! {
                    _ = signals.terminate.recv() => return Ok(()),
                    _ = signals.interrupt.recv() => return Ok(()),
                    _ = signals.reload.recv() => {
                        if let Err(error) = tls.reload() {
                            tracing::error!(%error, "certificates cannot be read anew: those before stay in force");
                        }
                    }
                    _ = expiring.tick() => renew(),
                    ended = &mut *served => return Err(ended_by_itself(ended)),
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

fn ended_by_itself(ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>) -> Failure {
    let why = match ended {
        Ok(Ok(())) => "the control service ended".to_owned(),
        Ok(Err(error)) => format!("the control service failed: {error}"),
        Err(error) => format!("the control service failed: {error}"),
    };
    Failure::new(Exit::Failure, why)
}

/// What is wrong with the medium says all; that the unit cannot use it, therefore, goes without saying.
fn medium_failure(error: &UnitError) -> Failure {
    match error {
        UnitError::Media(medium) => Failure::from_error(Exit::MediaFailed, medium),
        error => Failure::from_error(Exit::MediaFailed, error),
    }
}

/// Caught from before the server says that it is ready.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(Exit::Failure, format!("cannot catch signals: {error}")))
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            reload: catch(SignalKind::hangup())?,
        })
    }
}

struct Serving {
    manager: Manager,
    control: SocketAddr,
    metrics: Option<SocketAddr>,
    served: Served,
}

async fn serve(
    options: &ServerOptions,
    trust: &ServerTrust,
    admin: UnitAdminClient<Channel>,
    secret: &AttachSecret,
    stopped: oneshot::Receiver<()>,
) -> Result<Serving, Failure> {
    let listener = control::bind(options.control).await?;
    let control = listener.local_addr().unwrap_or(options.control);
    let administrators = trust.administrators.iter();
    let manager = Manager::attach(ManagerOptions {
        administrators: administrators.map(|name| (name.clone(), None)).collect(),
        ..ManagerOptions::new(admin, secret.proof().to_vec())
    })
    .await
    .map_err(|error| Failure::from_error(Exit::MediaFailed, &error))?;
    let metrics = match options.metrics {
        Some(address) => Some(metrics::serve(address, manager.clone()).await?),
        None => None,
    };
    let served = control::serve(listener, trust.tls.clone(), manager.routes(), |_| {}, stopped)?;
    Ok(Serving {
        manager,
        control,
        metrics,
        served,
    })
}
