//! The manager as a value: attach, serve, stop.

use std::sync::Arc;

use outlive_proto::ControlError;
use outlive_proto::v1::manager_server::ManagerServer;
use outlive_proto::v1::{ErrorCode, StatusResponse};
use tokio::task::AbortHandle;
use tonic::service::Routes;

use crate::catalog::Catalog;
use crate::service::Service;
use crate::shared::Shared;
use crate::{AttachError, ManagerOptions, keeper, limits};

/// A manager in charge of one unit. Clones share it; it may be used from any task. When the last clone is
/// dropped, or after [`stop`](Self::stop), it ends its tasks and its catalog thread, and servers made from it
/// answer `SUPERSEDED`.
#[derive(Clone, Debug)]
pub struct Manager {
    kept: Arc<Kept>,
}

/// Ends what keeps the manager attached.
#[derive(Debug)]
struct Kept {
    shared: Arc<Shared>,
    keeper: AbortHandle,
}

impl Manager {
    /// Attaches to the unit (which fences the manager before), recovers the catalog, and reconciles the
    /// connections that are alive with it. From then on the manager keeps itself attached: when the unit is
    /// lost it tries again until the unit is back or another manager has taken over. Call it inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`AttachError`]: the unit refused or is not reachable, or the catalog is damaged.
    pub async fn attach(options: ManagerOptions) -> Result<Self, AttachError> {
        let catalog = Arc::new(Catalog::default());
        let attached = keeper::attach(&options, &catalog).await?;
        let shared = Arc::new(Shared::new(options, catalog));
        let events = keeper::enter(&shared, attached);
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&shared), events)).abort_handle();
        Ok(Self {
            kept: Arc::new(Kept { shared, keeper }),
        })
    }

    /// The `outlive.v1.Manager` service, to be added to a server whose connections know their
    /// [`Caller`](outlive_identity::Caller) (`outlive_identity::listen`): without one nothing is answered.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let service = ManagerServer::new(Service::new(Arc::clone(&self.kept.shared)));
        Routes::new(service.max_decoding_message_size(limits::REQUEST_BYTES))
    }

    /// Units, regions and pairs, all of them: for this process's own use.
    ///
    /// # Errors
    /// As for the call `Status`.
    pub async fn status(&self) -> Result<StatusResponse, ControlError> {
        self.kept.shared.status_of_all().await
    }

    /// The manager generation under which this manager is attached now; 0 while its unit is away.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.kept
            .shared
            .attached()
            .map_or(0, |attachment| attachment.manager_generation())
    }

    /// Stops working: changes in progress end with an unknown outcome, as if the process had been killed.
    pub fn stop(&self) {
        self.kept.stop();
    }
}

impl Kept {
    fn stop(&self) {
        self.keeper.abort();
        self.shared.set_ended(ControlError::new(
            ErrorCode::Superseded,
            "this manager was stopped",
        ));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop();
    }
}
