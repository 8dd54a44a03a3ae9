//! The primary's own thread: heartbeats, futures, snapshots that nobody waits for, lost connections.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::bounds::{BLOCK, DROP_TIMEOUT, IDLE_TICK};
use super::reconnect;
use super::shared::Shared;
use crate::{Error, Result};

/// Starts the thread. It ends when the primary is being closed, or after it has ended.
pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let driven = Arc::clone(shared);
    thread::Builder::new()
        .name(format!(
            "outlive-{}",
            shared.name.chars().take(7).collect::<String>()
        ))
        .spawn(move || drive(&driven))
        .map_err(|error| Error::Limit {
            reason: format!("cannot start the primary's thread: {error}"),
        })
}

fn drive(shared: &Shared) {
    let tick = if shared.heartbeat.is_zero() {
        IDLE_TICK
    } else {
        shared.heartbeat
    };
    let mut next_beat = Instant::now();
    loop {
        let mut engine = shared.lock();
        if shared.closing.load(Ordering::Acquire) || engine.ended.is_some() {
            break;
        }
        if engine.link.is_none() && engine.reconnects_itself {
            drop(
                shared
                    .work
                    .wait_timeout(engine, tick)
                    .unwrap_or_else(PoisonError::into_inner),
            );
            continue;
        }
        if engine.link.is_none() {
            drop(engine);
            reconnect::reconnect(shared);
            shared.announce();
            continue;
        }
        if Instant::now() >= next_beat {
            if !shared.heartbeat.is_zero() {
                engine.beat();
            }
            if engine.turn() {
                shared.announce();
            }
            next_beat = Instant::now() + tick;
        }
        let until_beat = next_beat.saturating_duration_since(Instant::now());
        if engine.link.is_none() || until_beat.is_zero() {
            continue;
        }
        if engine.wants_driver() && !engine.led {
            drop(engine);
            // Leads until there is no more to drive for, somebody else leads, or the next beat is due.
            shared.wait_until(Some(until_beat.min(BLOCK)), |engine| {
                (!engine.wants_driver()).then_some(())
            });
        } else {
            let waited = shared.work.wait_timeout(engine, until_beat);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Ends the thread, then gives up ownership, within `timeout`.
pub(super) fn stop(shared: &Shared, driver: Option<JoinHandle<()>>, timeout: Duration) -> Result<()> {
    shared.closing.store(true, Ordering::Release);
    shared.announce();
    if let Some(driver) = driver {
        // It cannot have panicked with anything to say that its waiters were not told.
        let _ = driver.join();
    }
    let owned = {
        let mut engine = shared.lock();
        let owned = engine.ended.is_none();
        engine.ended.get_or_insert(Error::Closed);
        owned
    };
    // First the manager is told, then the connection ends: the other way round it would look like a failure.
    let closed = if owned {
        shared
            .session
            .close_region(&shared.name, shared.generation, timeout)
    } else {
        Ok(())
    };
    shared.lock().end(Error::Closed);
    shared.announce();
    closed
}

/// As [`stop`], for a handle that is dropped.
pub(super) fn abandon(shared: &Shared, driver: Option<JoinHandle<()>>) {
    if let Err(error) = stop(shared, driver, DROP_TIMEOUT) {
        tracing::debug!(region = shared.name, %error, "dropped without giving up ownership");
    }
}
