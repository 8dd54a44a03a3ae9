//! Growing the region while nothing is in flight.

use std::sync::Arc;
use std::time::Instant;

use outlive_layout::{ResizeError, ResizePlan};

use super::shared::Shared;
use crate::link::{CHUNK_BYTES, Link, LinkError};
use crate::{Error, Level, Result};

/// Pauses appends, grows the region at the manager, reconnects (a connection keeps the length it was admitted with),
/// moves what is wrapped and seals the new geometry.
pub(super) fn resize(shared: &Arc<Shared>, size: u64) -> Result<()> {
    pause(shared)?;
    let result = grow(shared, size);
    let mut engine = shared.lock();
    engine.paused = false;
    engine.reconnects_itself = false;
    drop(engine);
    shared.announce();
    result
}

fn pause(shared: &Shared) -> Result<()> {
    let ours = shared.wait_until(None, |engine| match Shared::check(engine) {
        Err(error) => Some(Err(error)),
        Ok(()) => (!engine.paused).then_some(Ok(())),
    });
    ours.unwrap_or(Err(Error::Closed))?;
    shared.lock().paused = true;
    let quiet = shared.wait_until(None, |engine| match Shared::check(engine) {
        Err(error) => Some(Err(error)),
        // With a connection: so the driver is not about to make one.
        Ok(()) if engine.is_busy() || engine.link.is_none() => None,
        Ok(()) => {
            engine.reconnects_itself = true;
            Some(Ok(()))
        }
    });
    quiet
        .unwrap_or(Err(Error::Closed))
        .inspect_err(|_| shared.lock().paused = false)
}

fn grow(shared: &Shared, size: u64) -> Result<()> {
    // Asked before anything is changed: a size that cannot work must not cost space.
    let planned = shared.lock().writer.plan_resize(size).map(|_| ());
    planned.map_err(|error| refused(&error))?;
    // Space is zeroed before it is granted, which takes time: the connection stays, and heartbeats go on.
    shared
        .session
        .resize_region(&shared.name, size, shared.generation, shared.retry_for)?;
    // Kept open, though nothing is sent over it any more, until the next one replaces it: closed before, it would
    // look to every backup as if this primary had died.
    let before = shared.lock().part_link();
    let mut begun = false;
    let grown = move_and_seal(shared, &mut begun);
    drop(before);
    grown.inspect_err(|error| {
        // Which of the two geometries is sealed now is not known, and sets written by the other one would be
        // lost: whoever opens the region next finds out.
        if begun {
            shared.lock().end(error.clone());
        }
    })
}

/// Carries the growth out on a new connection. `begun` tells whether anything of it may have been written.
fn move_and_seal(shared: &Shared, begun: &mut bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let left = shared.retry_for.saturating_sub(began.elapsed());
        let mut link = shared
            .session
            .reconnect_primary(&shared.name, shared.generation, left)?
            .link;
        let (plan, level) = {
            let engine = shared.lock();
            Shared::check(&engine)?;
            (
                engine
                    .writer
                    .plan_resize(link.len())
                    .map_err(|error| refused(&error))?,
                engine.level,
            )
        };
        *begun = true;
        match carry_out(&mut link, &plan, level) {
            Ok(()) => {
                let mut engine = shared.lock();
                engine.writer.resized(&plan);
                let next = engine.committed + 1;
                engine.resume(link, next);
                return Ok(());
            }
            // The phases write the same bytes at the same places when they are repeated.
            Err(LinkError::Lost(_)) if !left.is_zero() => {}
            Err(error) => return Err(link.error(error)),
        }
    }
}

/// Each phase is committed at the region's level before the next.
fn carry_out(link: &mut Link, plan: &ResizePlan, level: Level) -> std::result::Result<(), LinkError> {
    for range in plan.copies() {
        copy(link, range.from, range.to, range.len)?;
    }
    commit(link, level)?;
    for (offset, bytes) in [plan.first_control(), plan.second_control()] {
        link.write(*offset, bytes)?;
        commit(link, level)?;
    }
    Ok(())
}

fn copy(link: &mut Link, from: u64, to: u64, len: u64) -> std::result::Result<(), LinkError> {
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    let mut done = 0;
    while done < len {
        let now = usize::try_from(len - done).map_or(chunk.len(), |left| left.min(chunk.len()));
        link.read(from + done, &mut chunk[..now])?;
        link.write(to + done, &chunk[..now])?;
        done += now as u64;
    }
    Ok(())
}

fn commit(link: &mut Link, level: Level) -> std::result::Result<(), LinkError> {
    if level == Level::Persistent {
        link.persist()
    } else {
        Ok(())
    }
}

fn refused(error: &ResizeError) -> Error {
    Error::Invalid {
        reason: error.to_string(),
    }
}
