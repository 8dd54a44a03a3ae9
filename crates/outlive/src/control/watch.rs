//! A region's events, kept as the last known state.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outlive_identity::ConnectError;
use outlive_proto::FromStatus;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{self, ErrorCode, RegionEvent, WatchRegionRequest};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::Client;

/// Pause before a broken stream is asked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause of one who is refused: only somebody else can change that.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of a region from its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// The state that the last event carried.
    pub(crate) region: Option<v1::Region>,
    /// The unit's incarnation, as the last event told.
    pub(crate) incarnation: u64,
    /// When the owner's connection was told to have broken, and in which incarnation of the unit.
    pub(crate) owner_lost: Option<(Instant, u64)>,
    /// Since when the region is known to have an owner without a connection: it has not connected yet, or is gone.
    pub(crate) absent: Option<Instant>,
    /// The owner gave it up.
    pub(crate) closed: bool,
    /// The region is gone.
    pub(crate) deleted: bool,
    /// Counts events, so that a waiter can tell whether something came.
    pub(crate) events: u64,
}

/// Follows a region's events in the background until dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    state: Mutex<Watched>,
    changed: Condvar,
}

impl Watch {
    pub(super) fn start(handle: &Handle, client: Client, region: &str) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let task = handle
            .spawn(follow(client, region.to_owned(), Arc::clone(&shared)))
            .abort_handle();
        Self { shared, task }
    }

    /// What is known now.
    pub(crate) fn now(&self) -> Watched {
        self.shared.lock().clone()
    }

    /// Waits until there was an event after number `seen`, up to `timeout`.
    pub(crate) fn wait(&self, seen: u64, timeout: Duration) -> Watched {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |state| state.events == seen)
            .unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, event: RegionEvent) {
        let mut state = self.lock();
        let kind = event.kind();
        let region = event.region.unwrap_or_default();
        let absent = !region.owner.is_empty() && !region.owner_alive;
        let now = Instant::now();
        state.absent = if absent { state.absent.or(Some(now)) } else { None };
        match kind {
            Kind::OwnerLost => state.owner_lost = Some((now, event.incarnation)),
            _ if absent => {}
            _ => state.owner_lost = None,
        }
        state.closed = kind == Kind::OwnerClosed;
        state.deleted = kind == Kind::Deleted;
        state.incarnation = event.incarnation;
        state.region = Some(region);
        state.events += 1;
        drop(state);
        self.changed.notify_all();
    }
}

async fn follow(client: Client, region: String, shared: Arc<Shared>) {
    let mut pause = PAUSE;
    loop {
        let request = WatchRegionRequest { name: region.clone() };
        match client.clone().watch_region(request).await {
            Ok(stream) => {
                pause = PAUSE;
                let mut stream = stream.into_inner();
                while let Ok(Some(event)) = stream.message().await {
                    shared.apply(event);
                }
            }
            Err(status) => {
                let code = status.control_error().map(|error| error.code);
                if code == Some(ErrorCode::NoSuchRegion) {
                    shared.apply(RegionEvent {
                        kind: Kind::Deleted.into(),
                        ..RegionEvent::default()
                    });
                }
                let refused = std::error::Error::source(&status)
                    .and_then(ConnectError::find)
                    .map_or(code == Some(ErrorCode::NoAccess), ConnectError::is_final);
                pause = if refused {
                    (pause * 2).min(LONGEST_PAUSE)
                } else {
                    PAUSE
                };
                tracing::debug!(region, %status, "cannot watch, trying again");
            }
        }
        tokio::time::sleep(pause).await;
    }
}
