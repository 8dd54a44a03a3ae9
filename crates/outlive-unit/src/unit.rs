//! The unit itself.

use std::net::SocketAddr;

use outlive_media::{MediaError, MediaSpec, Volume};
use outlive_proto::v1::unit_admin_client::UnitAdminClient;
use thiserror::Error;
use tonic::transport::Channel;

use crate::UnitOptions;

/// Media exported on a fabric. Cheap to clone; may be used from any thread. Dropping the last clone
/// ends nothing by itself: [`close`](Self::close) does.
#[derive(Clone)]
pub struct Unit {}

impl Unit {
    /// Opens (on first use: formats) the media and raises its incarnation.
    ///
    /// # Errors
    /// [`UnitError::Media`].
    pub fn open(spec: &MediaSpec, options: UnitOptions) -> Result<Self, UnitError> {
        Self::on(spec.open_volume()?, options)
    }

    /// Exports a volume that is open already.
    ///
    /// # Errors
    /// [`UnitError::Media`].
    pub fn on(volume: Volume, options: UnitOptions) -> Result<Self, UnitError> {
        let _ = (volume, options);
        unimplemented!()
    }

    /// Starts the tcp data listener; returns the address it is bound to. Do this before a manager attaches.
    ///
    /// # Errors
    /// [`UnitError::Listen`].
    pub fn serve_data(&self, address: SocketAddr) -> Result<SocketAddr, UnitError> {
        let _ = address;
        unimplemented!()
    }

    /// The admin service (`outlive_proto::v1::unit_admin_server::UnitAdmin`), to be wrapped in a `UnitAdminServer`.
    pub fn admin(&self) -> AdminService {
        unimplemented!()
    }

    /// A client of the admin service over an in-process stream. Call it inside a tokio runtime, which
    /// then carries the service.
    pub fn admin_client(&self) -> UnitAdminClient<Channel> {
        unimplemented!()
    }

    /// This unit's incarnation, raised and persistent since it was opened.
    pub fn incarnation(&self) -> u64 {
        unimplemented!()
    }

    /// The volume, for those who show or check it.
    pub fn volume(&self) -> &Volume {
        unimplemented!()
    }

    /// Stops listener and connections, then makes everything placed persistent. Blocks; bounded by `stop_timeout`.
    ///
    /// # Errors
    /// [`UnitError::Media`] when the last flush fails.
    pub fn close(&self) -> Result<(), UnitError> {
        unimplemented!()
    }
}

/// Implements `UnitAdmin`.
#[derive(Clone)]
pub struct AdminService {}

/// Why a unit cannot start or end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnitError {
    /// The medium.
    #[error("the unit's medium cannot be used")]
    Media(#[from] MediaError),
    /// The data listener.
    #[error("cannot listen for data connections on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
