//! The running member of a pair: threads and connections around the pure parts.
//!
//! A member has a *core* thread, which owns the service and the connection to the region and
//! drives the [`Node`](crate::machine::Node); while it is primary a *release* thread, which waits for
//! commits and lets replies go, so that several sets are on their way at a time; and a *report* thread,
//! which tells the manager. Callers wait in a bounded queue in front of the core.

mod core;
mod effects;
mod pace;
mod region;
mod release;
mod report;
mod shared;

use std::future::Future;
use std::sync::Arc;
use std::thread;

use outlive::Session;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::machine::Ask;
use crate::{CallError, ConfigError, MemberMetrics, PairConfig, Request, Role, RoleView, Service, SessionId};

use self::core::Core;
use self::report::Reporter;
use self::shared::{Counters, Input, Queued, Shared};

/// A handle to one member of a pair. Cheap to clone; usable from any thread and from async code.
///
/// When the last handle is dropped without [`leave`](Self::leave) the member ends without handing
/// over: calls under way fail, and its backup takes over as after a crash.
#[derive(Clone)]
pub struct Member {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    calls: mpsc::Sender<Queued>,
    max_request_bytes: usize,
}

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
        config.check()?;
        let (calls, queue) = mpsc::channel(config.flow.queued_requests);
        let (input_sender, inputs) = mpsc::unbounded_channel();
        let (view, _) = watch::channel(RoleView {
            role: Role::Starting,
            primary: None,
            generation: 0,
            stopped: None,
            last_takeover: None,
        });
        let shared = Arc::new(Shared {
            advertise: config.advertise.clone(),
            view,
            inputs: input_sender,
            callers: shared::Callers::default(),
            counters: Counters::default(),
        });
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| StartError::Random(error.to_string()))?;
        let reporter = Reporter::start(Arc::clone(&shared), session.clone(), config.pair.clone(), id)
            .map_err(StartError::Thread)?;
        let max_request_bytes = config.flow.batch_bytes;
        let core = Core::new(
            Arc::clone(&shared),
            session,
            config,
            service,
            inputs,
            queue,
            reporter,
        )
        .map_err(StartError::Thread)?;
        thread::Builder::new()
            .name("pair-core".into())
            .spawn(move || core.run())
            .map_err(StartError::Thread)?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                calls,
                max_request_bytes,
            }),
        })
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
        let limit_bytes = self.inner.max_request_bytes;
        if request.body.len() > limit_bytes {
            return Err(CallError::TooLarge {
                bytes: request.body.len(),
                limit_bytes,
            });
        }
        self.ask(Ask::Request(request)).await
    }

    /// Opens a client session, whose numbered requests are carried out once. Ask again if it fails
    /// with a retryable error: a session that nobody uses is evicted in time.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn open_session(&self) -> Result<SessionId, CallError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| CallError::Stopped {
            why: error.to_string(),
        })?;
        let session = SessionId(u128::from_le_bytes(random));
        self.ask(Ask::OpenSession(session)).await?.await?;
        Ok(session)
    }

    /// The member's role now.
    pub fn role(&self) -> RoleView {
        self.inner.shared.view.borrow().clone()
    }

    /// The role and its changes: `borrow_and_update` for the present one, `changed().await` for the next.
    pub fn changes(&self) -> watch::Receiver<RoleView> {
        self.inner.shared.view.subscribe()
    }

    /// Waits until the member is primary, backup or stopped for the first time.
    pub async fn settled(&self) -> RoleView {
        self.wait_until(|view| matches!(view.role, Role::Primary | Role::Backup | Role::Stopped))
            .await
    }

    /// Waits until the role is as wanted, or the member has stopped.
    pub async fn wait_until(&self, wanted: impl Fn(&RoleView) -> bool) -> RoleView {
        let mut changes = self.changes();
        let found = changes
            .wait_for(|view| wanted(view) || view.role == Role::Stopped)
            .await;
        found.map(|view| view.clone()).unwrap_or_else(|_| self.role())
    }

    /// Counters since the start.
    pub fn metrics(&self) -> MemberMetrics {
        self.inner.shared.counters.read()
    }

    /// As primary: hands over to the backup and becomes backup. Every request accepted before is
    /// carried out and answered; later ones get [`CallError::NotPrimary`]. Without a backup this
    /// member resumes after a while. Returns when another member is primary, or this one again.
    ///
    /// # Errors
    /// [`CallError::NotPrimary`] on a member that is not primary, [`CallError::Stopped`] if it ended.
    pub async fn switchover(&self) -> Result<RoleView, CallError> {
        let before = self.role();
        if before.role != Role::Primary {
            return Err(self.not_serving(&before));
        }
        self.tell(Input::Switchover);
        let advertise = &self.inner.shared.advertise;
        let after = self
            .wait_until(|view| {
                view.generation > before.generation && view.primary.is_some()
                    || view.role == Role::Backup && view.primary.as_ref().is_some_and(|at| at != advertise)
            })
            .await;
        if after.role == Role::Stopped {
            Err(self.not_serving(&after))
        } else {
            Ok(after)
        }
    }

    /// Ends the member as planned: a primary finishes what it accepted and closes the region, so
    /// that its backup takes over at once. Returns when the member has stopped.
    pub async fn leave(&self) -> RoleView {
        self.tell(Input::Leave);
        self.wait_until(|_| false).await
    }

    async fn ask(
        &self,
        ask: Ask,
    ) -> Result<impl Future<Output = Result<Vec<u8>, CallError>> + Send + use<>, CallError> {
        // A member that is not primary need not queue what it will refuse.
        let refused = {
            let view = self.inner.shared.view.borrow();
            (view.role != Role::Primary).then(|| self.not_serving(&view))
        };
        if let Some(error) = refused {
            return Err(error);
        }
        let (reply, answer) = oneshot::channel();
        let queued = self.inner.calls.send(Queued { ask, reply }).await;
        queued.map_err(|_| self.not_serving(&self.role()))?;
        let shared = Arc::clone(&self.inner.shared);
        Ok(async move {
            match answer.await {
                Ok(result) => result.map_err(|error| shared.name_primary(error)),
                // The core ended by a panic of the service: what it had journalled may be carried out.
                Err(_) => Err(CallError::OutcomeUnknown { primary: None }),
            }
        })
    }

    fn not_serving(&self, view: &RoleView) -> CallError {
        if view.role == Role::Stopped {
            let why = view.stopped.clone().unwrap_or_else(|| "it left".into());
            return CallError::Stopped { why };
        }
        let elsewhere = view
            .primary
            .clone()
            .filter(|at| *at != self.inner.shared.advertise);
        CallError::NotPrimary { primary: elsewhere }
    }

    fn tell(&self, input: Input) {
        // The core is gone only when the member has stopped.
        let _ = self.inner.shared.inputs.send(input);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The core is gone only when the member has stopped.
        let _ = self.shared.inputs.send(Input::Dropped);
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
    /// The operating system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}
