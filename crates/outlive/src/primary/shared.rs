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

use super::bounds::{BLOCK, SPIN};
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
            std::thread::yield_now();
            return self.lock();
        };
        drop(engine);
        let until_block = SPIN.saturating_sub(quiet_since.elapsed());
        let readable = spin(&ready, until_block);
        if !readable {
            let left = deadline.map_or(BLOCK, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            is_readable(&ready, left.min(BLOCK));
        }
        self.lock()
    }
}

/// Spins up to `limit` for readability, unless as many threads spin already as there are cores to spare.
fn spin(ready: &Arc<OwnedFd>, limit: Duration) -> bool {
    if limit.is_zero() {
        return false;
    }
    let spare = available_parallelism().map_or(1, usize::from) - 1;
    if SPINNERS.fetch_add(1, Ordering::Relaxed) >= spare {
        SPINNERS.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    let began = Instant::now();
    let mut readable = is_readable(ready, Duration::ZERO);
    while !readable && began.elapsed() < limit {
        std::hint::spin_loop();
        readable = is_readable(ready, Duration::ZERO);
    }
    SPINNERS.fetch_sub(1, Ordering::Relaxed);
    readable
}

/// Whether a connection has something to take, within `timeout`. An error counts: the next poll will name it.
fn is_readable(ready: &Arc<OwnedFd>, timeout: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(&**ready, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&timeout)), Ok(0))
}

impl Shared {
    /// What ended it, as an error, or nothing.
    pub(super) fn check(engine: &Engine) -> Result<()> {
        engine.ended.clone().map_or(Ok(()), Err::<(), Error>)
    }
}
