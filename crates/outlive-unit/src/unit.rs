//! The unit itself.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use outlive_fabric::Admission;
use outlive_fabric::tcp::{DataCertificate, Encryption, Limits, Listener, TlsError, TlsPolicy};
use outlive_identity::{Name, ServerTls};
use outlive_media::{MediaError, MediaSpec, Volume};
use outlive_proto::v1::ScrubState;
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::admin::{AdminService, network};
use crate::core::Core;
use crate::counters::Totals;
use crate::events::Event;
use crate::{UnitOptions, in_process};

/// Media exported on a fabric. Cheap to clone; may be used from any thread. When the last clone is
/// dropped, listener and connections end; [`close`](Self::close) also flushes.
///
/// ```
/// use outlive_unit::{AttachSecret, Unit, UnitOptions};
///
/// let secret = AttachSecret::random()?;
/// let unit = Unit::open(&"memory:size=16MiB".parse()?, UnitOptions::new(secret))?;
/// let address = unit.serve_data("127.0.0.1:0".parse()?)?;
/// assert_ne!(address.port(), 0);
/// assert_eq!(unit.incarnation(), 1);
/// unit.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Unit {
    core: Arc<Core>,
    listener: Arc<Mutex<Option<Listener>>>,
}

impl Unit {
    /// Opens (on first use: formats) the media and raises its incarnation.
    ///
    /// # Errors
    /// [`UnitError::Media`].
    pub fn open(spec: &MediaSpec, options: UnitOptions) -> Result<Self, UnitError> {
        Ok(Self::on(spec.open_volume()?, options))
    }

    /// Exports a volume that is open already.
    pub fn on(volume: Volume, options: UnitOptions) -> Self {
        Self {
            core: Arc::new(Core::new(volume, options)),
            listener: Arc::default(),
        }
    }

    /// Starts the tcp data listener; returns the address it is bound to. Do this, once, before a manager
    /// attaches.
    ///
    /// # Errors
    /// [`UnitError::Listen`].
    pub fn serve_data(&self, address: SocketAddr) -> Result<SocketAddr, UnitError> {
        self.serve_data_with(address, Limits::default())
    }

    /// As [`serve_data`](Self::serve_data), with limits of the caller's.
    ///
    /// # Errors
    /// [`UnitError::Listen`].
    pub fn serve_data_with(&self, address: SocketAddr, limits: Limits) -> Result<SocketAddr, UnitError> {
        let failed = |source| UnitError::Listen { address, source };
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.is_some() {
            return Err(failed(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the unit listens already",
            )));
        }
        let encryption = self.encryption(address)?;
        let max_connections = limits.connections;
        let bound = Listener::bind_with(address, Arc::clone(&self.core) as _, limits, encryption.clone());
        let bound = bound.map_err(failed)?;
        let address = bound.local_addr();
        self.core.set_listening(address, max_connections, encryption);
        *listener = Some(bound);
        tracing::info!(%address, "unit serves data");
        Ok(address)
    }

    /// Who decides which connections are let in: for a provider of the fabric other than tcp, which serves it. Clients are then
    /// told the address in [`UnitOptions::advertise`].
    pub fn admission(&self) -> Arc<dyn Admission> {
        Arc::clone(&self.core) as _
    }

    /// How connections to `address` are encrypted. The certificate is made anew at each start; managers are told.
    fn encryption(&self, address: SocketAddr) -> Result<Option<Encryption>, UnitError> {
        let options = &self.core.options;
        // An address that others are told leaves the host, whatever leads from there to here.
        let leaves_host = || {
            let advertised = options.advertise.as_deref();
            advertised.is_some_and(|address| TlsPolicy::Allow.encrypts(address))
        };
        let policy = match options.data_tls {
            Some(policy) => policy,
            None if leaves_host() => TlsPolicy::Require,
            None => TlsPolicy::default_for(address.ip()),
        };
        if policy == TlsPolicy::Off {
            return Ok(None);
        }
        let certificate = DataCertificate::ephemeral()?;
        Ok(Some(Encryption { policy, certificate }))
    }

    /// The admin service, to be wrapped in `outlive_proto::v1::unit_admin_server::UnitAdminServer`.
    pub fn admin(&self) -> AdminService {
        AdminService::new(Arc::clone(&self.core))
    }

    /// A client of the admin service over a stream inside this process. The tokio runtime on which it is first
    /// used carries the service.
    pub fn admin_client(&self) -> UnitAdminClient<Channel> {
        in_process::client(self.admin())
    }

    /// Serves the admin service over mutual TLS on `listener` until `stopped`: to the `managers` that are named, and to
    /// nobody else, whatever certificate they have. A manager that was let in needs no other proof. Call it inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`UnitError::ServeAdmin`].
    pub async fn serve_admin(
        &self,
        listener: TcpListener,
        tls: ServerTls,
        managers: Vec<Name>,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), UnitError> {
        let audit = self.core.options.audit.clone();
        let incoming =
            network::admit(listener, tls, audit).map_err(|error| UnitError::ServeAdmin(error.into()))?;
        let address = incoming.local_addr();
        tracing::info!(%address, ?managers, "unit serves managers");
        network::serve(self.admin(), incoming, managers, stopped)
            .await
            .map_err(|error| UnitError::ServeAdmin(error.into()))
    }

    /// This unit's incarnation, raised (and persistent, where the medium can) since it was opened.
    pub fn incarnation(&self) -> u64 {
        self.core.volume.incarnation()
    }

    /// The volume, for those who show or check it.
    pub fn volume(&self) -> &Volume {
        &self.core.volume
    }

    /// Tells managers what scrubbing found, where whoever runs the unit does that beside it.
    pub fn tell_scrub(&self, state: ScrubState) {
        *self.core.scrub() = Some(state);
    }

    /// What was told last about scrubbing.
    pub fn scrub_told(&self) -> Option<ScrubState> {
        self.core.scrub().clone()
    }

    /// What was done since it was opened.
    pub fn totals(&self) -> Totals {
        self.core.totals()
    }

    /// Stops listener and connections, then makes everything placed as durable as the medium can. Nobody is let in
    /// any more. Blocks; idempotent.
    ///
    /// # Errors
    /// [`UnitError::Media`] when the last flush fails.
    pub fn close(&self) -> Result<(), UnitError> {
        self.core.stop_all();
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(listener) = listener {
            listener.shutdown();
        }
        self.core.events.send(Event::Ending);
        self.core.volume.medium().settle()?;
        Ok(())
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("volume", &self.core.volume)
            .finish_non_exhaustive()
    }
}

/// Why a unit cannot start or end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnitError {
    /// The medium.
    #[error("the unit's medium cannot be used")]
    Media(#[from] MediaError),
    /// The data listener's encryption.
    #[error("data connections cannot be encrypted")]
    Encrypt(#[from] TlsError),
    /// The data listener.
    #[error("cannot listen for data connections on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The admin service over the network.
    #[error("cannot serve managers over the network")]
    ServeAdmin(#[source] Box<dyn std::error::Error + Send + Sync>),
}
