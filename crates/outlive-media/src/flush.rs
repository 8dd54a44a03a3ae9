//! Sharing one flush between all who wait for it.
//!
//! A flush counts only for writes placed before it began. So whoever asks needs the first flush that
//! begins after the question: one of the waiting runs it (the *leader*), the others wait for its outcome.
//! While it runs, newcomers gather for the next one.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::MediaError;

/// Lets concurrent persists share flushes, and remembers for ever that one failed.
#[derive(Debug, Default)]
pub struct FlushGroup {
    turns: Mutex<Turns>,
    turned: Condvar,
    poisoned: AtomicBool,
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct Turns {
    /// Flushes that have begun. They run one at a time.
    begun: u64,
    /// Flushes that have succeeded: those numbered 1 up to this.
    succeeded: u64,
    /// A flush is running now.
    running: bool,
    /// Why the medium is poisoned.
    failure: Option<String>,
}

impl FlushGroup {
    /// Returns after a flush that began after this call has succeeded: `flush`, run by this caller or by
    /// another. All callers must pass a `flush` of the same medium.
    ///
    /// # Errors
    /// [`MediaError::Poisoned`] if that flush or any before it failed.
    pub fn persist(&self, flush: impl FnOnce() -> io::Result<()>) -> Result<(), MediaError> {
        let mut turns = self.lock();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let needed = turns.begun + 1;
        while turns.succeeded < needed {
            turns.check()?;
            if turns.running {
                turns = self.turned.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            turns.begun += 1;
            turns.running = true;
            drop(turns);
            // Settles the turn even if the backend panics: the others must not wait for ever.
            let mut lead = Lead {
                group: self,
                outcome: Err(io::Error::other("the flush did not end")),
            };
            lead.outcome = flush();
            drop(lead);
            let turns = self.lock();
            return if turns.succeeded >= needed {
                Ok(())
            } else {
                turns.check()
            };
        }
        Ok(())
    }

    /// Fails once a flush has failed. Cheap: one load.
    ///
    /// # Errors
    /// [`MediaError::Poisoned`].
    pub fn check(&self) -> Result<(), MediaError> {
        if self.poisoned.load(Ordering::Acquire) {
            self.lock().check()
        } else {
            Ok(())
        }
    }

    /// Why the medium is poisoned, if it is.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// How often a persist was asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many flushes have begun.
    pub fn flushes(&self) -> u64 {
        self.lock().begun
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn check(&self) -> Result<(), MediaError> {
        match &self.failure {
            Some(reason) => Err(MediaError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }
}

struct Lead<'a> {
    group: &'a FlushGroup,
    outcome: io::Result<()>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut turns = self.group.lock();
        turns.running = false;
        match &self.outcome {
            Ok(()) => turns.succeeded = turns.begun,
            Err(error) => {
                turns.failure = Some(error.to_string());
                self.group.poisoned.store(true, Ordering::Release);
                tracing::error!(%error, "a flush failed; the medium is poisoned");
            }
        }
        drop(turns);
        self.group.turned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Holds a flush until told how it ends.
    fn held(began: mpsc::Sender<()>, end: mpsc::Receiver<io::Result<()>>) -> impl FnOnce() -> io::Result<()> {
        move || {
            began.send(()).expect("the test listens");
            end.recv().expect("the test says how it ends")
        }
    }

    #[test]
    fn a_flush_that_began_before_does_not_count() {
        let group = FlushGroup::default();
        let (began, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let (late_began, late_begins) = mpsc::channel();
        let (late_end, late_ends) = mpsc::channel();
        thread::scope(|scope| {
            let early = scope.spawn(|| group.persist(held(began, ends)));
            begins.recv().expect("the first flush begins");
            let late = scope.spawn(|| group.persist(held(late_began, late_ends)));
            while group.asked() < 2 {
                thread::yield_now();
            }
            end.send(Ok(())).expect("the first flush waits");
            early.join().expect("no panic").expect("its own flush succeeded");
            late_begins
                .recv()
                .expect("the late caller runs a flush of its own");
            assert!(!late.is_finished());
            late_end.send(Ok(())).expect("it waits");
            late.join().expect("no panic").expect("succeeded");
        });
        assert_eq!(group.flushes(), 2);
    }

    #[test]
    fn callers_that_wait_share_the_next_flush() {
        const WAITING: u64 = 8;
        let group = FlushGroup::default();
        let (began, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| group.persist(held(began, ends)));
            begins.recv().expect("begins");
            let waiting: Vec<_> = (0..WAITING)
                .map(|_| scope.spawn(|| group.persist(|| Ok(()))))
                .collect();
            // Each holds the lock from its count until it sleeps.
            while group.asked() < WAITING + 1 {
                thread::yield_now();
            }
            drop(group.lock());
            end.send(Ok(())).expect("waits");
            for caller in waiting {
                caller.join().expect("no panic").expect("succeeded");
            }
        });
        assert_eq!(group.flushes(), 2);
        assert_eq!(group.asked(), WAITING + 1);
    }

    #[test]
    fn a_failed_flush_fails_all_who_share_it_and_all_after() {
        let group = FlushGroup::default();
        let (began, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        thread::scope(|scope| {
            let leader = scope.spawn(|| group.persist(held(began, ends)));
            begins.recv().expect("begins");
            let follower = scope.spawn(|| group.persist(|| Ok(())));
            while group.asked() < 2 {
                thread::yield_now();
            }
            end.send(Err(io::Error::other("device gone"))).expect("waits");
            assert!(leader.join().expect("no panic").is_err());
            assert!(follower.join().expect("no panic").is_err());
        });
        let again = group.persist(|| panic!("a poisoned medium is not flushed again"));
        assert!(matches!(again, Err(MediaError::Poisoned { reason }) if reason.contains("device gone")));
        assert!(group.check().is_err());
    }

    #[test]
    fn a_backend_that_panics_poisons_and_nobody_hangs() {
        let group = FlushGroup::default();
        let outcome = thread::scope(|scope| scope.spawn(|| group.persist(|| panic!("bug"))).join());
        assert!(outcome.is_err());
        assert!(matches!(
            group.persist(|| Ok(())),
            Err(MediaError::Poisoned { .. })
        ));
    }
}
