//! Why a manager could not take charge of its unit.

use outlive_fabric::FabricError;
use outlive_proto::ControlError;
use thiserror::Error;

/// Why a manager could not take charge of its unit.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The unit refused, or could not be reached.
    #[error("cannot attach to the unit")]
    Unit(#[source] ControlError),
    /// The catalog's data connection failed.
    #[error("cannot reach the catalog over the fabric")]
    Fabric(#[from] FabricError),
    /// The system gives no thread.
    #[error("cannot start the thread that writes the catalog")]
    Thread(#[source] std::io::Error),
    /// The catalog's bytes are damaged: run `fsck` on the medium.
    #[error("the catalog is damaged: {0}")]
    Catalog(String),
}
