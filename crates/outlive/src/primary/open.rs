//! From a granted connection to a primary: read what is there, settle it, and write the takeover set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive_layout::{Reader, Recovery, RecoveryOptions, SetPlan, Settling, SlotCheck, Start, Writer};

use rustix::event::{EventfdFlags, eventfd};

use super::engine::Engine;
use super::shared::Shared;
use super::{OpenOptions, Primary, driver};
use crate::link::{CHUNK_BYTES, Link, LinkError};
use crate::set::now_ns;
use crate::{Error, Level, RegionId, Result, Session};

/// What was found when a region was opened for writing.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    /// The level of what was read, and of every commit to come.
    pub(crate) level: Level,
    pub(crate) read: Duration,
    pub(crate) persist: Duration,
    /// Writing the takeover set.
    pub(crate) resume: Duration,
}

/// A region of which this process is the owner, up to the takeover set; see [`start`].
pub(crate) struct Owned {
    link: Link,
    writer: Writer,
}

impl Primary {
    pub(crate) fn open(session: &Session, name: &str, options: &OpenOptions) -> Result<Self> {
        let retry_for = options.retry_for.unwrap_or(session.options().retry_for);
        let granted = session.open_primary(name, options.take_over, &options.owner, retry_for)?;
        let generation = granted.link.data.generation;
        let opened = recover(granted.link, options, Start::Everything);
        let (owned, recovered) = opened.map_err(|error| give_up(session, name, generation, error))?;
        start(session, owned, &recovered, options)
    }
}

/// Whoever was granted a region and cannot use it gives it up again, so that its next owner need not take it over.
/// Returns why it cannot: whoever was fenced meanwhile saw only a connection end.
pub(crate) fn give_up(session: &Session, name: &str, generation: u64, error: Error) -> Error {
    match session.close_region(name, generation, super::bounds::DROP_TIMEOUT) {
        Err(fenced) if fenced.is_fenced() => fenced,
        Err(reason) => {
            tracing::debug!(region = name, %reason, "could not give the region up again");
            error
        }
        Ok(()) => error,
    }
}

/// Reads what is there, from `start` on; makes it persistent at the region's level; and writes the takeover set.
pub(crate) fn recover(mut link: Link, options: &OpenOptions, start: Start<'_>) -> Result<(Owned, Recovered)> {
    let level = level_of(&link, options.level)?;
    let name = link.region.name.clone();
    let began = Instant::now();
    let recovery = read(&mut link, start, options.accept_loss)?;
    let read = began.elapsed();
    say_damage(&name, &recovery);
    settle(&mut link, &recovery, level).map_err(|error| link.error(error))?;
    let persisted = began.elapsed();
    let generation = link.data.generation;
    let (mut writer, plan) = Writer::resume_owing(link.layout_id(), &recovery.point, generation, now_ns())
        .map_err(|error| Error::from_write(error, &name))?;
    // Without room even for it the region can still be saved to, which makes room: `Engine::take_owed`.
    if let Some(plan) = plan {
        commit(&mut link, &plan, level).map_err(|error| link.error(error))?;
        writer.journal_committed(plan.sequence);
    }
    let resume = began.elapsed() - persisted;
    let recovered = Recovered {
        recovery,
        level,
        read,
        persist: persisted - read,
        resume,
    };
    Ok((Owned { link, writer }, recovered))
}

/// A device that fails somewhere is news also where nothing was lost by it.
fn say_damage(name: &str, recovery: &Recovery) {
    let said = |finding: &&outlive_layout::Finding| finding.is_corruption() || finding.is_unreadable();
    for finding in recovery.findings.iter().filter(said) {
        tracing::warn!(region = name, %finding, "found damage");
    }
    for (offset, bytes) in &recovery.repairs {
        tracing::warn!(
            region = name,
            offset,
            bytes = bytes.len(),
            "written anew: a piece that was damaged, unreadable or outdated"
        );
    }
}

/// Makes the primary and starts its thread.
pub(crate) fn start(
    session: &Session,
    owned: Owned,
    recovered: &Recovered,
    options: &OpenOptions,
) -> Result<Primary> {
    let id = owned.link.data.region;
    let retry_for = options.retry_for.unwrap_or(session.options().retry_for);
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| Error::Limit {
        reason: format!("no descriptor to wake the connection's driver: {error}"),
    })?;
    let engine = Engine::new(owned.link, owned.writer, recovered.level, wake);
    let shared = Arc::new(Shared::new(session, engine, id, retry_for, options.heartbeat));
    let driver = driver::start(&shared)?;
    Ok(Primary {
        shared,
        driver: Some(driver),
    })
}

/// Where the journal of a region ends, and the newest snapshot that holds.
pub(super) struct LastSet {
    pub(super) head: u64,
    pub(super) sequence: u64,
    pub(super) snapshot: u64,
    /// What the device could not read, where something could not be.
    pub(super) unreadable: Option<String>,
}

/// Finds out how far a region is whole, after its unit has come back in another incarnation.
pub(super) fn last_whole_set(link: &mut Link, name: &str, id: RegionId) -> Result<LastSet> {
    // What is missing is for the caller to judge; here damage must not hide how far the journal goes.
    let recovery = read(link, Start::Everything, true)?;
    tracing::debug!(region = name, %id, sequence = recovery.last_sequence, "read the region anew");
    let whole = recovery
        .point
        .slots
        .iter()
        .filter(|slot| slot.check == SlotCheck::Verified);
    let snapshot = whole
        .filter_map(|slot| slot.seal.as_ref())
        .map(|seal| seal.sequence);
    Ok(LastSet {
        head: recovery.point.head,
        sequence: recovery.last_sequence,
        snapshot: snapshot.max().unwrap_or(0),
        unreadable: recovery
            .findings
            .iter()
            .find(|finding| finding.is_unreadable())
            .map(ToString::to_string),
    })
}

/// Whether the payload of the snapshot in `slot` verifies, read over a connection of its own.
pub(super) fn slot_verifies(shared: &Shared, slot: u32) -> Result<bool> {
    let (seal, offset) = {
        let engine = shared.lock();
        let state = engine.writer.slots().iter().find(|state| state.slot == slot);
        let Some(seal) = state.and_then(|state| state.seal.clone()) else {
            return Ok(false);
        };
        (seal, engine.writer.geometry().slot_offset(slot))
    };
    let mut link = shared.session.open_reader(&shared.name, shared.retry_for)?.link;
    let mut checksum =
        outlive_layout::Seal::payload_checksum(link.layout_id(), seal.generation, seal.sequence);
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    let mut done = 0;
    while done < seal.length {
        let len = usize::try_from(seal.length - done).map_or(chunk.len(), |left| left.min(chunk.len()));
        link.read(offset + done, &mut chunk[..len])
            .map_err(|error| link.error(error))?;
        checksum.update(&chunk[..len]);
        done += len as u64;
    }
    Ok(checksum.value() == seal.payload_crc)
}

fn read(link: &mut Link, start: Start<'_>, accept_loss: bool) -> Result<Recovery> {
    let (id, len) = (link.layout_id(), link.len());
    let options = RecoveryOptions {
        accept_loss,
        ..RecoveryOptions::default()
    };
    let read = Reader::open(link, id, len).and_then(|mut reader| reader.recover(link, start, &options));
    read.map_err(|error| link.read_error(error))
}

/// The level asked for, which must be one that the unit offers; or the strongest.
fn level_of(link: &Link, asked: Option<Level>) -> Result<Level> {
    let strongest = if link.persist.is_some() {
        Level::Persistent
    } else {
        Level::Placed
    };
    let level = asked.unwrap_or(strongest);
    if level > strongest {
        let reason = "its medium cannot promise persistence".to_owned();
        return Err(Error::Level { level, reason });
    }
    Ok(level)
}

/// What was read, and what was repaired, is at the region's level before anything is built on it.
fn settle(link: &mut Link, recovery: &Recovery, level: Level) -> std::result::Result<(), LinkError> {
    #[cfg(feature = "deliberate-bugs")]
    let level = match crate::bugs::Bug::TakeoverWithoutPersist.is_made() {
        true => Level::Placed,
        false => level,
    };
    recovery.settling().try_for_each(|step| match step {
        Settling::Write(offset, bytes) => link.write(offset, bytes),
        Settling::Persist if level == Level::Persistent => link.persist(),
        Settling::Persist => Ok(()),
    })
}

fn commit(link: &mut Link, plan: &SetPlan, level: Level) -> std::result::Result<(), LinkError> {
    #[cfg(feature = "deliberate-bugs")]
    let level = match crate::bugs::Bug::TakeoverWithoutPersist.is_made() {
        true => Level::Placed,
        false => level,
    };
    if let Some(wrap) = &plan.wrap {
        link.write(wrap.offset, &wrap.header)?;
    }
    link.write(plan.offset, &plan.header)?;
    if level == Level::Persistent {
        link.persist()
    } else {
        Ok(())
    }
}
