//! Where clients wait while everything is checked.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Open: clients pass. Closed: they wait. Ended: they go home.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    closed: bool,
    ended: bool,
    /// Clients at work, so not waiting and not gone.
    working: usize,
}

/// A client's place at the gate; dropped when it goes home.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                closed: false,
                ended: false,
                working: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// A client comes to work.
    pub(crate) fn enter(&self) -> Pass<'_> {
        self.lock().working += 1;
        Pass(self)
    }

    /// Closes the gate and waits until every client waits before it, or is gone. False after `timeout`.
    pub(crate) fn close(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        state.closed = true;
        while state.working > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Lets clients pass again.
    pub(crate) fn open(&self) {
        self.lock().closed = false;
        self.changed.notify_all();
    }

    /// Sends every client home.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after each statement, so a panicking client leaves it good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Waits while the gate is closed. False: go home.
    pub(crate) fn pass(&self) -> bool {
        let mut state = self.0.lock();
        if state.closed && !state.ended {
            state.working -= 1;
            self.0.changed.notify_all();
            while state.closed && !state.ended {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.working += 1;
        }
        !state.ended
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.lock().working -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn nobody_works_behind_a_closed_gate() {
        let (gate, work) = (Gate::new(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let pass = gate.enter();
                    while pass.pass() {
                        work.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..10 {
                while work.swap(0, Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                assert!(gate.close(LONG));
                work.store(0, Ordering::SeqCst);
                for _ in 0..100 {
                    std::thread::yield_now();
                    assert_eq!(work.load(Ordering::SeqCst), 0);
                }
                gate.open();
            }
            gate.end();
        });
        assert!(gate.close(LONG), "those who went home are not waited for");
    }

    #[test]
    fn a_client_that_does_not_come_back_is_not_waited_for_ever() {
        let gate = Gate::new();
        let _stuck = gate.enter();
        assert!(!gate.close(Duration::from_millis(10)));
    }
}
