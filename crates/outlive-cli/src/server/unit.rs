//! A unit without its manager, as `unit` runs it.

use std::net::SocketAddr;
use std::path::PathBuf;

use outlive_audit::Audit;
use outlive_identity::{Folder, Name, Party, ServerTls};
use outlive_media::MediaSpec;
use outlive_unit::{AttachSecret, TlsPolicy, Unit, UnitError, UnitOptions};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::control::listen_at;
use super::scrub::{Background, ScrubArguments};
use super::signals::{Asked, Signals};
use super::{DRAIN, RENEW, control_runtime, medium_failure, open, reload};
use crate::audit_log::AuditLog;
use crate::exit::Exit;
use crate::failure::Failure;

/// What a unit is started with.
pub(crate) struct UnitServerOptions {
    pub(crate) media: MediaSpec,
    pub(crate) data: SocketAddr,
    /// Where clients are told to reach it, if not at `data`.
    pub(crate) advertise_data: Option<String>,
    /// Whether data connections are encrypted; `None`: as the addresses say.
    pub(crate) data_tls: Option<TlsPolicy>,
    /// Where managers call.
    pub(crate) admin: SocketAddr,
    /// Hosts that the certificate must name.
    pub(crate) hosts: Vec<String>,
    /// The trust folder.
    pub(crate) trust: PathBuf,
    /// Identities that may manage it.
    pub(crate) managers: Vec<Name>,
    pub(crate) audit_log: AuditLog,
    /// Whether what is on the medium is verified now and then.
    pub(crate) scrub: ScrubArguments,
}

/// A running unit. Dropping it ends it as a crash would; [`stop`](Self::stop) ends it cleanly.
pub(crate) struct UnitServer {
    runtime: Runtime,
    unit: Unit,
    admin: SocketAddr,
    data: SocketAddr,
    trust: Folder,
    hosts: Vec<String>,
    tls: ServerTls,
    audit: Audit,
    signals: Signals,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), UnitError>>,
    scrub: Option<Background>,
}

impl UnitServer {
    /// Opens the medium and binds both listeners. It serves nobody before a manager has attached.
    pub(crate) fn start(options: UnitServerOptions) -> Result<Self, Failure> {
        // The medium first, so that nothing is made for one that is another's.
        let volume = open(&options.media)?;
        let folder = Folder::prepare(&options.trust, &[Party::Unit], &options.hosts)?;
        let tls = folder.server_tls(Party::Unit)?;
        let audit = options.audit_log.open()?;
        let mut unit_options = UnitOptions::new(AttachSecret::of_nobody());
        unit_options.advertise = options.advertise_data;
        unit_options.data_tls = options.data_tls;
        unit_options.audit = audit.clone();
        let unit = Unit::on(volume, unit_options);
        let bound = unit.serve_data(options.data);
        let data = bound.map_err(|error| super::data_failure(&error))?;
        let runtime = control_runtime()?;
        let cannot_listen = |error| Failure::listening("managers", options.admin, &error, "--admin");
        let listener = {
            let _inside = runtime.enter();
            listen_at(options.admin).map_err(cannot_listen)?
        };
        let admin = listener.local_addr().map_err(cannot_listen)?;
        let signals = runtime.block_on(async { Signals::catch() })?;
        let (stop, stopped) = oneshot::channel();
        let served = {
            let (unit, tls, managers) = (unit.clone(), tls.clone(), options.managers);
            runtime.spawn(async move {
                let stopped = async {
                    // A dropped sender is a stop, too.
                    let _ = stopped.await;
                };
                unit.serve_admin(listener, tls, managers, stopped).await
            })
        };
        let scrub = Background::start(&unit, &options.scrub)?;
        Ok(Self {
            runtime,
            scrub,
            unit,
            admin,
            data,
            trust: folder,
            hosts: options.hosts,
            tls,
            audit,
            signals,
            stop,
            served,
        })
    }

    /// Address of the admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Address of the data listener.
    pub(crate) fn data(&self) -> SocketAddr {
        self.data
    }

    /// The unit's incarnation.
    pub(crate) fn incarnation(&self) -> u64 {
        self.unit.incarnation()
    }

    /// Serves until SIGTERM or SIGINT; SIGHUP reads the certificates anew. Fails if the admin service ends by itself.
    pub(crate) fn await_end(&mut self) -> Result<(), Failure> {
        let renew = || {
            if let Err(error) = Folder::prepare(self.trust.path(), &[Party::Unit], &self.hosts) {
                tracing::error!(%error, "certificates cannot be looked after");
            }
        };
        let (tls, audit, signals, served) = (&self.tls, &self.audit, &mut self.signals, &mut self.served);
        self.runtime.block_on(async {
            let mut expiring = tokio::time::interval(RENEW);
            // The first comes at once, when all was looked at a moment ago.
            expiring.tick().await;
            loop {
                tokio::select! {
                    asked = signals.next() => match asked {
                        Asked::End => return Ok(()),
                        Asked::Reload => reload(tls, audit),
                    },
                    _ = expiring.tick() => renew(),
                    ended = &mut *served => return Err(ended_by_itself(ended)),
                }
            }
        })
    }

    /// Ends listeners and connections, then makes everything placed persistent.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        drop(self.scrub);
        // The receiver is gone if the admin service has ended already.
        let _ = self.stop.send(());
        let closed = self.unit.close().map_err(|error| medium_failure(&error));
        // The manager's stream of events has ended with the unit; another call may be in progress.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(DRAIN, self.served).await });
        self.runtime.shutdown_timeout(DRAIN);
        closed
    }
}

fn ended_by_itself(ended: Result<Result<(), UnitError>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new(Exit::Failure, "the admin service ended"),
        Ok(Err(error)) => Failure::from_error(Exit::Failure, &error),
        Err(error) => Failure::from_error(Exit::Failure, &error),
    }
}
