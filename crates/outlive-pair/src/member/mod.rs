//! The running member of a pair: threads and connections around the pure parts.

use std::future::Future;

use outlive::Session;
use thiserror::Error;
use tokio::sync::watch;

use crate::{CallError, ConfigError, MemberMetrics, PairConfig, Request, RoleView, Service, SessionId};

/// A handle to one member of a pair. Cheap to clone; usable from any thread and, but for
/// [`start`](Self::start), from async code.
///
/// When the last handle is dropped without [`leave`](Self::leave) the member ends as in a crash:
/// its region is not closed, calls under way fail, and its backup takes over.
#[derive(Clone)]
pub struct Member {}

impl Member {
    /// Starts a member: it becomes primary if the pair has none, else backup. Returns at once;
    /// [`settled`](Self::settled) waits until it is one of the two.
    ///
    /// `service` is in its initial state; what the pair's region holds is restored into it.
    ///
    /// # Errors
    /// [`StartError`] where the configuration is not usable or a thread cannot be started. What
    /// happens later is told by [`role`](Self::role).
    pub fn start(session: Session, config: PairConfig, service: impl Service) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Sends one request and awaits its reply: [`send`](Self::send) and then the reply.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: Request) -> Result<Vec<u8>, CallError> {
        self.send(request).await?.await
    }

    /// Hands one request to the member, waiting while its queue is full, and returns what to await
    /// for the reply. Requests handed over one after the other are carried out in that order, so a
    /// connection that pipelines calls `send` for each in turn and awaits the replies in the same
    /// order. Dropping the returned future gives up the reply, not the request.
    ///
    /// # Errors
    /// [`CallError`] where the request was not accepted; [`CallError::NotPrimary`] at once on a backup.
    pub async fn send(
        &self,
        request: Request,
    ) -> Result<impl Future<Output = Result<Vec<u8>, CallError>> + Send + use<>, CallError> {
        unimplemented!();
        #[allow(unreachable_code)]
        Ok(std::future::pending())
    }

    /// Opens a client session, whose numbered requests are carried out once. Ask again if it fails
    /// with a retryable error: a session that nobody uses is evicted in time.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn open_session(&self) -> Result<SessionId, CallError> {
        unimplemented!()
    }

    /// The member's role now.
    pub fn role(&self) -> RoleView {
        unimplemented!()
    }

    /// The role and its changes: `borrow_and_update` for the present one, `changed().await` for the next.
    pub fn changes(&self) -> watch::Receiver<RoleView> {
        unimplemented!()
    }

    /// Waits until the member is primary, backup or stopped for the first time.
    pub async fn settled(&self) -> RoleView {
        unimplemented!()
    }

    /// Counters since the start.
    pub fn metrics(&self) -> MemberMetrics {
        unimplemented!()
    }

    /// As primary: hands over to the backup and becomes backup. Every request accepted before is
    /// carried out and answered; later ones get [`CallError::NotPrimary`]. Without a backup this
    /// member resumes after a while. Returns when another member is primary, or this one again.
    ///
    /// # Errors
    /// [`CallError::NotPrimary`] on a member that is not primary, [`CallError::Stopped`] if it ended.
    pub async fn switchover(&self) -> Result<RoleView, CallError> {
        unimplemented!()
    }

    /// Ends the member as planned: a primary finishes what it accepted and closes the region, so
    /// that its backup takes over at once. Returns when the member has stopped.
    pub async fn leave(&self) -> RoleView {
        unimplemented!()
    }
}

/// A member could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system refused a thread.
    #[error("cannot start a thread for the member")]
    Thread(#[source] std::io::Error),
}
