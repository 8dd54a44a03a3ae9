//! What `serve`, `unit`, `manager` and `demo` run: a unit, a manager, or both in one process.
//!
//! A manager reaches its unit through the unit's admin service in any case: over a stream inside the process, or over
//! mutual TLS.

pub(crate) mod control;
pub(crate) mod hosts;
pub(crate) mod manager;
mod metrics;
pub(crate) mod process;
pub(crate) mod scrub;
mod signals;
pub(crate) mod unit;

use std::net::SocketAddr;
use std::time::Duration;

use outlive_audit::Audit;
use outlive_identity::ServerTls;
use outlive_manager::{AttachError, Manager};
use outlive_media::{MediaSpec, Volume};
use outlive_unit::{AttachSecret, TlsPolicy, Unit, UnitError, UnitOptions};
use tokio::runtime::Runtime;

use crate::exit::Exit;
use crate::failure::Failure;
use manager::{Control, ControlOptions};
use scrub::{Background, ScrubArguments};

/// Control is rare; two threads keep one slow call from holding up the rest.
const CONTROL_THREADS: usize = 2;
/// How often certificates are looked at that expire while a server runs.
const RENEW: Duration = Duration::from_secs(12 * 3600);
/// How long calls in progress may take to end after a listener is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// What a server is started with.
pub(crate) struct ServerOptions {
    pub(crate) media: MediaSpec,
    pub(crate) data: SocketAddr,
    /// Where clients are told to reach the unit, if not at `data`.
    pub(crate) advertise_data: Option<String>,
    /// Whether data connections are encrypted; `None`: as the addresses say.
    pub(crate) data_tls: Option<TlsPolicy>,
    /// Whether what is on the medium is verified now and then.
    pub(crate) scrub: ScrubArguments,
}

/// A running unit and manager. Dropping it ends them as a crash would; [`stop`](Self::stop) ends them cleanly.
pub(crate) struct Server {
    runtime: Runtime,
    unit: Unit,
    control: Control,
    data: SocketAddr,
    scrub: Option<Background>,
}

impl Server {
    /// Opens the medium, binds both listeners, lets the manager take charge, and serves. `control` is asked once the
    /// medium is this server's, so that nothing is made beside one that is not.
    pub(crate) fn start(
        options: ServerOptions,
        control: impl FnOnce() -> Result<ControlOptions, Failure>,
    ) -> Result<Self, Failure> {
        let secret = AttachSecret::random().map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let volume = open(&options.media)?;
        let control = control()?;
        let mut unit_options = UnitOptions::new(secret.clone());
        unit_options.advertise = options.advertise_data;
        unit_options.data_tls = options.data_tls;
        unit_options.audit = control.audit.clone();
        let unit = Unit::on(volume, unit_options);
        let data = unit
            .serve_data(options.data)
            .map_err(|error| data_failure(&error))?;
        let runtime = control_runtime()?;
        let starting = Control::start(control, async |options| {
            let unit = unit.admin_client();
            let attached = Manager::attach(options.manager(unit, secret.proof().to_vec())).await;
            attached.map_err(|error| match &error {
                AttachError::Thread(_) => Failure::from_error(Exit::Failure, &error),
                error => Failure::from_error(Exit::MediaFailed, error),
            })
        });
        let control = runtime.block_on(starting)?;
        let scrub = Background::start(&unit, &options.scrub)?;
        Ok(Self {
            runtime,
            unit,
            control,
            data,
            scrub,
        })
    }

    /// Address of the control listener.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control.address
    }

    /// Address of the data listener.
    pub(crate) fn data(&self) -> SocketAddr {
        self.data
    }

    /// Address of the metrics listener, if there is one.
    pub(crate) fn metrics(&self) -> Option<SocketAddr> {
        self.control.metrics
    }

    /// The unit's incarnation.
    pub(crate) fn incarnation(&self) -> u64 {
        self.unit.incarnation()
    }

    /// Serves until SIGTERM or SIGINT; fails if the control service ends by itself. SIGHUP reads the certificates anew.
    /// `renew` is called now and then.
    pub(crate) fn await_end(&mut self, renew: impl Fn()) -> Result<(), Failure> {
        self.runtime.block_on(self.control.await_end(renew))
    }

    /// Ends listeners and connections, then makes everything placed persistent.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        drop(self.scrub);
        self.runtime.block_on(self.control.stop());
        let closed = self.unit.close().map_err(|error| medium_failure(&error));
        self.runtime.shutdown_timeout(DRAIN);
        closed
    }
}

fn control_runtime() -> Result<Runtime, Failure> {
    outlive::threads::runtime(CONTROL_THREADS, "control")
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))
}

fn open(media: &MediaSpec) -> Result<Volume, Failure> {
    media
        .open_volume()
        .map_err(|error| Failure::from_error(Exit::MediaFailed, &error))
}

/// What cannot be used leaves in force what was; it is said, and nothing ends.
fn reload(tls: &ServerTls, audit: &Audit) {
    if let Err(error) = tls.reload() {
        tracing::error!(%error, "certificates cannot be read anew: those before stay in force");
    }
    if let Err(error) = audit.reopen() {
        tracing::error!(%error, "the audit log cannot be opened anew");
    }
}

/// Why the unit's data listener was not started.
fn data_failure(error: &UnitError) -> Failure {
    match error {
        UnitError::Listen { address, source } => {
            Failure::listening("data connections", *address, source, "--data")
        }
        error => Failure::from_error(Exit::Failure, error),
    }
}

/// What is wrong with the medium says all; that the unit cannot use it, therefore, goes without saying.
fn medium_failure(error: &UnitError) -> Failure {
    match error {
        UnitError::Media(medium) => Failure::from_error(Exit::MediaFailed, medium),
        error => Failure::from_error(Exit::MediaFailed, error),
    }
}
