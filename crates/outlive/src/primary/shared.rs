//! What a primary's handle, its commits and its driver thread share.
//!
//! Whoever waits first leads: it drives the connection itself, so that a single commit costs one round trip and no
//! thread is woken for it. The others follow on a condition variable. Where nobody waits, the driver
//! thread leads when there are futures or a snapshot, and otherwise only beats.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bounds::{BLOCK, POLL_PAUSE, POLL_PAUSE_LONGEST, SPIN};
use super::engine::{Engine, Target};
use crate::{Error, RegionId, Result, Session};

/// Threads of this process that spin now. One core is left to whom they wait for.
static SPINNERS: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Shared {
    pub(super) session: Session,
    pub(super) name: String,
    pub(super) id: RegionId,
    pub(super) generation: u64,
    /// For how long a lost unit is tried.
    pub(super) retry_for: Duration,
    pub(super) heartbeat: Duration,
    engine: Mutex<Engine>,
    /// Something was decided, or the lead is free.
    changed: Condvar,
    /// The driver has something to do.
    pub(super) work: Condvar,
    pub(super) closing: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        session: &Session,
        engine: Engine,
        id: RegionId,
        retry_for: Duration,
        heartbeat: Duration,
    ) -> Self {
        Self {
            session: session.clone(),
            name: engine.name.clone(),
            id,
            generation: engine.writer.generation(),
            retry_for,
            heartbeat,
            engine: Mutex::new(engine),
            changed: Condvar::new(),
            work: Condvar::new(),
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells waiters and driver that the engine was changed from outside a wait.
    pub(super) fn announce(&self) {
        self.changed.notify_all();
        self.work.notify_all();
    }

    /// Waits until `target` is decided, or `None` after `timeout`.
    pub(super) fn wait(&self, target: Target, timeout: Option<Duration>) -> Option<Result<()>> {
        self.wait_until(timeout, |engine| engine.outcome(target))
    }

    /// Waits until `decide` gives something, driving the connection meanwhile; `None` after `timeout`.
    pub(super) fn wait_until<T>(
        &self,
        timeout: Option<Duration>,
        mut decide: impl FnMut(&mut Engine) -> Option<T>,
    ) -> Option<T> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut engine = self.lock();
        // What this thread has posted must be on its way, whoever leads.
        engine.turn();
        loop {
            if let Some(decided) = decide(&mut engine) {
                drop(engine);
                return Some(decided);
            }
            let left = deadline.map_or(BLOCK, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return None;
            }
            if engine.link.is_none() && engine.ended.is_none() {
                self.work.notify_all();
            }
            engine = if engine.led || engine.link.is_none() {
                self.follow(engine, left.min(BLOCK))
            } else {
                self.lead(engine, deadline, &mut decide)
            };
        }
    }

    fn follow<'a>(&'a self, engine: MutexGuard<'a, Engine>, timeout: Duration) -> MutexGuard<'a, Engine> {
        let (engine, _) = self
            .changed
            .wait_timeout(engine, timeout)
            .unwrap_or_else(PoisonError::into_inner);
        engine
    }

    /// Drives the connection until `decide` gives something or it is lost. (`decide` is asked again by the caller.)
    fn lead<'a, T>(
        &'a self,
        mut engine: MutexGuard<'a, Engine>,
        deadline: Option<Instant>,
        decide: &mut impl FnMut(&mut Engine) -> Option<T>,
    ) -> MutexGuard<'a, Engine> {
        engine.led = true;
        let mut quiet_since = Instant::now();
        while engine.link.is_some() && engine.ended.is_none() {
            if engine.turn() {
                quiet_since = Instant::now();
                self.changed.notify_all();
            }
            if decide(&mut engine).is_some() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            engine = self.await_readiness(engine, quiet_since, deadline);
        }
        engine.led = false;
        self.changed.notify_all();
        if engine.wants_driver() {
            // Those who await are not among the followers.
            self.work.notify_all();
        }
        engine
    }

    /// Waits, without the lock, until the connection has something: spins at first, then blocks.
    fn await_readiness<'a>(
        &'a self,
        mut engine: MutexGuard<'a, Engine>,
        quiet_since: Instant,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Engine> {
        let Some(link) = engine.link.as_mut() else {
            return engine;
        };
        let Some(ready) = link.readiness() else {
            // A provider without a descriptor is polled; it is a simulated one.
            drop(engine);
            std::thread::sleep((quiet_since.elapsed() / 8).clamp(POLL_PAUSE, POLL_PAUSE_LONGEST));
            return self.lock();
        };
        let until_block = SPIN.saturating_sub(quiet_since.elapsed());
        if !until_block.is_zero() {
            drop(engine);
            spin(&ready, until_block);
            // Somebody else may have taken from the connection what this thread waits for: look before blocking.
            return self.lock();
        }
        let wake = Arc::clone(&engine.wake);
        engine.blocked = true;
        drop(engine);
        let left = deadline.map_or(BLOCK, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        block(&ready, &wake, left.min(BLOCK));
        let mut engine = self.lock();
        engine.blocked = false;
        engine
    }
}

/// Spins up to `limit` for readability, unless as many threads spin already as there are cores to spare.
fn spin(ready: &OwnedFd, limit: Duration) {
    let spare = available_parallelism().map_or(1, usize::from) - 1;
    if SPINNERS.fetch_add(1, Ordering::Relaxed) < spare {
        let began = Instant::now();
        while !is_ready(&mut [PollFd::new(ready, PollFlags::IN)], Duration::ZERO) && began.elapsed() < limit {
            std::hint::spin_loop();
        }
    } else {
        is_ready(&mut [PollFd::new(ready, PollFlags::IN)], limit);
    }
    SPINNERS.fetch_sub(1, Ordering::Relaxed);
}

/// Blocks until the connection has something to take, or somebody else took it.
fn block(ready: &OwnedFd, wake: &OwnedFd, timeout: Duration) {
    let mut fds = [
        PollFd::new(ready, PollFlags::IN),
        PollFd::new(wake, PollFlags::IN),
    ];
    is_ready(&mut fds, timeout);
    if !fds[1].revents().is_empty() {
        // Takes the wake-ups back; that there are none any more is no error.
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }
}

/// Whether one of them has something to take, within `timeout`. An error counts: the next poll of the connection
/// will name it.
fn is_ready(fds: &mut [PollFd<'_>], timeout: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    !matches!(poll(fds, Some(&timeout)), Ok(0))
}

impl Shared {
    /// What ended it, as an error, or nothing.
    pub(super) fn check(engine: &Engine) -> Result<()> {
        engine.ended.clone().map_or(Ok(()), Err::<(), Error>)
    }
}
