//! After a lost connection: reconnect, read, compare; never repeat blindly.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::bounds::{RECONNECT_PAUSE, RECONNECT_SLICE};
use super::engine::Kept;
use super::open;
use super::shared::Shared;
use outlive_layout::Source as _;

use crate::link::Link;
use crate::{Error, Result};

/// What the unit must still hold, and what it may.
struct Expected {
    incarnation: u64,
    /// Where the journal stands behind the last committed set, and that set's sequence.
    committed_head: u64,
    committed_sequence: u64,
    /// The newest verified snapshot: what is before it is overwritten.
    snapshot: u64,
    kept: Vec<Arc<Kept>>,
}

/// Makes the connection again, tried for `retry_for`, and goes on where it broke; or ends the primary.
pub(super) fn reconnect(shared: &Shared) {
    let began = Instant::now();
    while !shared.closing.load(Ordering::Acquire) {
        let left = shared.retry_for.saturating_sub(began.elapsed());
        let error = match attempt(shared, left.min(RECONNECT_SLICE)) {
            Ok((link, first_missing)) => {
                let mut engine = shared.lock();
                tracing::info!(
                    region = shared.name,
                    incarnation = link.incarnation,
                    first_missing,
                    "reconnected"
                );
                engine.resume(link, first_missing);
                return;
            }
            Err(error) => error,
        };
        let mut engine = shared.lock();
        if !is_passing(&error) {
            tracing::warn!(region = shared.name, %error, "the primary has ended");
            engine.end(error);
            return;
        }
        if left.is_zero() {
            engine.end(tried_for(error, began));
            return;
        }
        // Closing ends the pause.
        let paused = shared.work.wait_timeout(engine, RECONNECT_PAUSE);
        drop(paused.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Whether trying again can help.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable { .. }
            | Error::FenceUnconfirmed { .. }
            | Error::Limit { .. }
            | Error::Unreadable { .. }
    )
}

fn tried_for(error: Error, began: Instant) -> Error {
    match error {
        Error::Unreachable {
            what,
            address,
            reason,
            ..
        } => Error::Unreachable {
            what,
            address,
            reason,
            tried: began.elapsed(),
        },
        error => error,
    }
}

fn attempt(shared: &Shared, slice: std::time::Duration) -> Result<(Link, u64)> {
    let mut link = shared
        .session
        .reconnect_primary(&shared.name, shared.generation, slice)?
        .link;
    let expected = expected(shared);
    if link.incarnation != expected.incarnation {
        check_committed(shared, &mut link, &expected)?;
    }
    let first_missing = first_missing(&mut link, &expected.kept, shared)?;
    Ok((link, first_missing))
}

fn expected(shared: &Shared) -> Expected {
    let engine = shared.lock();
    Expected {
        incarnation: engine.incarnation,
        committed_head: engine.committed_head,
        committed_sequence: engine.writer.floor(),
        snapshot: engine.writer.floor_record(0).snapshot,
        kept: engine.kept.iter().cloned().collect(),
    }
}

/// Another incarnation may have lost what was only placed: everything that was committed must still be there.
fn check_committed(shared: &Shared, link: &mut Link, expected: &Expected) -> Result<()> {
    let found = open::last_whole_set(link, &shared.name, shared.id)?;
    let is_whole = found.snapshot >= expected.snapshot && found.head >= expected.committed_head;
    if let Some(reason) = found.unreadable.filter(|_| !is_whole) {
        // That is not to say that it is lost.
        return Err(Error::Unreadable {
            region: shared.name.clone(),
            reason,
        });
    }
    if found.snapshot < expected.snapshot {
        return Err(Error::Lost {
            region: shared.name.clone(),
            from: found.snapshot + 1,
            to: expected.snapshot,
        });
    }
    if found.head >= expected.committed_head {
        return Ok(());
    }
    Err(Error::Lost {
        region: shared.name.clone(),
        from: found.sequence + 1,
        to: expected.committed_sequence,
    })
}

/// Index of the first kept set that is not in the unit as it was sent.
fn first_missing(link: &mut Link, kept: &[Arc<Kept>], shared: &Shared) -> Result<u64> {
    #[cfg(feature = "deliberate-bugs")]
    if crate::bugs::Bug::ReconnectRewritesNothing.is_made() {
        return Ok(kept.last().map_or(shared.lock().committed, |set| set.index) + 1);
    }
    let mut found = Vec::new();
    for set in kept {
        for (offset, bytes) in &set.writes {
            found.resize(bytes.len(), 0);
            let missing = match link.read(*offset, &mut found) {
                // Written again it can be read again.
                Err(error) if Link::is_unreadable(&error) => true,
                read => {
                    read.map_err(|error| link.error(error))?;
                    found != *bytes
                }
            };
            if missing {
                return Ok(set.index);
            }
        }
    }
    let engine = shared.lock();
    Ok(kept.last().map_or(engine.committed, |set| set.index) + 1)
}
