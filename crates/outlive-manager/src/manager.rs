//! The manager as a value: attach, serve, stop.

use crate::{AttachError, BearerAuth, ManagerOptions};

/// A manager in charge of one unit. Clones share it; it may be used from any task. When the last clone and
/// the last server made from it are dropped, its tasks and its catalog thread end.
#[derive(Clone, Debug)]
pub struct Manager {}

impl Manager {
    /// Attaches to the unit (which fences the manager before), recovers the catalog, and reconciles the
    /// connections that are alive with it. From then on the manager keeps itself attached: when the unit is
    /// lost it tries again until the unit is back or another manager has taken over.
    ///
    /// # Errors
    /// [`AttachError`]: the unit refused or is not reachable, or the catalog is damaged.
    pub async fn attach(options: ManagerOptions) -> Result<Self, AttachError> {
        let _ = options;
        Err(AttachError::Catalog("being written".into()))
    }

    /// Adds the `Manager` service to a router (`tonic::service::Routes`), behind `auth`.
    #[must_use]
    pub fn routes(&self, auth: BearerAuth) -> tonic::service::Routes {
        let _ = auth;
        tonic::service::Routes::default()
    }

    /// The manager generation under which this manager is attached now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        0
    }
}
