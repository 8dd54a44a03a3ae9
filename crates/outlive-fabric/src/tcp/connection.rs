//! What a target's side of one connection shares between its thread and those who stop it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::socket::Wake;
use crate::{Connection, ConnectionId, Refusal};

/// A connection as its target may stop it.
///
/// Stopping sets a flag that the connection's thread reads before every operation and every piece of
/// a large one, and wakes it wherever it waits (its socket never blocks). The thread confirms when
/// it has left the code that places bytes. What the other side does, or whether it runs at all,
/// does not matter.
pub(super) struct TcpConnection {
    id: ConnectionId,
    peer: String,
    stopping: AtomicBool,
    wake: Wake,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reason: Option<Refusal>,
    stopped: bool,
}

impl TcpConnection {
    pub(super) fn new(id: ConnectionId, peer: String) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            id,
            peer,
            stopping: AtomicBool::new(false),
            wake: Wake::new()?,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Why it was asked to stop, if it was.
    pub(super) fn stop_reason(&self) -> Option<Refusal> {
        self.state().reason.clone()
    }

    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// The connection's thread will place nothing any more.
    pub(super) fn confirm_stopped(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection for TcpConnection {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn stop(&self, reason: Refusal) {
        self.state().reason.get_or_insert(reason);
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.wake();
    }

    fn await_stopped(&self, timeout: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.state();
        while !state.stopped {
            let Some(left) = timeout
                .checked_sub(begun.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
