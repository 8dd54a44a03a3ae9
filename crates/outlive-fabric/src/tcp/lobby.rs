//! Where connections wait that are not admitted: the [`Unfinished`] handshakes and the threads that serve them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::unfinished::{Source, Stage, Unfinished};
use crate::ConnectionId;

/// Threads whose handshake was given up for a newcomer and that have not ended yet. They do as soon as they run.
const DRIVEN_OUT: usize = 64;
/// How soon the end of the listener is noticed while there is no place.
const PAUSE: Duration = Duration::from_millis(20);

/// Bounds handshakes and their threads, whatever comes in.
pub(super) struct Lobby {
    state: Mutex<State>,
    changed: Condvar,
    bound: usize,
}

struct State {
    unfinished: Unfinished,
    threads: usize,
}

impl Lobby {
    pub(super) fn new(handshakes: usize, handshakes_per_source: usize) -> Self {
        Self {
            state: Mutex::new(State {
                unfinished: Unfinished::new(handshakes, handshakes_per_source),
                threads: 0,
            }),
            changed: Condvar::new(),
            bound: handshakes.max(1) + DRIVEN_OUT,
        }
    }

    /// Waits for a place for a newcomer and its thread, which [`leave`](Self::leave) gives back. Whom it drives out is
    /// to be stopped. `None` when the listener ends meanwhile.
    pub(super) fn enter(
        &self,
        connection: ConnectionId,
        source: Source,
        closing: &AtomicBool,
    ) -> Option<Option<ConnectionId>> {
        let mut state = self.state();
        loop {
            if closing.load(Ordering::SeqCst) {
                return None;
            }
            let now = Instant::now();
            let mut pause = PAUSE;
            if state.threads < self.bound {
                match state.unfinished.begin(connection, source, now) {
                    Ok(driven_out) => {
                        state.threads += 1;
                        return Some(driven_out);
                    }
                    Err(again) => pause = again.saturating_duration_since(now).min(PAUSE),
                }
            }
            let waited = self.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A handshake has come as far as `stage`.
    pub(super) fn reach(&self, connection: ConnectionId, stage: Stage) {
        self.state().unfinished.reach(connection, stage);
        self.changed.notify_one();
    }

    /// A handshake is finished: nobody drives it out any more. False where somebody has.
    pub(super) fn finish(&self, connection: ConnectionId) -> bool {
        let finished = self.state().unfinished.end(connection);
        self.changed.notify_one();
        finished
    }

    /// A connection was admitted, or is over: its thread counts here no more.
    pub(super) fn leave(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.unfinished.end(connection);
        state.threads -= 1;
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_were_driven_out_are_bounded_too() {
        let lobby = Lobby::new(1, 1);
        let source = Source::of(IpAddr::from([10, 0, 0, 1]));
        let closing = AtomicBool::new(false);
        let most = 1 + DRIVEN_OUT as u64;
        for number in 1..=most {
            let entered = lobby.enter(ConnectionId(number), source, &closing);
            let before = (number > 1).then(|| ConnectionId(number - 1));
            assert_eq!(entered, Some(before));
            lobby.reach(ConnectionId(number), Stage::Refused);
        }
        thread::scope(|scope| {
            let waiting = scope.spawn(|| lobby.enter(ConnectionId(0), source, &closing));
            // One that was driven out long ago ends.
            lobby.leave(ConnectionId(1));
            assert_eq!(waiting.join().expect("entered"), Some(Some(ConnectionId(most))));
        });
        closing.store(true, Ordering::SeqCst);
        assert_eq!(lobby.enter(ConnectionId(99), source, &closing), None);
    }
}
