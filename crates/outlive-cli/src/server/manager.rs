//! A manager and its control listener: a part of `serve`, and all of `manager`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outlive_audit::Audit;
use outlive_identity::{Authority, ClientTls, ConnectError, Name, ServerTls};
use outlive_manager::{AttachError, Manager, ManagerOptions, try_unit, unit_at};
use outlive_proto::v1::ErrorCode;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::transport::Channel;

use super::control::{self, Served};
use super::signals::{Asked, Signals};
use super::{DRAIN, RENEW, control_runtime, metrics};
use crate::exit::Exit;
use crate::failure::Failure;

/// Pause between attempts to reach a unit that is not there yet.
const UNIT_PAUSE: Duration = Duration::from_millis(250);

/// What a control listener is started with.
pub(crate) struct ControlOptions {
    pub(crate) control: SocketAddr,
    /// What it shows and whom it trusts.
    pub(crate) tls: ServerTls,
    /// Who may do everything from the first start on.
    pub(crate) administrators: Vec<Name>,
    /// Signs certificates; `None`: they come from an authority of one's own.
    pub(crate) authority: Option<Arc<Authority>>,
    /// Where metrics are served, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) audit: Audit,
}

impl ControlOptions {
    /// What the manager of `unit` is started with.
    pub(super) fn manager(&self, unit: UnitAdminClient<Channel>, proof: Vec<u8>) -> ManagerOptions {
        let administrators = self.administrators.iter();
        ManagerOptions {
            administrators: administrators.map(|name| (name.clone(), None)).collect(),
            authority: self.authority.clone(),
            audit: self.audit.clone(),
            ..ManagerOptions::new(unit, proof)
        }
    }
}

/// A manager that serves.
pub(super) struct Control {
    /// Kept: a manager stops when its last handle is dropped.
    manager: Manager,
    pub(super) address: SocketAddr,
    pub(super) metrics: Option<SocketAddr>,
    tls: ServerTls,
    audit: Audit,
    signals: Signals,
    stop: oneshot::Sender<()>,
    served: Served,
}

impl Control {
    /// Binds the listener, attaches, and serves.
    pub(super) async fn start(
        options: ControlOptions,
        attach: impl AsyncFnOnce(&ControlOptions) -> Result<Manager, Failure>,
    ) -> Result<Self, Failure> {
        let listener = control::bind(options.control)?;
        let address = listener.local_addr().unwrap_or(options.control);
        let manager = attach(&options).await?;
        // From before it says that it is ready.
        let signals = Signals::catch()?;
        let metrics = match options.metrics {
            Some(address) => Some(metrics::serve(address, manager.clone()).await?),
            None => None,
        };
        let (stop, stopped) = oneshot::channel();
        let ControlOptions { tls, audit, .. } = options;
        let served = control::serve(listener, tls.clone(), manager.routes(), audit.clone(), stopped)?;
        Ok(Self {
            manager,
            address,
            metrics,
            tls,
            audit,
            signals,
            stop,
            served,
        })
    }

    /// Waits for SIGTERM or SIGINT; fails if the control service ends by itself. SIGHUP reads the certificates anew.
    /// `renew` is called now and then.
    pub(super) async fn await_end(&mut self, renew: impl Fn()) -> Result<(), Failure> {
        let mut expiring = tokio::time::interval(RENEW);
        // The first comes at once, when all was looked at a moment ago.
        expiring.tick().await;
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::End => return Ok(()),
                    Asked::Reload => super::reload(&self.tls, &self.audit),
                },
                _ = expiring.tick() => renew(),
                ended = &mut self.served => return Err(ended_by_itself(ended)),
            }
        }
    }

    pub(super) async fn stop(self) {
        // The receiver is gone if the control service has ended already.
        let _ = self.stop.send(());
        // Watchers' streams never end by themselves, so the wait is bounded.
        let _ = tokio::time::timeout(DRAIN, self.served).await;
        drop(self.manager);
    }
}

/// The manager of a unit in another process.
pub(crate) struct ManagerServer {
    runtime: Runtime,
    control: Control,
}

/// How a unit in another process is reached.
pub(crate) struct RemoteUnit {
    /// `host:port` of its admin listener.
    pub(crate) address: String,
    /// What the manager shows, and whom it expects.
    pub(crate) tls: ClientTls,
}

impl ManagerServer {
    /// Binds the listener, waits for the unit for as long as it takes, attaches, and serves.
    pub(crate) fn start(options: ControlOptions, unit: &RemoteUnit) -> Result<Self, Failure> {
        let runtime = control_runtime()?;
        let starting = Control::start(options, async |options| {
            let admin = unit_at(unit.tls.clone(), &unit.address);
            // The certificate proves who it is.
            unit.attach(options.manager(admin, Vec::new())).await
        });
        let control = runtime.block_on(starting)?;
        Ok(Self { runtime, control })
    }

    /// Address of the control listener.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control.address
    }

    /// Address of the metrics listener, if there is one.
    pub(crate) fn metrics(&self) -> Option<SocketAddr> {
        self.control.metrics
    }

    /// Serves until SIGTERM or SIGINT; fails if the control service ends by itself. SIGHUP reads the certificates anew.
    /// `renew` is called now and then.
    pub(crate) fn await_end(&mut self, renew: impl Fn()) -> Result<(), Failure> {
        self.runtime.block_on(self.control.await_end(renew))
    }

    /// Ends the listener and the manager. The unit goes on.
    pub(crate) fn stop(self) {
        self.runtime.block_on(self.control.stop());
        self.runtime.shutdown_timeout(DRAIN);
    }
}

impl RemoteUnit {
    /// Attaches as soon as the unit is there. Ends at once where it cannot be trusted, or does not trust us: that does not
    /// pass by itself.
    async fn attach(&self, options: ManagerOptions) -> Result<Manager, Failure> {
        let mut said = false;
        loop {
            let why = match try_unit(self.tls.clone(), &self.address).await {
                Ok(()) => match Manager::attach(options.clone()).await {
                    Ok(manager) => return Ok(manager),
                    Err(AttachError::Unit(error)) if error.code == ErrorCode::UnitUnreachable => {
                        error.message
                    }
                    Err(AttachError::Unit(error)) if error.code == ErrorCode::NoAccess => {
                        let message =
                            format!("the unit at {} does not take us: {}", self.address, error.message);
                        return Err(Failure::new(Exit::NoAccess, message));
                    }
                    Err(error) => return Err(Failure::from_error(Exit::MediaFailed, &error)),
                },
                Err(ConnectError::Unreachable(why)) => why,
                Err(error) => return Err(Failure::from_error(Exit::NoAccess, &error)),
            };
            if !said {
                tracing::warn!(
                    unit = self.address,
                    why,
                    "the unit is not there yet; waiting for it"
                );
                said = true;
            }
            tokio::time::sleep(UNIT_PAUSE).await;
        }
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
